//! Makes all decisions of the bridge, without I/O: which entries to read next, which to publish to Kafka, and which to
//! ack in Redis after a delivery report. [`bridge`](crate::bridge) carries out these decisions.
//!
//! The caller (the bridge, a test or the model checker) carries out one [`Step`] at a time and reports its result,
//! publishes the entries that [`Flow::read`] returns, reports every delivery, and acks the entries that
//! [`Flow::take_completions`] returns. In return, the flow guarantees that no entry is acked in Redis before Kafka has
//! it or it was rejected, and that every entry is read again until it is acked. The methods for timers may be called
//! at any time.

use crate::entry::{EntryId, EntryRef, StreamNo};
use crate::ledger::{Completion, Ledger};
use crate::read_plan::{ReadPlan, Step};
use rushgate_gate::CampaignId;
use std::collections::BTreeSet;

/// The whole state of a bridge. After a crash, the bridge starts with a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    plan: ReadPlan,
    ledger: Ledger,
    read_count: usize,
    /// Reading resumes when there is room for this many entries. Reading them one by one would cost a round
    /// trip each.
    worth_reading: usize,
    under_way: Option<Step>,
}

/// The entries in the reply to one step, each with a payload `P`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<P> {
    /// In the order of the streams. The payload is `None` if the entry is pending but was deleted from its
    /// stream.
    pub entries: Vec<(EntryRef, Option<P>)>,
    /// For [`Step::Claim`]: the id at which the next claim continues.
    pub claim_from: EntryId,
    /// For [`Step::Claim`]: entries that were pending and deleted from the stream. Redis has removed them from
    /// the pending list.
    pub deleted: Vec<EntryRef>,
}

impl<P> Read<P> {
    /// The streams that may have more entries, if up to `count` of each were read.
    pub(crate) fn full(&self, count: usize) -> impl Iterator<Item = StreamNo> {
        let streams = self.entries.chunk_by(|(a, _), (b, _)| a.stream == b.stream);
        streams
            .filter(move |entries| entries.len() >= count)
            .filter_map(|entries| Some(entries.first()?.0.stream))
    }
}

/// What the caller does with the entries that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDo<P> {
    /// To be published. Each is in flight now.
    pub publish: Vec<(EntryRef, P)>,
    /// Another client deleted these entries before they were delivered: their grants are lost.
    pub lost: Vec<EntryRef>,
}

impl Flow {
    /// Holds up to `window` entries and reads up to `read_count` of them in one step.
    pub fn new(window: usize, read_count: usize) -> Self {
        Self {
            plan: ReadPlan::new(),
            ledger: Ledger::new(window),
            read_count,
            worth_reading: (window / 8).min(read_count).max(1),
            under_way: None,
        }
    }

    pub fn plan(&self) -> &ReadPlan {
        &self.plan
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The timer for finding new campaigns has fired.
    pub fn discover(&mut self) {
        self.plan.discover();
    }

    /// The timer for claiming entries of dead bridges has fired.
    pub fn claim(&mut self) {
        self.plan.claim();
    }

    /// The timer for sending undelivered entries again has fired.
    pub fn retry(&mut self) {
        self.plan.retry();
    }

    /// Starts the next step, if none is running and there is one to do. Entries are read only while
    /// `may_publish` is true.
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

    /// The result of [`Step::Discover`].
    pub fn discovered(&mut self, campaigns: BTreeSet<CampaignId>) {
        self.plan.discovered(campaigns);
        self.end_step();
    }

    /// The result of [`Step::CreateGroups`]: for each stream, whether its group exists now.
    pub fn groups_answered(&mut self, answers: &[(StreamNo, bool)]) {
        for (stream, ready) in answers {
            self.plan.group_answered(*stream, *ready);
        }
        self.end_step();
    }

    /// The result of a step that reads entries.
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
            Some(Step::ReadNew { count, .. }) => self.plan.new_read(read.full(count)),
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
                    // There is nothing to publish. The ack removes the entry from the pending list.
                    self.ledger.complete(entry, Completion::Ack);
                    lost.push(entry);
                }
            }
        }
        self.end_step();
        ToDo { publish, lost }
    }

    /// The current step failed, or its reply was lost.
    pub fn step_failed(&mut self) {
        self.plan.failed();
        self.end_step();
    }

    pub fn delivered(&mut self, entry: EntryRef) {
        self.ledger.complete(entry, Completion::Ack);
    }

    pub fn rejected(&mut self, entry: EntryRef, reason: String) {
        self.ledger.complete(entry, Completion::DeadLetter(reason));
    }

    /// Kafka does not have the entry, or it is not known whether it does.
    pub fn not_delivered(&mut self, entry: EntryRef) {
        if self.ledger.release(entry) {
            self.plan.delivery_failed(entry.stream);
        }
    }

    /// Returns up to `most` entries that are to be acked or moved to the dead letters now.
    pub fn take_completions(&mut self, most: usize) -> Vec<(EntryRef, Completion)> {
        self.ledger.take_completions(most)
    }

    /// Whether Redis has confirmed the completion of this entry.
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
