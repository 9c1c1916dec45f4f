//! Defines the measures by which the ways are compared, and computes them for a run.

use super::costs::{Costs, Used};
use super::given::Given;
use crate::finding::Unit;
use rushgate_testbed::load::LoadResult;
use std::time::Duration;

/// The result of one crowd: far more applicants than coupons.
#[derive(Clone, Debug)]
pub struct Shown {
    pub outcome: LoadResult,
    pub quota: u32,
    /// The final content of the table.
    pub given: Given,
    /// From the last answer until every granted coupon had its row.
    pub last_row_after: Duration,
    /// Up to that row.
    pub costs: Costs,
    /// CPU time of the database server up to that row, if its process is known.
    pub database_cpu: Option<Duration>,
    /// Statements sent to the database up to that row.
    pub statements: u64,
}

/// The result of a turn with a coupon for each applicant.
#[derive(Clone, Debug)]
pub struct Won {
    pub outcome: LoadResult,
    /// Rows when the last answer came.
    pub rows_by_then: u64,
    /// Up to the last row.
    pub costs: Costs,
}

/// What was wrong after programs were killed, with a coupon for each applicant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Killed {
    pub kills: u64,
    /// Applicants without a row, in all campaigns together.
    pub lost: u64,
    /// Rows of an applicant with an earlier row.
    pub doubled: u64,
}

/// One measure of a result.
pub struct Measure<T> {
    pub name: &'static str,
    pub unit: Unit,
    /// Its value; NaN if unknown.
    pub of: fn(&T) -> f64,
}

/// Statuses of decisions: 201, or 200, 409 and 410.
pub const DECISIONS: [u16; 4] = [200, 201, 409, 410];

/// The measures of a crowd, in the order of the table's columns.
pub const CROWD: [Measure<Shown>; 11] = [
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
        name: TWO,
        unit: Unit::Count,
        of: |shown| shown.given.doubled as f64,
    },
    Measure {
        name: PLACES_LOST,
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
        name: CPU,
        unit: Unit::CpuSecondsPerMillion,
        of: |shown| per_million(shown.costs.cpu(), shown.outcome.answered()),
    },
    Measure {
        name: "database CPU",
        unit: Unit::Seconds,
        of: |shown| shown.database_cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64()),
    },
    Measure {
        name: "statements",
        unit: Unit::Count,
        of: |shown| shown.statements as f64,
    },
];

/// The measures of a turn with a coupon for each applicant.
pub const WON: [Measure<Won>; 8] = [
    Measure {
        name: "granted/s",
        unit: Unit::PerSecond,
        of: |won| won.outcome.per_second(),
    },
    Measure {
        name: "granted, p99",
        unit: Unit::Milliseconds,
        of: |won| won.outcome.quantile(0.99) / 1e3,
    },
    Measure {
        name: "rows/s meanwhile",
        unit: Unit::PerSecond,
        of: |won| won.rows_by_then as f64 / won.outcome.elapsed.as_secs_f64(),
    },
    Measure {
        name: "service CPU per million",
        unit: Unit::CpuSecondsPerMillion,
        of: |won| per_million(won.costs.service.cpu, won.outcome.sent),
    },
    Measure {
        name: "consumer CPU per million",
        unit: Unit::CpuSecondsPerMillion,
        of: |won| won.of_consumers(|used| per_million(used.cpu, won.outcome.sent)),
    },
    Measure {
        name: "all CPU per million",
        unit: Unit::CpuSecondsPerMillion,
        of: |won| per_million(won.costs.cpu(), won.outcome.sent),
    },
    Measure {
        name: SERVICE_MEMORY,
        unit: Unit::Mebibytes,
        of: |won| mebibytes(won.costs.service),
    },
    Measure {
        name: CONSUMER_MEMORY,
        unit: Unit::Mebibytes,
        of: |won| won.of_consumers(mebibytes),
    },
];

/// The measures of kills.
pub const KILLED: [Measure<Killed>; 3] = [
    Measure {
        name: "kills",
        unit: Unit::Count,
        of: |killed| killed.kills as f64,
    },
    Measure {
        name: LOST,
        unit: Unit::Count,
        of: |killed| killed.lost as f64,
    },
    Measure {
        name: DOUBLED,
        unit: Unit::Count,
        of: |killed| killed.doubled as f64,
    },
];

/// Answers per second.
pub const APPLICATIONS: &str = "applications/s";

/// 99th percentile of the latency.
pub const P99: &str = "p99";

/// CPU time of programs and servers for a million applications.
pub const CPU: &str = "CPU per million";

/// Rows above the quota.
pub const OVER_QUOTA: &str = "over quota";

/// Applicants with more than one row.
pub const TWO: &str = "people with two";

/// Coupons of the quota that no applicant got.
pub const PLACES_LOST: &str = "places lost";

/// Peak memory of the program that answers.
pub const SERVICE_MEMORY: &str = "service memory";

/// Peak memory of the programs between answer and row.
pub const CONSUMER_MEMORY: &str = "consumer memory";

/// Coupons that no applicant has.
pub const LOST: &str = "lost when killed";

/// Coupons that an applicant has twice.
pub const DOUBLED: &str = "doubled when killed";

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

impl Won {
    fn of_consumers(&self, number: impl Fn(Used) -> f64) -> f64 {
        self.costs.consumers.map_or(f64::NAN, number)
    }
}

/// CPU seconds for a million.
fn per_million(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

fn mebibytes(used: Used) -> f64 {
    used.peak_memory as f64 / f64::from(1 << 20)
}
