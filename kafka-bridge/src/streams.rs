//! What to ask Redis next: which streams there are, and how far the reading of each has come.
//!
//! No I/O and no clock. Of each stream, in this order: its group is made sure of, what is pending under this
//! bridge's own name is read from the beginning, what dead peers left is claimed, and only then come new
//! entries. After any failure it starts over.

use crate::entry::{EntryId, StreamNo};
use rushgate_gate::CampaignId;
use std::collections::{BTreeMap, BTreeSet};

/// Most streams in one command, so that no command grows without limit.
pub const MOST_STREAMS: usize = 256;

/// One question to Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Which campaigns are there?
    Discover,
    /// Create the group on these streams, where it is missing.
    CreateGroups(Vec<StreamNo>),
    /// Read what is pending under this bridge's name.
    Own {
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
    New {
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
            Self::Own { after, .. } => after.iter().map(|(stream, _)| *stream).collect(),
            Self::Claim { stream, .. } => vec![*stream],
            Self::CreateGroups(streams) | Self::New { streams, .. } => streams.clone(),
        }
    }
}

/// The streams, and how far the reading of each has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Streams {
    /// By number. A campaign that went keeps its number: entries of it may still be held.
    campaigns: Vec<CampaignId>,
    numbers: BTreeMap<CampaignId, StreamNo>,
    current: BTreeMap<StreamNo, Progress>,
    discover: bool,
    discovered: bool,
    /// Where the next [`Step::New`] begins, when one does not reach all streams.
    next_new: usize,
}

/// How far the reading of one stream has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Progress {
    group: Group,
    /// The id after which own entries are to be read; `None` when all have been.
    own: Option<EntryId>,
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
        own: Some(EntryId::ZERO),
        claim: Some(EntryId::ZERO),
        failed: false,
    };
}

impl Default for Streams {
    fn default() -> Self {
        Self::new()
    }
}

impl Streams {
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

