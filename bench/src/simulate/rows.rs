//! Simulates the way of a grant to its row: bridges, brokers, consumers and the database.

use super::agenda::{Nanos, millis, seconds};
use super::costs::Costs;
use super::random::Random;
use super::run::Sizing;
use super::simulated::Component;
use super::station::Station;

/// The consumer's setting as shipped, in milliseconds: how long a record waits for others.
const BATCH_AGE: f64 = 20.0;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    /// Read from the stream of this gate.
    Read(usize),
    Published,
    Batched,
    /// Passed to the database by this consumer.
    Inserted(usize),
    Committed,
}

/// What happens next, after a delay: to this grant, and to the one behind it.
pub(crate) type Next = [Option<(Nanos, Row)>; 2];

/// Everything behind the gates.
pub(crate) struct Rows<'a> {
    costs: &'a Costs,
    partitions: usize,
    bridges: Station<usize>,
    brokers: Station<()>,
    consumers: Vec<Station<()>>,
    database: Station<()>,
}

impl<'a> Rows<'a> {
    /// With nothing on its way.
    pub(crate) fn new(sizing: Sizing, costs: &'a Costs) -> Self {
        Self {
            costs,
            partitions: sizing.partitions,
            bridges: Station::new(sizing.bridges),
            brokers: Station::new(sizing.broker_cores),
            consumers: vec![Station::new(1); sizing.consumers],
            database: Station::new(1),
        }
    }

    /// A grant is in the stream of this gate.
    pub(crate) fn granted(&mut self, gate: usize) -> Option<(Nanos, Row)> {
        let begins = self.bridges.arrive(gate);
        self.read(begins)
    }

    fn read(&self, gate: Option<usize>) -> Option<(Nanos, Row)> {
        gate.map(|gate| (self.costs.bridge, Row::Read(gate)))
    }

    /// A grant has reached this step, and continues.
    pub(crate) fn happens(&mut self, row: Row, random: &mut Random) -> Next {
        let costs = self.costs;
        match row {
            Row::Read(_) => {
                let behind = self.bridges.leave(costs.bridge);
                let begins = self.brokers.arrive(());
                let published = begins.map(|()| (costs.broker, Row::Published));
                [self.read(behind), published]
            }
            Row::Published => {
                let behind = self.brokers.leave(costs.broker);
                let behind = behind.map(|()| (costs.broker, Row::Published));
                [behind, Some((millis(BATCH_AGE), Row::Batched))]
            }
            Row::Batched => {
                let consumer = random.below(self.partitions) % self.consumers.len();
                let begins = self.consumers[consumer].arrive(());
                [begins.map(|()| self.inserts(consumer)), None]
            }
            Row::Inserted(consumer) => {
                let behind = self.consumers[consumer].leave(costs.consumer);
                let begins = self.database.arrive(());
                let committed = begins.map(|()| (costs.database, Row::Committed));
                [behind.map(|()| self.inserts(consumer)), committed]
            }
            Row::Committed => {
                let behind = self.database.leave(costs.database);
                [behind.map(|()| (costs.database, Row::Committed)), None]
            }
        }
    }

    fn inserts(&self, consumer: usize) -> (Nanos, Row) {
        (self.costs.consumer, Row::Inserted(consumer))
    }

    /// Busy seconds of each component; of the consumers, the busiest.
    pub(crate) fn work(&self) -> [(Component, f64); 4] {
        let consumers = self.consumers.iter().map(Station::work_of_each).max();
        [
            (Component::Bridge, self.bridges.work_of_each()),
            (Component::Broker, self.brokers.work_of_each()),
            (Component::Consumer, consumers.unwrap_or(0)),
            (Component::Database, self.database.work_of_each()),
        ]
        .map(|(component, work)| (component, seconds(work)))
    }
}
