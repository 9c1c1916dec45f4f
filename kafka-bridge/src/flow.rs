//! The decisions of the bridge, whole and without I/O: what to read next, what to publish of what was read,
//! and what to tell Redis after which report. [`bridge`](crate::bridge) carries them out.
//!
//! Whoever drives it (the bridge, a test, a model checker) carries out one [`Step`] at a time and reports how
//! it ended, publishes what [`Flow::read`] returns, reports every delivery, and completes what
//! [`Flow::take_completions`] returns. In return, no entry is completed before Kafka has it (or it was
//! rejected), and every entry is read again until it is completed. Timers are events that may come at any time.

use crate::entry::{EntryId, EntryRef, StreamNo};
use crate::ledger::{Completion, Ledger};
use crate::read_plan::{ReadPlan, Step};
use rushgate_gate::CampaignId;
use std::collections::BTreeSet;

/// The state of a bridge. A crash is a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    plan: ReadPlan,
    ledger: Ledger,
    read_count: usize,
    /// Reading resumes when there is room for that many: entry by entry would be a round trip each.
    worth_reading: usize,
    under_way: Option<Step>,
}

/// Entries that one step brought, with whatever they carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<P> {
    /// In the order of the streams. `None` for an entry that is pending, but was deleted from its stream.
    pub entries: Vec<(EntryRef, Option<P>)>,
    /// For [`Step::Claim`]: where to go on.
    pub claim_from: EntryId,
    /// Of those, for [`Step::Claim`]: deleted while pending, and by now not pending any more.
    pub deleted: Vec<EntryRef>,
}

/// What to do about entries that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDo<P> {
    /// To be published; each is in flight now.
    pub publish: Vec<(EntryRef, P)>,
    /// Deleted by somebody before they were delivered: lost.
    pub lost: Vec<EntryRef>,
}

impl Flow {
    /// Holds up to `window` entries and reads up to `read_count` of them at once.
    pub fn new(window: usize, read_count: usize) -> Self {
        Self {
            plan: ReadPlan::new(),
            ledger: Ledger::new(window),
            read_count,
            worth_reading: (window / 8).min(read_count).max(1),
            under_way: None,
        }
    }

    /// The campaigns and groups, as far as they are known.
    pub fn plan(&self) -> &ReadPlan {
        &self.plan
    }

    /// The entries that are held.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// It is time to look for new campaigns.
    pub fn discover(&mut self) {
        self.plan.discover();
    }

    /// It is time to look for entries of dead peers.
    pub fn claim(&mut self) {
        self.plan.claim();
    }

    /// It is time to send again what was not delivered.
    pub fn retry(&mut self) {
        self.plan.retry();
    }

    /// Begins the next step, if none is under way and there is something to do. Entries are read only while
    /// they `may_publish`.
    pub fn next_step(&mut self, may_publish: bool) -> Option<Step> {
        if self.under_way.is_some() {
            return None;
        }
        let room = self.ledger.room();
        let most = if may_publish && room >= self.worth_reading {
            room.min(self.read_count)
        } else {
            0
        };
        let step = self.plan.next(most)?;
        self.ledger.read_began();
        self.under_way = Some(step.clone());
        Some(step)
    }

    /// The step under way, to discover campaigns, found these.
    pub fn discovered(&mut self, campaigns: BTreeSet<CampaignId>) {
        self.plan.discovered(campaigns);
        self.end_step();
    }

    /// The step under way, to create groups, ended so for each stream.
    pub fn groups_answered(&mut self, answers: &[(StreamNo, bool)]) {
        for (stream, ready) in answers {
            self.plan.group_answered(*stream, *ready);
        }
        self.end_step();
    }

    /// The step under way, of whatever kind reads entries, brought these.
    pub fn read<P>(&mut self, read: Read<P>) -> ToDo<P> {
        match self.under_way.take() {
            Some(Step::ReadPending { after, count }) => {
                for (stream, _) in after {
                    let of_stream = || {
                        let entries = read.entries.iter().map(|(entry, _)| entry);
                        entries.filter(|entry| entry.stream == stream)
                    };
                    let last = of_stream().map(|entry| entry.id).max();
                    let full = of_stream().count() >= count;
                    self.plan.pending_read(stream, last.filter(|_| full));
                }
            }
            Some(Step::Claim { stream, .. }) => self.plan.claimed(stream, read.claim_from),
            _ => {}
        }
        let mut lost = read.deleted;
        lost.retain(|entry| !self.ledger.knows(*entry));
        let mut publish = Vec::new();
        for (entry, payload) in read.entries {
            if !self.ledger.admit(entry) {
                continue;
            }
            match payload {
                Some(payload) => publish.push((entry, payload)),
                None => {
                    // There is nothing to publish; acked, it is no longer pending.
                    self.ledger.complete(entry, Completion::Ack);
                    lost.push(entry);
                }
            }
        }
        self.end_step();
        ToDo { publish, lost }
    }

    /// The step under way failed, or its answer was lost.
    pub fn step_failed(&mut self) {
        self.plan.failed();
        self.end_step();
    }

    /// Kafka has the entry.
    pub fn delivered(&mut self, entry: EntryRef) {
        self.ledger.complete(entry, Completion::Ack);
    }

    /// The entry can never be published.
    pub fn rejected(&mut self, entry: EntryRef, reason: String) {
        self.ledger.complete(entry, Completion::DeadLetter(reason));
    }

    /// Kafka does not have the entry, or it is not known whether it has.
    pub fn not_delivered(&mut self, entry: EntryRef) {
        if self.ledger.release(entry) {
            self.plan.delivery_failed(entry.stream);
        }
    }

    /// Up to `most` entries that Redis has to be told about now.
    pub fn take_completions(&mut self, most: usize) -> Vec<(EntryRef, Completion)> {
        self.ledger.take_completions(most)
    }

    /// Redis has confirmed the completion, or has not.
    pub fn completion_answered(&mut self, entry: EntryRef, confirmed: bool) {
        if confirmed {
            self.ledger.completed(entry);
        } else {
            self.ledger.not_completed(entry);
        }
    }

    fn end_step(&mut self) {
        self.under_way = None;
        self.ledger.read_ended();
    }
}

#[cfg(test)]
mod tests;