    /// Whether the campaigns are known and each has its group, or cannot have one.
    pub fn are_set_up(&self) -> bool {
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
                progress.own = Some(EntryId::ZERO);
            }
        }
    }

    /// What to ask next. Entries are asked for up to `most` of them; with 0, none are.
    pub fn next(&mut self, most: usize) -> Option<Step> {
        if std::mem::take(&mut self.discover) {
            return Some(Step::Discover);
        }
        let unsure = self.with(Group::Unsure).map(|(number, _)| number);
        let unsure: Vec<_> = unsure.take(MOST_STREAMS).collect();
        if !unsure.is_empty() {
            return Some(Step::CreateGroups(unsure));
        }
        if most == 0 {
            return None;
        }
        self.own(most)
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

    /// Answer to [`Step::Own`], stream by stream: the last id read if there may be more, else `None`.
    pub fn own_read(&mut self, stream: StreamNo, go_on_after: Option<EntryId>) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.own = go_on_after;
        }
    }

    /// Answer to [`Step::Claim`]: where to go on; [`EntryId::ZERO`] if all has been seen.
    pub fn claimed(&mut self, stream: StreamNo, go_on_from: EntryId) {
        if let Some(progress) = self.current.get_mut(&stream) {
            progress.claim = (go_on_from != EntryId::ZERO).then_some(go_on_from);
        }
    }

    /// The step failed, or its answer was lost: nothing of what is known about these streams is certain
    /// (all of them, if the failure was not about streams).
    pub fn failed(&mut self, step: &Step) {
        match step {
            Step::Discover => self.discover = true,
            Step::CreateGroups(_) => {}
            Step::Own { .. } | Step::Claim { .. } | Step::New { .. } => {
                for progress in self.current.values_mut() {
                    *progress = Progress::START;
                }
            }
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

    fn own(&self, most: usize) -> Option<Step> {
        let after: Vec<_> = self
            .with(Group::Ready)
            .filter_map(|(number, progress)| Some((number, progress.own?)))
            .take(MOST_STREAMS.min(most))
            .collect();
        let count = most.checked_div(after.len())?;
        Some(Step::Own { after, count })
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
        let at_once = ready.len().min(MOST_STREAMS).min(most);
        let count = most.checked_div(at_once)?;
        let start = self.next_new % ready.len();
        self.next_new = start + at_once;
        let streams = ready.iter().cycle().skip(start).take(at_once).copied();
        Some(Step::New {
            streams: streams.collect(),
            count,
            steps: u32::try_from(ready.len().div_ceil(at_once)).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn campaigns(names: impl IntoIterator<Item = u32>) -> BTreeSet<CampaignId> {
        let names = names.into_iter().map(|name| format!("c{name}"));
        names.map(|name| name.parse().expect("an id")).collect()
    }

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Streams that have come as far as reading new entries.
    fn ready(count: u32) -> Streams {
        let mut streams = Streams::new();
        assert_eq!(streams.next(0), Some(Step::Discover));
        streams.discovered(campaigns(0..count));
        while let Some(step) = streams.next(1_000_000) {
            match step {
                Step::Discover => panic!("it was not asked for"),
                Step::CreateGroups(unsure) => unsure
                    .into_iter()
                    .for_each(|stream| streams.group_answered(stream, true)),
                Step::Own { after, .. } => after
                    .into_iter()
                    .for_each(|(stream, _)| streams.own_read(stream, None)),
                Step::Claim { stream, .. } => streams.claimed(stream, EntryId::ZERO),
                Step::New { .. } => break,
            }
        }
        streams
    }

    #[test]
    fn group_then_own_entries_page_by_page_then_claims_then_new_ones() {
        let mut streams = Streams::new();
        assert_eq!(streams.next(10), Some(Step::Discover));
        assert_eq!(streams.next(10), None, "no campaign, nothing to do");
        assert!(!streams.are_set_up());
        streams.discovered(campaigns([0]));
        let stream = StreamNo(0);
        assert_eq!(streams.next(10), Some(Step::CreateGroups(vec![stream])));
        assert!(!streams.are_set_up());
        streams.group_answered(stream, true);
        assert!(streams.are_set_up());
        assert_eq!(streams.next(0), None, "no room, no entries");
        let own = |after| {
            let after = vec![(stream, after)];
            Some(Step::Own { after, count: 10 })
        };
        assert_eq!(streams.next(10), own(EntryId::ZERO));
        streams.own_read(stream, Some(id(5)));
        assert_eq!(streams.next(10), own(id(5)));
        streams.own_read(stream, None);
        let claim = |from| {
            let count = 10;
            Some(Step::Claim {
                stream,
                from,
                count,
            })
        };
        assert_eq!(streams.next(10), claim(EntryId::ZERO));
        streams.claimed(stream, id(7));
        assert_eq!(streams.next(10), claim(id(7)));
        streams.claimed(stream, EntryId::ZERO);
        let new = Step::New {
            streams: vec![stream],
            count: 10,
            steps: 1,
        };
        assert_eq!(streams.next(10), Some(new.clone()));
        streams.claim();
        assert_eq!(streams.next(10), claim(EntryId::ZERO));
        streams.claimed(stream, EntryId::ZERO);
        assert_eq!(streams.next(10), Some(new));
    }

    #[test]
    fn after_a_failed_read_groups_and_own_entries_come_again() {
        let mut streams = ready(2);
        let step = streams.next(10).expect("new entries");
        streams.failed(&step);
        let both = vec![StreamNo(0), StreamNo(1)];
        assert_eq!(streams.next(10), Some(Step::CreateGroups(both.clone())));
        for stream in both {
            streams.group_answered(stream, true);
        }
        assert!(matches!(streams.next(10), Some(Step::Own { after, .. }) if after.len() == 2));
    }

    #[test]
    fn what_was_not_delivered_is_read_again_when_it_is_time() {
        let mut streams = ready(2);
        streams.delivery_failed(StreamNo(1));
        assert!(matches!(streams.next(10), Some(Step::New { .. })));
        streams.retry();
        let own = vec![(StreamNo(1), EntryId::ZERO)];
        assert!(matches!(streams.next(10), Some(Step::Own { after, .. }) if after == own));
        streams.own_read(StreamNo(1), None);
        streams.retry();
        assert!(matches!(streams.next(10), Some(Step::New { .. })));
    }

    #[test]
    fn a_stream_without_group_is_left_out_and_tried_again_later() {
        let mut streams = Streams::new();
        streams.next(0);
        streams.discovered(campaigns([0, 1]));
        streams.group_answered(StreamNo(0), false);
        streams.group_answered(StreamNo(1), true);
        assert!(matches!(streams.next(10), Some(Step::Own { after, .. }) if after.len() == 1));
        streams.discovered(campaigns([0, 1]));
        let refused = Step::CreateGroups(vec![StreamNo(0)]);
        assert_eq!(streams.next(10), Some(refused));
    }

    #[test]
    fn a_campaign_that_goes_and_comes_back_starts_over_under_its_number() {
        let mut streams = ready(2);
        streams.discovered(campaigns([1]));
        assert!(
            matches!(streams.next(10), Some(Step::New { streams, .. }) if streams == [StreamNo(1)])
        );
        assert_eq!(streams.campaign(StreamNo(0)).as_str(), "c0");
        streams.discovered(campaigns([0, 1, 2]));
        let unsure = Step::CreateGroups(vec![StreamNo(0), StreamNo(2)]);
        assert_eq!(streams.next(10), Some(unsure));
    }

    proptest! {
        #[test]
        fn never_more_than_asked_for_and_every_stream_has_its_turn(count in 1u32..600, most in 1usize..2000) {
            let mut streams = ready(count);
            let mut seen = BTreeSet::new();
            let mut turns = 1;
            while turns > 0 {
                let Some(Step::New { streams: asked, count: each, steps }) = streams.next(most) else {
                    return Err(TestCaseError::fail("not a step for new entries"));
                };
                prop_assert!(each >= 1 && each * asked.len() <= most);
                prop_assert!(asked.len() <= MOST_STREAMS);
                if seen.is_empty() {
                    turns = steps;
                }
                turns -= 1;
                seen.extend(asked);
            }
            prop_assert_eq!(seen.len(), count as usize);
        }
    }
}
