//! Decides which Kafka offsets may be committed. A record is *finished* when its row is committed and confirmed, or
//! when it has become a dead letter. This is a pure state machine, which `topic`, `writer` and
//! `gate::confirm` use.
//!
//! It guarantees that an offset is committed only if all earlier records of that partition are finished, and only
//! while the partition belongs to this consumer. "Earlier" means read before, under the current assignment of the
//! partition. Records that were read under a previous assignment do not count: the partition's next owner reads them
//! again.

use crate::kafka::prefix::Prefix;
use std::collections::BTreeMap;

/// Identifies a record that was read. A ticket is void once the assignment under which the record was read has
/// ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    generation: u64,
    partition: i32,
    sequence: u64,
}

impl Ticket {
    /// For a record that does not come from Kafka and has no offset to commit.
    pub const VOID: Self = Self {
        generation: 0,
        partition: -1,
        sequence: 0,
    };
}

/// The offsets of the partitions that are assigned to this consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offsets {
    /// The number of assignments so far.
    generation: u64,
    partitions: BTreeMap<i32, Prefix>,
}

impl Offsets {
    /// Replaces the assigned partitions. All earlier tickets become void.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = i32>) {
        self.generation += 1;
        self.partitions = partitions
            .into_iter()
            .map(|partition| (partition, Prefix::default()))
            .collect();
    }

    /// Removes all partitions. All earlier tickets become void.
    pub fn revoke(&mut self) {
        self.assign([]);
    }

    /// The number of the current assignment.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Registers a record that was read under the assignment `generation`. Returns `None` if that assignment
    /// has ended or the partition is not assigned: then the record must be dropped.
    pub fn read(&mut self, generation: u64, partition: i32, offset: i64) -> Option<Ticket> {
        if generation != self.generation {
            return None;
        }
        let sequence = self.partitions.get_mut(&partition)?.read(offset);
        Some(Ticket {
            generation,
            partition,
            sequence,
        })
    }

    /// Whether the record still belongs to this consumer.
    pub fn is_valid(&self, ticket: &Ticket) -> bool {
        ticket.generation == self.generation && self.partitions.contains_key(&ticket.partition)
    }

    /// The record is finished: its row is committed and confirmed, or it is a dead letter. Does nothing if the
    /// ticket is void or was finished before.
    pub fn done(&mut self, ticket: &Ticket) {
        if self.is_valid(ticket)
            && let Some(prefix) = self.partitions.get_mut(&ticket.partition)
        {
            prefix.done(ticket.sequence);
        }
    }

    /// The number of records that were read and are neither finished nor void.
    pub fn in_flight(&self) -> usize {
        self.partitions.values().map(Prefix::in_flight).sum()
    }

    /// Returns partition and next offset of everything that may be committed and was not returned before.
    pub fn take_progress(&mut self) -> Vec<(i32, i64)> {
        self.take(Prefix::take_progress)
    }

    /// Returns everything that may be committed and that Kafka has not confirmed, to commit it before the
    /// partitions are given back.
    pub fn take_unconfirmed(&mut self) -> Vec<(i32, i64)> {
        self.take(Prefix::take_unconfirmed)
    }

    pub fn committed(&mut self, partition: i32, next: i64) {
        if let Some(prefix) = self.partitions.get_mut(&partition) {
            prefix.committed(next);
        }
    }

    /// A commit of this partition failed. Its offset will be returned again.
    pub fn commit_failed(&mut self, partition: i32) {
        if let Some(prefix) = self.partitions.get_mut(&partition) {
            prefix.commit_failed();
        }
    }

    /// The partitions whose last commit was not answered, and the offset that Kafka had confirmed before.
    pub fn unanswered(&self) -> impl Iterator<Item = (i32, Option<i64>)> {
        let partitions = self.partitions.iter();
        partitions
            .filter(|(_, prefix)| prefix.is_unanswered())
            .map(|(partition, prefix)| (*partition, prefix.confirmed()))
    }

    fn take(&mut self, take: impl Fn(&mut Prefix) -> Option<i64>) -> Vec<(i32, i64)> {
        let partitions = self.partitions.iter_mut();
        partitions
            .filter_map(|(partition, prefix)| Some((*partition, take(prefix)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assigned(partitions: &[i32]) -> Offsets {
        let mut offsets = Offsets::default();
        offsets.assign(partitions.iter().copied());
        offsets
    }

    #[test]
    fn nothing_is_committed_past_a_record_that_is_not_done() {
        let mut offsets = assigned(&[0]);
        let generation = offsets.generation();
        let [a, b, c] =
            [5, 6, 9].map(|offset| offsets.read(generation, 0, offset).expect("is ours"));
        offsets.done(&b);
        assert_eq!((offsets.in_flight(), offsets.take_progress()), (2, vec![]));
        offsets.done(&a);
        assert_eq!(offsets.take_progress(), [(0, 7)]);
        assert_eq!(offsets.take_progress(), []);
        offsets.done(&c);
        assert_eq!(
            (offsets.in_flight(), offsets.take_progress()),
            (0, vec![(0, 10)])
        );
    }

    #[test]
    fn offsets_that_kafka_did_not_confirm_are_returned_again() {
        let mut offsets = assigned(&[0]);
        let ticket = offsets
            .read(offsets.generation(), 0, 5)
            .expect("is assigned");
        offsets.done(&ticket);
        assert_eq!(offsets.take_progress(), [(0, 6)]);
        assert_eq!(offsets.take_unconfirmed(), [(0, 6)]);
        assert_eq!(offsets.unanswered().collect::<Vec<_>>(), [(0, None)]);
        offsets.commit_failed(0);
        assert_eq!(offsets.unanswered().count(), 0);
        assert_eq!(offsets.take_progress(), [(0, 6)]);
        offsets.committed(0, 6);
        offsets.commit_failed(0);
        assert_eq!(offsets.take_progress(), []);
        assert_eq!(offsets.take_unconfirmed(), []);
        assert_eq!(offsets.unanswered().count(), 0);
    }

    #[test]
    fn a_ticket_of_an_earlier_assignment_is_void() {
        let mut offsets = assigned(&[0]);
        let earlier = offsets.generation();
        let ticket = offsets.read(earlier, 0, 5).expect("is assigned");
        offsets.assign([0]);
        assert!(!offsets.is_valid(&ticket));
        offsets.done(&ticket);
        assert_eq!((offsets.in_flight(), offsets.take_progress()), (0, vec![]));
        assert_eq!(offsets.read(earlier, 0, 6), None);
        assert_eq!(offsets.read(offsets.generation(), 1, 6), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(i32),
        Done(usize),
        Assign(Vec<i32>),
        Progress,
        Confirm,
        Fail,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3i32).prop_map(Step::Read),
            6 => any::<usize>().prop_map(Step::Done),
            1 => prop::collection::vec(0..3i32, 0..3).prop_map(Step::Assign),
            3 => Just(Step::Progress),
            2 => Just(Step::Confirm),
            1 => Just(Step::Fail),
        ]
    }

    proptest! {
        /// In any order of calls: an offset that is returned has no unfinished record of this assignment before
        /// it. After everything is finished and confirmed, nothing is left to commit.
        #[test]
        fn only_done_prefixes_of_our_partitions_are_handed_out(steps in prop::collection::vec(step(), 1..200)) {
            let mut offsets = assigned(&[0, 1, 2]);
            let mut next = [0i64; 3];
            let mut tickets: Vec<(Ticket, i32, i64)> = vec![];
            let mut undone: Vec<(Ticket, i32, i64)> = vec![];
            let mut last_sent = vec![];
            let check = |progress: &[(i32, i64)], undone: &[(Ticket, i32, i64)]| {
                progress.iter().all(|(partition, to)| {
                    undone.iter().all(|(_, of, offset)| of != partition || offset >= to)
                })
            };
            for step in steps {
                match step {
                    Step::Read(partition) => {
                        let place = usize::try_from(partition).expect("positive");
                        let offset = next[place];
                        if let Some(ticket) = offsets.read(offsets.generation(), partition, offset) {
                            next[place] += 1 + offset % 3;
                            tickets.push((ticket, partition, offset));
                            undone.push((ticket, partition, offset));
                        }
                    }
                    Step::Done(which) if !tickets.is_empty() => {
                        let (ticket, ..) = tickets[which % tickets.len()];
                        offsets.done(&ticket);
                        undone.retain(|(other, ..)| *other != ticket);
                    }
                    Step::Done(_) => {}
                    Step::Assign(partitions) => {
                        offsets.assign(partitions);
                        undone.clear();
                        next = [0; 3];
                    }
                    Step::Progress => {
                        last_sent = offsets.take_progress();
                        prop_assert!(check(&last_sent, &undone));
                    }
                    Step::Confirm => last_sent.drain(..).for_each(|(partition, next)| offsets.committed(partition, next)),
                    Step::Fail => last_sent.drain(..).for_each(|(partition, _)| offsets.commit_failed(partition)),
                }
                prop_assert_eq!(offsets.in_flight(), undone.len());
            }
            for (ticket, ..) in &undone {
                offsets.done(ticket);
            }
            prop_assert_eq!(offsets.in_flight(), 0);
            for (partition, next) in offsets.take_unconfirmed() {
                offsets.committed(partition, next);
            }
            prop_assert_eq!(offsets.take_unconfirmed(), vec![]);
        }
    }
}
