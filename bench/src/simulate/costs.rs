//! The measured time of each step for one application, grant, record or row. The simulation uses these costs.

use super::agenda::Nanos;
#[cfg(test)]
use super::agenda::micros;
use super::results::Results;
use super::tables::Table;
use anyhow::Result;

/// The number of grants in the measured cost of a question to the gate's negative cache.
pub const KNOWN: u64 = 2_000;

/// The time of each step for one application, grant, record or row.
#[derive(Clone, Debug)]
pub struct Costs {
    /// A handler's core, for an application that is granted.
    pub(super) handler_granted: Nanos,
    /// The same for an application that is refused.
    pub(super) handler_refused: Nanos,
    /// The gate, for a grant, without its later work.
    pub(super) grant: Nanos,
    /// The gate, for a refusal.
    pub(super) refusal: Nanos,
    /// The gate, for a question to the negative cache, with [`KNOWN`] grants.
    pub(super) question: Nanos,
    /// The gate, for the sync at the end of a turn.
    pub(super) sync: Nanos,
    /// The gate, for the later work of a grant: read, ack, delete, confirm.
    pub(super) follow: Nanos,
    /// A bridge, per entry.
    pub(super) bridge: Nanos,
    /// A broker's core, per record.
    pub(super) broker: Nanos,
    /// A consumer, per row.
    pub(super) consumer: Nanos,
    /// The database, per row.
    pub(super) database: Nanos,
}

impl Costs {
    /// The gate, for a question with this many grants: the cost is linear in them.
    pub(super) fn question_of(&self, known: u64) -> Nanos {
        let names = self.question.saturating_sub(self.refusal);
        self.refusal + names * known / KNOWN
    }

    /// The costs in the results of a full run.
    ///
    /// # Errors
    /// When a figure is missing.
    pub fn of(json: &str) -> Result<Self> {
        Results::of(json)?.costs()
    }

    /// All costs as a table.
    pub(super) fn table(&self) -> Table {
        let rows = [
            (
                "a handler's core, an application that is granted",
                "`cost`: CPU of the handler",
                self.handler_granted,
            ),
            (
                "the same, refused",
                "`decision`: CPU of the handler in a flood of refusals",
                self.handler_refused,
            ),
            ("gate, a grant", "`decision`: Redis' CPU", self.grant),
            ("gate, a refusal", "the same", self.refusal),
            (
                "gate, what unknown applicants are told, 2,000 known",
                "the same",
                self.question,
            ),
            (
                "gate, writing a turn to the disk",
                "`decision`: a grant alone, minus a refusal alone",
                self.sync,
            ),
            (
                "gate, later work for a grant",
                "`cost`: Redis' CPU for all of it, minus the grant",
                self.follow,
            ),
            (
                "bridge, an entry",
                "`bridge`: entries a second",
                self.bridge,
            ),
            (
                "a broker's core, a record",
                "`cost`: CPU of Kafka",
                self.broker,
            ),
            (
                "consumer, a row",
                "`consumer`: records a second",
                self.consumer,
            ),
            (
                "database, a row",
                "`consumer`: the fastest plain insert",
                self.database,
            ),
        ];
        let cells = rows.map(|(what, from, takes)| {
            let takes = format!("{:.1} µs", takes as f64 / 1e3);
            vec![what.to_owned(), takes, from.to_owned()]
        });
        Table::new("costs", &["cost of one", "", "measured by"], cells.into())
    }
}

#[cfg(test)]
impl Costs {
    /// Round numbers, for tests.
    pub(super) fn round() -> Self {
        Self {
            handler_granted: micros(100.0),
            handler_refused: micros(80.0),
            grant: micros(20.0),
            refusal: micros(10.0),
            question: micros(50.0),
            sync: micros(100.0),
            follow: micros(30.0),
            bridge: micros(25.0),
            broker: micros(70.0),
            consumer: micros(20.0),
            database: micros(20.0),
        }
    }
}
