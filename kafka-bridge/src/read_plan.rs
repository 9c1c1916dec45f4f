//! What to ask Redis next: which streams there are, and how far the reading of each has come.
//!
//! No I/O and no clock. Of each stream, in this order: its group is made sure of, what is pending under this
//! bridge's own name is read from the beginning, what dead peers left is claimed, and only then come new
//! entries. After any failure it starts over.

use crate::entry::{EntryId, StreamNo};
use rushgate_gate::CampaignId;
use std::collections::{BTreeMap, BTreeSet};

/// Most streams in one command, so that no command grows without limit.
pub const MAX_STREAMS: usize = 256;

/// One question to Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Which campaigns are there?
    Discover,
    /// Create the group on these streams, where it is missing.
    CreateGroups(Vec<StreamNo>),
    /// Read what is pending under this bridge's name.
    ReadPending {
        /// Each stream, and the id after which to read.
        after: Vec<(StreamNo, EntryId)>,
        /// Most entries of each stream.
        count: usize,
    },
    /// Take over what has been pending for long under whatever name.
    Claim {
        /// Where.
        stream: StreamNo,
        /// The id at which to go on.
        from: EntryId,
        /// Most entries.
        count: usize,
    },
    /// Read entries that nobody was given yet.
    ReadNew {
        /// Of these streams.
        streams: Vec<StreamNo>,
        /// Most entries of each stream.
        count: usize,
        /// How many such steps it takes to come round all streams.
        steps: u32,
    },
}

impl Step {
    /// The streams that it is about.
    pub fn streams(&self) -> Vec<StreamNo> {
        match self {
            Self::Discover => Vec::new(),
            Self::ReadPending { after, .. } => after.iter().map(|(stream, _)| *stream).collect(),
            Self::Claim { stream, .. } => vec![*stream],
            Self::CreateGroups(streams) | Self::ReadNew { streams, .. } => streams.clone(),
        }
    }
}

/// The streams, and how far the reading of each has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadPlan {
    /// By number. A campaign that went keeps its number: entries of it may still be held.
    campaigns: Vec<CampaignId>,
    numbers: BTreeMap<CampaignId, StreamNo>,
    current: BTreeMap<StreamNo, Progress>,
    discover: bool,
    discovered: bool,
    /// Where the next [`Step::ReadNew`] begins, when one does not reach all streams.
    next_new: usize,
}

/// How far the reading of one stream has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Progress {
    group: Group,
    /// The id after which own entries are to be read; `None` when all have been.
    pending: Option<EntryId>,
    /// The id from which to claim; `None` when this round of claims is through.
    claim: Option<EntryId>,
    /// Own entries that were read have not been delivered.
    failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    /// It may be missing.
    Unsure,
    Ready,
    /// It could not be created, for a reason that is this stream's alone.
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
    /// No stream is known yet; the first step will be to discover some.
    pub fn new() -> Self {
        Self {
            campaigns: Vec::new(),
            numbers: BTreeMap::new(),
            current: BTreeMap::new(),
            discover: true,
            discovered: false,
            next_new: 0,
        }
    }

    /// The campaign whose stream this is.
    pub fn campaign(&self, stream: StreamNo) -> &CampaignId {
        &self.campaigns[stream.0 as usize]
    }

    /// The streams of the campaigns that there are now.
    pub fn current(&self) -> impl Iterator<Item = StreamNo> {
        self.current.keys().copied()
    }

    /// Whether the campaigns are known and each has its group, or cannot have one.
    pub fn is_set_up(&self) -> bool {
        self.discovered && self.with(Group::Unsure).next().is_none()
    }

    /// It is time to look for new campaigns.
    pub fn discover(&mut self) {
        self.discover = true;
    }

    /// It is time to look for entries of dead peers.
    pub fn claim(&mut self) {
        for progress in self.current.values_mut() {
            progress.claim.get_or_insert(EntryId::ZERO);
        }
    }

    /// An entry of `stream` was not delivered.
    pub fn delivery_failed(&mut self, stream: StreamNo) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.failed = true;
        }
    }

    /// It is time to send again what was not delivered.
    pub fn retry(&mut self) {
        for progress in self.current.values_mut() {
            if std::mem::take(&mut progress.failed) {
                progress.pending = Some(EntryId::ZERO);
            }
        }
    }

    /// What to ask next. Entries are asked for up to `most` of them; with 0, none are.
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

    /// Answer to [`Step::Discover`].
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

    /// Answer to [`Step::CreateGroups`], stream by stream: there is a group now, or there can be none.
    pub fn group_answered(&mut self, stream: StreamNo, ready: bool) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.group = if ready { Group::Ready } else { Group::Refused };
        }
    }

    /// Answer to [`Step::ReadPending`], stream by stream: the last id read if there may be more, else `None`.
    pub fn pending_read(&mut self, stream: StreamNo, go_on_after: Option<EntryId>) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.pending = go_on_after;
        }
    }

    /// Answer to [`Step::Claim`]: where to go on; [`EntryId::ZERO`] if all has been seen.
    pub fn claimed(&mut self, stream: StreamNo, go_on_from: EntryId) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.claim = (go_on_from != EntryId::ZERO).then_some(go_on_from);
        }
    }

    /// A step failed, or its answer was lost: nothing of what is known is certain any more. Campaigns come
    /// first again, so that no group is made for one that is gone.
    pub fn failed(&mut self) {
        self.discover = true;
        for progress in self.current.values_mut() {
            *progress = Progress::START;
        }
    }

    fn number(&mut self, campaign: CampaignId) -> StreamNo {
        if let Some(number) = self.numbers.get(&campaign) {
            return *number;
        }
        // More campaigns than u32 would not fit in memory.
        let number = StreamNo(u32::try_from(self.campaigns.len()).unwrap_or(u32::MAX));
        self.campaigns.push(campaign.clone());
        self.numbers.insert(campaign, number);
        number
    }

    /// The streams whose group stands so.
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
        let count = most.checked_div(at_once)?;
        let start = self.next_new % ready.len();
        self.next_new = start + at_once;
        let streams = ready.iter().cycle().skip(start).take(at_once).copied();
        Some(Step::ReadNew {
            streams: streams.collect(),
            count,
            steps: u32::try_from(ready.len().div_ceil(at_once)).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests;
