//! Models the Kafka broker: the topic's partitions, their assignment in the consumer group, and the committed offsets.

use crate::gate::Grant;
use std::collections::BTreeSet;

pub(crate) type ConsumerNo = usize;

/// The topic and the group that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broker {
    partitions: Vec<Partition>,
    /// Counts rebalances. A member of an earlier generation is a zombie: it may read, but not commit.
    generation: u64,
    /// Records whose senders have given up, and which will still be appended.
    late: Vec<Grant>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Partition {
    records: Vec<Grant>,
    owner: ConsumerNo,
    /// The offset of the next record to read, for the next owner.
    committed: usize,
}

impl Broker {
    /// Empty partitions, assigned to the consumers in turn.
    pub(crate) fn new(partitions: usize, consumers: usize) -> Self {
        let partitions = (0..partitions).map(|number| Partition {
            // Without consumers the owner does not matter.
            owner: number % consumers.max(1),
            ..Partition::default()
        });
        Self {
            partitions: partitions.collect(),
            generation: 1,
            late: vec![],
        }
    }

    /// Appends a record. Its key, the serial, decides the partition.
    pub(crate) fn append(&mut self, grant: Grant) {
        let place = usize::from(grant.serial) % self.partitions.len();
        self.partitions[place].records.push(grant);
    }

    /// The record will be appended after its sender has given up.
    pub(crate) fn append_later(&mut self, grant: Grant) {
        self.late.push(grant);
    }

    /// Appends the first of those records.
    pub(crate) fn append_late(&mut self) {
        let grant = self.late.remove(0);
        self.append(grant);
    }

    pub(crate) fn has_late_records(&self) -> bool {
        !self.late.is_empty()
    }

    /// The record at this offset, if there is one.
    pub(crate) fn record(&self, partition: usize, offset: usize) -> Option<Grant> {
        self.partitions[partition].records.get(offset).copied()
    }

    /// Commits offsets for a member of this generation; false if it is not a member any more.
    pub(crate) fn commit(&mut self, generation: u64, progress: &[(i32, i64)]) -> bool {
        if generation != self.generation {
            return false;
        }
        for (partition, next) in progress {
            let (partition, next) = (usize::try_from(*partition), usize::try_from(*next));
            self.partitions[partition.expect("a partition")].committed = next.expect("an offset");
        }
        true
    }

    /// A rebalance: the partitions of `from` go to `to`.
    pub(crate) fn rebalance(&mut self, from: ConsumerNo, to: ConsumerNo) {
        self.generation += 1;
        for partition in &mut self.partitions {
            if partition.owner == from {
                partition.owner = to;
            }
        }
    }

    /// The partitions of a consumer, each with its committed offset.
    pub(crate) fn assigned(&self, to: ConsumerNo) -> impl Iterator<Item = (usize, usize)> {
        let partitions = self.partitions.iter().enumerate();
        let assigned = partitions.filter(move |(_, partition)| partition.owner == to);
        assigned.map(|(number, partition)| (number, partition.committed))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The grants that have a record.
    pub(crate) fn grants(&self) -> impl Iterator<Item = Grant> {
        let records = self.partitions.iter().flat_map(|of| &of.records);
        let grants: BTreeSet<Grant> = records.copied().collect();
        grants.into_iter()
    }

    /// Whether the grant has a record.
    pub(crate) fn holds(&self, grant: Grant) -> bool {
        self.partitions
            .iter()
            .any(|partition| partition.records.contains(&grant))
    }

    /// Whether the grant has a record that the group has yet to read.
    pub(crate) fn will_deliver(&self, grant: Grant) -> bool {
        self.partitions
            .iter()
            .any(|partition| partition.records[partition.committed..].contains(&grant))
    }

    /// Whether all offsets are committed.
    pub(crate) fn is_drained(&self) -> bool {
        self.partitions
            .iter()
            .all(|partition| partition.committed == partition.records.len())
    }
}
