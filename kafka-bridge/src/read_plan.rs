//! Decides which command to send to Redis next. The plan knows the streams, and how far each of them has been read.
//!
//! It does no I/O and reads no clock. For each stream, the order is: create the consumer group, read the entries that
//! are pending under this bridge's own name, claim the entries that dead bridges left pending, and only then read new
//! entries. After a failure, every stream starts again at the first of these.

use crate::entry::{EntryId, StreamNo};
use rushgate_gate::CampaignId;
use std::collections::{BTreeMap, BTreeSet};

/// The largest number of streams in one command, so that commands stay small.
pub const MAX_STREAMS: usize = 256;

/// One step of reading from Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Find the campaigns.
    Discover,
    /// Create the consumer group of these streams, where it is missing.
    CreateGroups(Vec<StreamNo>),
    /// Read the entries that are pending under this bridge's own name.
    ReadPending {
        /// Each stream, with the id after which to read.
        after: Vec<(StreamNo, EntryId)>,
        /// The largest number of entries of each stream.
        count: usize,
    },
    /// Take over entries that have been pending for long under any name.
    Claim {
        stream: StreamNo,
        /// The id at which the claim starts.
        from: EntryId,
        count: usize,
    },
    /// Read entries that were not yet assigned to a bridge.
    ReadNew {
        streams: Vec<StreamNo>,
        /// Most entries of each stream.
        count: usize,
        /// The number of steps in turn that it takes to read every stream once.
        steps: u32,
        /// Whether to wait for an entry if there is none.
        wait: bool,
    },
}

impl Step {
    /// The streams that this step concerns.
    pub fn streams(&self) -> Vec<StreamNo> {
        match self {
            Self::Discover => Vec::new(),
            Self::ReadPending { after, .. } => after.iter().map(|(stream, _)| *stream).collect(),
            Self::Claim { stream, .. } => vec![*stream],
            Self::CreateGroups(streams) | Self::ReadNew { streams, .. } => streams.clone(),
        }
    }
}

/// The known streams, and how far each has been read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadPlan {
    /// Indexed by stream number. A campaign that was removed keeps its number, because its entries may still be
    /// held.
    campaigns: Vec<CampaignId>,
    numbers: BTreeMap<CampaignId, StreamNo>,
    current: BTreeMap<StreamNo, Progress>,
    discover: bool,
    discovered: bool,
    /// Where the next [`Step::ReadNew`] starts, if one step does not cover all streams.
    next_new: usize,
    /// The streams that may have more new entries than were read, while there are other streams. Every second
    /// [`Step::ReadNew`] is of these only. So a backlog of one campaign among many is read in large pieces, and
    /// between two reads in turn there is one such piece at most.
    unfinished: Vec<StreamNo>,
    /// Whether the last [`Step::ReadNew`] was of streams in turn, and not of the unfinished ones.
    was_in_turn: bool,
}

/// How far one stream has been read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Progress {
    group: Group,
    /// The id after which own pending entries are read; `None` when all have been read.
    pending: Option<EntryId>,
    /// The id from which to claim; `None` when this round of claims is finished.
    claim: Option<EntryId>,
    /// Some entries that were read were not delivered.
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    /// The group may be missing.
    Unsure,
    Ready,
    /// The group could not be created, for a reason that concerns this stream only.
    Refused,
}

impl Progress {
    const START: Self = Self {
        group: Group::Unsure,
        pending: Some(EntryId::ZERO),
        claim: Some(EntryId::ZERO),
        failed: false,
    };
}

impl Default for ReadPlan {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadPlan {
    /// No stream is known yet. The first step is [`Step::Discover`].
    pub fn new() -> Self {
        Self {
            campaigns: Vec::new(),
            numbers: BTreeMap::new(),
            current: BTreeMap::new(),
            discover: true,
            discovered: false,
            next_new: 0,
            unfinished: Vec::new(),
            was_in_turn: false,
        }
    }

    pub fn campaign(&self, stream: StreamNo) -> &CampaignId {
        &self.campaigns[stream.0 as usize]
    }

    /// The streams of the campaigns that exist now.
    pub fn current(&self) -> impl Iterator<Item = StreamNo> {
        self.current.keys().copied()
    }

    /// Whether the campaigns are known and each group was created or refused.
    pub fn is_set_up(&self) -> bool {
        self.discovered && self.with(Group::Unsure).next().is_none()
    }

    /// The timer for finding new campaigns has fired.
    pub fn discover(&mut self) {
        self.discover = true;
    }

    /// The timer for claiming entries of dead bridges has fired.
    pub fn claim(&mut self) {
        for progress in self.current.values_mut() {
            progress.claim.get_or_insert(EntryId::ZERO);
        }
    }

