//! Formats the result of a rush as text and as JSON.

use crate::check::{Breach, Expected, breaches};
use crate::evidence::Evidence;
use crate::rows::Row;
use crate::rush::RushResult;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The figures of one rush. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub campaign: String,
    pub applicants: u32,
    /// Coupons of the campaign.
    pub quota: u32,
    /// Answered requests.
    pub sent: u64,
    /// Answers 201.
    pub granted: u64,
    /// Answers 200.
    pub already_granted: u64,
    /// Answers 410.
    pub sold_out: u64,
    /// Invalid requests that were refused.
    pub rejected: u64,
    /// Requests sent again after 503 or a broken connection.
    pub retried: u64,
    /// Rows in the database.
    pub rows: u64,
    /// Serials that must have a row and have none.
    pub serials_missing: u64,
    /// Serials with more than one row.
    pub serials_doubled: u64,
    /// Applicants with more than one row.
    pub people_doubled: u64,
    /// Answers per second.
    pub requests_per_second: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
    /// 99th percentile of the time from grant to row.
    pub grant_to_row_p99_ms: f64,
    pub breaches: Vec<Breach>,
}

impl Report {
    /// Compares the replies with the stores.
    pub fn new(
        campaign: &str,
        expected: &Expected,
        applicants: u32,
        outcome: &RushResult,
        evidence: &Evidence,
    ) -> Self {
        let history = &outcome.history;
        let rows = &evidence.rows;
        let breaches = breaches(expected, history, evidence);
        let count = |wanted: fn(&Breach) -> bool| {
            breaches.iter().filter(|breach| wanted(breach)).count() as u64
        };
        Self {
            campaign: campaign.to_owned(),
            applicants,
            quota: expected.quota,
            sent: history.sent,
            granted: history.granted,
            already_granted: history.already_granted,
            sold_out: history.sold_out,
            rejected: history.rejected,
            retried: history.retried,
            rows: rows.len() as u64,
            serials_missing: count(|breach| matches!(breach, Breach::SerialMissing(_))),
            serials_doubled: count(|breach| matches!(breach, Breach::SerialDoubled(..))),
            people_doubled: count(|breach| matches!(breach, Breach::PersonDoubled(_))),
            requests_per_second: history.sent as f64 / outcome.elapsed.as_secs_f64(),
            p50_ms: quantile_ms(&outcome.latency, 0.5),
            p99_ms: quantile_ms(&outcome.latency, 0.99),
            grant_to_row_p99_ms: slowest_but_one_percent(rows).as_secs_f64() * 1e3,
            breaches,
        }
    }

    /// Whether there is no breach.
    pub fn is_exact(&self) -> bool {
        self.breaches.is_empty()
    }
}

fn quantile_ms(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

fn slowest_but_one_percent(rows: &[Row]) -> Duration {
    let mut delays: Vec<_> = rows.iter().map(|row| row.delay).collect();
    delays.sort();
    let rank = (delays.len() * 99).div_ceil(100);
    delays
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "campaign {}: {} applicants, quota {}",
            self.campaign, self.applicants, self.quota
        )?;
        for (what, number) in [
            ("sent", self.sent),
            ("granted", self.granted),
            ("already granted", self.already_granted),
            ("sold out", self.sold_out),
            ("rejected", self.rejected),
            ("sent again", self.retried),
            ("rows", self.rows),
            ("serials missing", self.serials_missing),
            ("serials doubled", self.serials_doubled),
            ("people doubled", self.people_doubled),
        ] {
            writeln!(f, "  {what:<22} {number:>12}")?;
        }
        writeln!(
            f,
            "  {:<22} {:>12.0}",
            "requests/s", self.requests_per_second
        )?;
        for (what, millis) in [
            ("p50", self.p50_ms),
            ("p99", self.p99_ms),
            ("grant to row, p99", self.grant_to_row_p99_ms),
        ] {
            writeln!(f, "  {what:<22} {millis:>9.1} ms")?;
        }
        const SHOWN: usize = 20;
        for breach in self.breaches.iter().take(SHOWN) {
            writeln!(f, "  BREACH {breach}")?;
        }
        match self.breaches.len() {
            0 => write!(
                f,
                "exact: each coupon was given out once, to an applicant who was answered `granted`"
            ),
            count if count > SHOWN => {
                write!(f, "NOT EXACT: {count} breaches, the first {SHOWN} above")
            }
            count => write!(f, "NOT EXACT: {count} breaches"),
        }
    }
}
