//! Defines the measures by which the ways are compared, and computes them for a run.

use super::given::Given;
use crate::finding::Unit;
use rushgate_testbed::load::LoadResult;
use std::time::Duration;

/// The result of one crowd at one service.
#[derive(Clone, Debug)]
pub struct Shown {
    pub outcome: LoadResult,
    pub quota: u32,
    /// The final content of the table.
    pub given: Given,
    /// From the last answer until every granted coupon had its row.
    pub last_row_after: Duration,
    /// CPU time of the database server up to that row, if its process is known.
    pub database_cpu: Option<Duration>,
    /// Statements sent to the database up to that row.
    pub statements: u64,
}

/// One measure.
#[derive(Clone, Copy)]
pub struct Measure {
    pub name: &'static str,
    pub unit: Unit,
    /// Its value; NaN if unknown.
    pub of: fn(&Shown) -> f64,
}

/// Statuses of decisions: 201, or 200, 409 and 410.
pub const DECISIONS: [u16; 4] = [200, 201, 409, 410];

/// All measures, in the order of the table's columns.
pub const MEASURES: [Measure; 10] = [
    Measure {
        name: APPLICATIONS,
        unit: Unit::PerSecond,
        of: |shown| shown.outcome.per_second(),
    },
    Measure {
        name: "p50",
        unit: Unit::Milliseconds,
        of: |shown| shown.outcome.quantile(0.5) / 1e3,
    },
    Measure {
        name: P99,
        unit: Unit::Milliseconds,
        of: |shown| shown.outcome.quantile(0.99) / 1e3,
    },
    Measure {
        name: OVER_QUOTA,
        unit: Unit::Count,
        of: |shown| shown.given.rows.saturating_sub(shown.quota.into()) as f64,
    },
    Measure {
        name: "people with two",
        unit: Unit::Count,
        of: |shown| shown.given.doubled as f64,
    },
    Measure {
        name: NOBODY_GOT,
        unit: Unit::Count,
        of: |shown| u64::from(shown.quota).saturating_sub(shown.given.rows) as f64,
    },
    Measure {
        name: "no decision",
        unit: Unit::Count,
        of: |shown| shown.undecided() as f64,
    },
    Measure {
        name: "last row after",
        unit: Unit::Milliseconds,
        of: |shown| shown.last_row_after.as_secs_f64() * 1e3,
    },
    Measure {
        name: DATABASE_CPU,
        unit: Unit::Seconds,
        of: |shown| shown.database_cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64()),
    },
    Measure {
        name: "statements",
        unit: Unit::Count,
        of: |shown| shown.statements as f64,
    },
];

/// Answers per second.
pub const APPLICATIONS: &str = "applications/s";

/// 99th percentile of the latency.
pub const P99: &str = "p99";

/// Rows above the quota.
pub const OVER_QUOTA: &str = "over quota";

/// Missing rows.
pub const NOBODY_GOT: &str = "places nobody got";

/// CPU time of the database.
pub const DATABASE_CPU: &str = "database CPU";

impl Shown {
    /// Answers without a decision, such as 503.
    pub fn undecided(&self) -> u64 {
        let answers = self.outcome.answers.iter();
        answers
            .filter(|(kind, _)| !DECISIONS.contains(kind))
            .map(|(_, count)| count)
            .sum()
    }
}