    pub fn delivery_failed(&mut self, stream: StreamNo) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.failed = true;
        }
    }

    /// The timer for sending undelivered entries again has fired.
    pub fn retry(&mut self) {
        for progress in self.current.values_mut() {
            if std::mem::take(&mut progress.failed) {
                progress.pending = Some(EntryId::ZERO);
            }
        }
    }

    /// The next step. Up to `most` entries are read; with 0, none are.
    pub fn next(&mut self, most: usize) -> Option<Step> {
        if std::mem::take(&mut self.discover) {
            return Some(Step::Discover);
        }
        let unsure = self.with(Group::Unsure).map(|(number, _)| number);
        let unsure: Vec<_> = unsure.take(MAX_STREAMS).collect();
        if !unsure.is_empty() {
            return Some(Step::CreateGroups(unsure));
        }
        if most == 0 {
            return None;
        }
        self.pending_entries(most)
            .or_else(|| self.claims(most))
            .or_else(|| self.new_entries(most))
    }

    /// The result of [`Step::Discover`].
    pub fn discovered(&mut self, campaigns: BTreeSet<CampaignId>) {
        self.discovered = true;
        let mut before = std::mem::take(&mut self.current);
        for campaign in campaigns {
            let number = self.number(campaign);
            let mut progress = before.remove(&number).unwrap_or(Progress::START);
            if progress.group == Group::Refused {
                progress.group = Group::Unsure;
            }
            self.current.insert(number, progress);
        }
    }

    /// The result of [`Step::CreateGroups`] for one stream: whether its group exists now.
    pub fn group_answered(&mut self, stream: StreamNo, ready: bool) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.group = if ready { Group::Ready } else { Group::Refused };
        }
    }

    /// The result of [`Step::ReadPending`] for one stream: the last id that was read if there may be more, else
    /// `None`.
    pub fn pending_read(&mut self, stream: StreamNo, go_on_after: Option<EntryId>) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.pending = go_on_after;
        }
    }

    /// The result of [`Step::Claim`]: the id at which to continue, or [`EntryId::ZERO`] at the end.
    pub fn claimed(&mut self, stream: StreamNo, go_on_from: EntryId) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.claim = (go_on_from != EntryId::ZERO).then_some(go_on_from);
        }
    }

    /// The result of [`Step::ReadNew`]: the streams that gave as many entries as were asked for.
    pub fn new_read(&mut self, full: impl IntoIterator<Item = StreamNo>) {
        // The only stream is read again anyway.
        if self.current.len() > 1 {
            for stream in full {
                if !self.unfinished.contains(&stream) {
                    self.unfinished.push(stream);
                }
            }
        }
    }

    /// Whether some stream may have more new entries than were read.
    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// A step failed, or its reply was lost, so nothing is certain any more. Discovering campaigns comes first
    /// again, so that no group is created for a campaign that is gone.
    pub fn failed(&mut self) {
        self.discover = true;
        self.unfinished.clear();
        for progress in self.current.values_mut() {
            *progress = Progress::START;
        }
    }

    fn number(&mut self, campaign: CampaignId) -> StreamNo {
        if let Some(number) = self.numbers.get(&campaign) {
            return *number;
        }
        // The memory would be full long before there are 2^32 campaigns.
        let number = StreamNo(u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX));
        self.campaigns.push(campaign.clone());
        self.numbers.insert(campaign, number);
        number
    }

    /// The streams whose group is in this state.
    fn with(&self, group: Group) -> impl Iterator<Item = (StreamNo, &Progress)> {
        self.current
            .iter()
            .filter(move |(_, progress)| progress.group == group)
            .map(|(number, progress)| (*number, progress))
    }

    fn pending_entries(&self, most: usize) -> Option<Step> {
        let after: Vec<_> = self
            .with(Group::Ready)
            .filter_map(|(number, progress)| Some((number, progress.pending?)))
            .take(MAX_STREAMS.min(most))
            .collect();
        let count = most.checked_div(after.len())?;
        Some(Step::ReadPending { after, count })
    }

    fn claims(&self, most: usize) -> Option<Step> {
        self.with(Group::Ready)
            .find_map(|(number, progress)| Some((number, progress.claim?)))
            .map(|(stream, from)| Step::Claim {
                stream,
                from,
                count: most,
            })
    }

    fn new_entries(&mut self, most: usize) -> Option<Step> {
        let ready: Vec<_> = self.with(Group::Ready).map(|(number, _)| number).collect();
        let at_once = ready.len().min(MAX_STREAMS).min(most);
        if at_once == 0 {
            return None;
        }
        self.unfinished
            .retain(|stream| ready.binary_search(stream).is_ok());
        self.was_in_turn = self.unfinished.is_empty() || !self.was_in_turn;
        let wait = self.unfinished.is_empty();
        let streams: Vec<_> = if self.was_in_turn {
            let start = self.next_new % ready.len();
            self.next_new = start + at_once;
            let in_turn = ready.iter().cycle().skip(start);
            in_turn.take(at_once).copied().collect()
        } else {
            let at_once = self.unfinished.len().min(at_once);
            self.unfinished.drain(..at_once).collect()
        };
        Some(Step::ReadNew {
            count: most / streams.len(),
            streams,
            steps: u32::try_from(ready.len().div_ceil(at_once)).unwrap_or(u32::MAX),
            wait,
        })
    }
}

#[cfg(test)]
mod tests;
