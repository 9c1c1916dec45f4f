//! One batch for each partition at a time: what comes meanwhile waits here, and goes together when the broker has
//! answered.
//!
//! librdkafka's idempotent producer has one request in flight for each partition. What it is given beyond that it
//! cannot send, and its thread asks without pause whether it can by now: a whole core for as long as the broker
//! takes, which on a small machine is the core that the broker needs.

use std::collections::BTreeMap;
use std::mem::take;

/// Which items were handed over, and which wait, for each partition.
#[derive(Debug)]
pub struct Lanes<T>(BTreeMap<i32, Lane<T>>);

#[derive(Debug)]
struct Lane<T> {
    in_flight: usize,
    waiting: Vec<T>,
}

impl<T> Default for Lanes<T> {
    /// Nothing in flight, nothing waiting.
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Lanes<T> {
    /// The item is to go to that partition.
    pub fn add(&mut self, partition: i32, item: T) {
        let lane = self.0.entry(partition).or_insert(Lane {
            in_flight: 0,
            waiting: Vec::new(),
        });
        lane.waiting.push(item);
    }

    /// What is to be handed over now, in the order in which it came to each partition; it is in flight from now on.
    pub fn take_ready(&mut self) -> Vec<(i32, Vec<T>)> {
        let lanes = self.0.iter_mut();
        lanes
            .filter(|(_, lane)| lane.in_flight == 0 && !lane.waiting.is_empty())
            .map(|(partition, lane)| {
                let batch = take(&mut lane.waiting);
                lane.in_flight = batch.len();
                (*partition, batch)
            })
            .collect()
    }

    /// One of those in flight to that partition has come to its end, whichever.
    pub fn ended(&mut self, partition: i32) {
        if let Some(lane) = self.0.get_mut(&partition) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_one_batch_at_a_time() {
        let mut lanes = Lanes::default();
        for (partition, item) in [(0, 'a'), (1, 'b'), (0, 'c')] {
            lanes.add(partition, item);
        }
        assert_eq!(lanes.take_ready(), [(0, vec!['a', 'c']), (1, vec!['b'])]);
        lanes.add(0, 'd');
        lanes.add(1, 'e');
        assert_eq!(lanes.take_ready(), []);
        lanes.ended(0);
        assert_eq!(lanes.take_ready(), [], "one of two is still in flight");
        lanes.ended(1);
        assert_eq!(
            lanes.take_ready(),
            [(1, vec!['e'])],
            "they do not wait for one another"
        );
        lanes.ended(0);
        lanes.add(0, 'f');
        assert_eq!(lanes.take_ready(), [(0, vec!['d', 'f'])]);
    }

    #[test]
    fn an_end_too_many_frees_nothing_else() {
        let mut lanes = Lanes::default();
        lanes.ended(7);
        lanes.add(7, 'a');
        assert_eq!(lanes.take_ready(), [(7, vec!['a'])]);
        lanes.ended(7);
        lanes.ended(7);
        lanes.add(7, 'b');
        lanes.add(7, 'c');
        assert_eq!(lanes.take_ready(), [(7, vec!['b', 'c'])]);
        lanes.ended(7);
        lanes.add(7, 'd');
        assert_eq!(lanes.take_ready(), []);
    }
}
