//! Gives librdkafka at most one batch for each partition at a time. Further records wait here, and are sent together
//! after the broker has answered.
//!
//! librdkafka's idempotent producer has one request in flight for each partition. If it holds more records for that
//! partition, its thread polls in a busy loop until the broker answers. On a small machine, this loop uses the CPU
//! core that the broker needs.

use std::collections::BTreeMap;
use std::mem::take;

/// The items in flight and the items that wait, for each partition.
#[derive(Debug)]
pub(crate) struct PartitionQueues<T>(BTreeMap<i32, PartitionQueue<T>>);

#[derive(Debug)]
struct PartitionQueue<T> {
    in_flight: usize,
    waiting: Vec<T>,
}

impl<T> Default for PartitionQueues<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PartitionQueues<T> {
    /// Queues an item for this partition.
    pub(crate) fn add(&mut self, partition: i32, item: T) {
        let queue = self.0.entry(partition).or_insert(PartitionQueue {
            in_flight: 0,
            waiting: Vec::new(),
        });
        queue.waiting.push(item);
    }

    /// Takes the items that may be sent now, in the order in which they were added. From now on they are in
    /// flight.
    pub(crate) fn take_ready(&mut self) -> Vec<(i32, Vec<T>)> {
        let queues = self.0.iter_mut();
        queues
            .filter(|(_, queue)| queue.in_flight == 0 && !queue.waiting.is_empty())
            .map(|(partition, queue)| {
                let batch = take(&mut queue.waiting);
                queue.in_flight = batch.len();
                (*partition, batch)
            })
            .collect()
    }

    /// One of the items in flight for this partition was delivered or has failed.
    pub(crate) fn finished(&mut self, partition: i32) {
        if let Some(queue) = self.0.get_mut(&partition) {
            queue.in_flight = queue.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_one_batch_at_a_time() {
        let mut queues = PartitionQueues::default();
        for (partition, item) in [(0, 'a'), (1, 'b'), (0, 'c')] {
            queues.add(partition, item);
        }
        assert_eq!(queues.take_ready(), [(0, vec!['a', 'c']), (1, vec!['b'])]);
        queues.add(0, 'd');
        queues.add(1, 'e');
        assert_eq!(queues.take_ready(), []);
        queues.finished(0);
        assert_eq!(queues.take_ready(), [], "one of two is still in flight");
        queues.finished(1);
        assert_eq!(
            queues.take_ready(),
            [(1, vec!['e'])],
            "they do not wait for one another"
        );
        queues.finished(0);
        queues.add(0, 'f');
        assert_eq!(queues.take_ready(), [(0, vec!['d', 'f'])]);
    }

    #[test]
    fn a_surplus_report_changes_nothing() {
        let mut queues = PartitionQueues::default();
        queues.finished(7);
        queues.add(7, 'a');
        assert_eq!(queues.take_ready(), [(7, vec!['a'])]);
        queues.finished(7);
        queues.finished(7);
        queues.add(7, 'b');
        queues.add(7, 'c');
        assert_eq!(queues.take_ready(), [(7, vec!['b', 'c'])]);
        queues.finished(7);
        queues.add(7, 'd');
        assert_eq!(queues.take_ready(), []);
    }
}
