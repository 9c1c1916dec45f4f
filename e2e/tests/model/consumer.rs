//! Models a consumer: the real [`Offsets`] of the program, with the records that it has read, written and not yet
//! committed.

use crate::broker::{Broker, ConsumerNo};
use crate::gate::{Gate, Grant};
use crate::mutation::Mutation;
use crate::table::Table;
use rushgate_consumer::kafka::offsets::{Offsets, Ticket};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Consumer {
    offsets: Offsets,
    /// The group generation in which it reads; 0 while it is not a member.
    generation: u64,
    /// The next offset to read, for each partition that it believes to own.
    next: BTreeMap<usize, usize>,
    /// Read and not written yet: the batches of all writers.
    unwritten: Vec<Delivery>,
    /// Written and not confirmed to the gate yet.
    written: Vec<Delivery>,
    /// In the order in which they were sent.
    commits: VecDeque<Commit>,
    /// The broker has refused a commit: there was a rebalance.
    refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Delivery {
    ticket: Ticket,
    grant: Grant,
    /// The grant to confirm after the write: its own if it has its row, or the one that stood in the way.
    to_confirm: Option<Grant>,
}

/// One of the writers of a consumer, which write independently of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) number: u8,
    pub(crate) of: u8,
}

/// A commit that the broker has carried out or refused; the consumer does not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Commit {
    generation: u64,
    progress: Vec<(i32, i64)>,
    accepted: bool,
}

impl Consumer {
    /// It learns of a rebalance late: what it has read is void, and the new owner reads it.
    pub(crate) fn join(&mut self, me: ConsumerNo, broker: &Broker) {
        self.offsets.revoke();
        self.generation = broker.generation();
        self.next = broker.assigned(me).collect();
        let partitions = self.next.keys().map(|partition| number(*partition));
        self.offsets.assign(partitions);
        self.refused = false;
    }

    /// It learns of a rebalance in time: it commits what is done, then gives everything back.
    pub(crate) fn give_back(&mut self, broker: &mut Broker) {
        let unconfirmed = self.offsets.take_unconfirmed();
        broker.commit(self.generation, &unconfirmed);
        self.offsets.revoke();
        self.generation = 0;
        self.next.clear();
    }

    /// Reads the next record of a partition.
    pub(crate) fn read(&mut self, partition: usize, broker: &Broker, mutation: Option<Mutation>) {
        let Some(next) = self.next.get_mut(&partition) else {
            return;
        };
        let Some(grant) = broker.record(partition, *next) else {
            return;
        };
        let offset = i64::try_from(*next).expect("an offset");
        *next += 1;
        let generation = self.offsets.generation();
        if let Some(ticket) = self.offsets.read(generation, number(partition), offset) {
            if mutation == Some(Mutation::CommitBeforeWrite) {
                self.offsets.done(&ticket);
            }
            self.unwritten.push(Delivery {
                ticket,
                grant,
                to_confirm: None,
            });
        }
    }

    /// Writes the writer's batch, as far as the consumer still owns it, in one transaction. If the answer is lost, it
    /// will be written again.
    pub(crate) fn write(
        &mut self,
        writer: Writer,
        table: &mut Table,
        quota: u8,
        answered: bool,
        mutation: Option<Mutation>,
    ) {
        let offsets = &self.offsets;
        self.unwritten
            .retain(|delivery| offsets.is_valid(&delivery.ticket));
        let batch = self.unwritten.iter().copied();
        let (batch, others): (Vec<_>, Vec<_>) =
            batch.partition(|delivery| writer.has(delivery.grant));
        let grants: Vec<Grant> = batch.iter().map(|delivery| delivery.grant).collect();
        let ignore = mutation == Some(Mutation::InsertIgnore);
        let to_confirm = table.write(&grants, quota, ignore);
        if !answered {
            return;
        }
        self.unwritten = others;
        for (mut delivery, to_confirm) in batch.into_iter().zip(to_confirm) {
            if mutation == Some(Mutation::CommitBeforeConfirm) {
                self.offsets.done(&delivery.ticket);
            }
            delivery.to_confirm = to_confirm;
            self.written.push(delivery);
        }
    }

    /// Confirms grants with rows to the gate; only then are the records done.
    pub(crate) fn confirm(&mut self, gate: &mut Gate, answered: bool, mutation: Option<Mutation>) {
        let to_confirm = self.written.iter();
        let to_confirm = to_confirm.filter_map(|delivery| delivery.to_confirm);
        let looks = mutation != Some(Mutation::ConfirmBlindly);
        gate.confirm(to_confirm, looks);
        if answered {
            let past = mutation == Some(Mutation::CommitPastOtherWriter);
            let others = self.unwritten.iter().filter(|_| past);
            for delivery in self.written.iter().chain(others) {
                self.offsets.done(&delivery.ticket);
            }
            self.written.clear();
        }
    }

    /// Sends what may be committed. The broker carries it out at once; the answer is then in flight.
    pub(crate) fn commit(&mut self, broker: &mut Broker) {
        let progress = self.offsets.take_progress();
        if !progress.is_empty() {
            self.commits.push_back(Commit {
                generation: self.generation,
                accepted: broker.commit(self.generation, &progress),
                progress,
            });
        }
    }

    /// The answer to the first commit arrives, or is lost.
    pub(crate) fn commit_answered(&mut self, arrived: bool) {
        let Some(commit) = self.commits.pop_front() else {
            return;
        };
        for (partition, next) in commit.progress {
            if commit.accepted && arrived {
                self.offsets.committed(partition, next);
            } else {
                self.offsets.commit_failed(partition);
            }
        }
        self.refused |= !commit.accepted && commit.generation == self.generation;
    }

    /// The partitions with unread records.
    pub(crate) fn readable(&self, broker: &Broker) -> impl Iterator<Item = usize> {
        let next = self.next.iter();
        let readable =
            next.filter(|(partition, next)| broker.record(**partition, **next).is_some());
        readable.map(|(partition, _)| *partition)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn has_batch(&self, writer: Writer) -> bool {
        let mut unwritten = self.unwritten.iter();
        unwritten.any(|delivery| writer.has(delivery.grant))
    }

    pub(crate) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// Whether a commit's answer is in flight.
    pub(crate) fn is_committing(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Whether it would commit now, if there is anything to commit.
    pub(crate) fn may_commit(&self) -> bool {
        !self.refused
    }
}

impl Writer {
    /// All events of a serial belong to one writer.
    fn has(self, grant: Grant) -> bool {
        grant.serial % self.of == self.number
    }
}

fn number(partition: usize) -> i32 {
    i32::try_from(partition).expect("a partition")
}
