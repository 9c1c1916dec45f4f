//! What everything takes, as it was measured.

use super::agenda::{Nanos, micros, millis};
use super::tables::Table;
use crate::machine::Machine;
use crate::report::Unit;
use crate::scale::Scale;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// So many people are known where the cost of a question is measured.
pub(crate) const KNOWN: u64 = 2_000;

/// How long everything takes for one application, grant, record or row.
#[derive(Clone, Debug)]
pub struct Costs {
    /// A handler's core, for an application that is granted.
    pub(super) handler_granted: Nanos,
    /// The same for one that is refused.
    pub(super) handler_refused: Nanos,
    /// The gate, for a grant, without what is to be done later.
    pub(super) grant: Nanos,
    /// The gate, for a refusal.
    pub(super) refusal: Nanos,
    /// The gate, for a question what strangers are told, where [`KNOWN`] are known.
    pub(super) question: Nanos,
    /// The gate, to write down what has been decided in a turn.
    pub(super) sync: Nanos,
    /// The gate, for what is done later of a grant: read, acked, removed, confirmed.
    pub(super) follow: Nanos,
    /// A bridge, from entry to entry.
    pub(super) bridge: Nanos,
    /// A broker's core, for a record.
    pub(super) broker: Nanos,
    /// A consumer, from row to row.
    pub(super) consumer: Nanos,
    /// The database, from row to row.
    pub(super) database: Nanos,
}

/// What a run of the benches has written.
#[derive(Deserialize)]
struct Results {
    machine: Machine,
    scale: Scale,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    bench: String,
    what: String,
    figure: Figure,
    unit: Unit,
    baseline: Option<Baseline>,
}

#[derive(Deserialize)]
struct Figure {
    median: f64,
}

#[derive(Deserialize)]
struct Baseline {
    figure: Figure,
}

/// The costs in a file that a run of all benches has written, and what that run was.
///
/// # Errors
/// When there is no such file, or a figure is missing in it.
pub(super) fn read(path: &Path) -> Result<(Costs, String)> {
    let text = fs::read_to_string(path).with_context(|| {
        let path = path.display();
        format!("cannot read {path}: a full run of `cargo xtask bench` writes it")
    })?;
    let of = || format!("{}", path.display());
    let results: Results = serde_json::from_str(&text).with_context(of)?;
    let costs = results.costs().with_context(of)?;
    let run = match results.scale {
        Scale::Full => "a full run",
        Scale::Quick => "a quick run, whose figures are rough",
        Scale::Smoke => "a run whose figures mean nothing",
    };
    Ok((
        costs,
        format!("Costs are from {run} of the benches: {}.", results.machine),
    ))
}

impl Costs {
    /// The gate, for a question where so many are known: each adds the same.
    pub(super) fn question_of(&self, known: u64) -> Nanos {
        let names = self.question.saturating_sub(self.refusal);
        self.refusal + names * known / KNOWN
    }

    /// The costs in what a run of all benches has written.
    ///
    /// # Errors
    /// When a figure is missing.
    pub fn of(json: &str) -> Result<Self> {
        serde_json::from_str::<Results>(json)?.costs()
    }

    /// All of them, for people.
    pub(super) fn table(&self) -> Table {
        let rows = [
            (
                "a handler's core, an application that is granted",
                "`cost`: CPU of the handler",
                self.handler_granted,
            ),
            (
                "the same, refused",
                "`decision`: CPU of the handler in a flood of losers",
                self.handler_refused,
            ),
            ("gate, a grant", "`decision`: Redis' CPU", self.grant),
            ("gate, a refusal", "the same", self.refusal),
            (
                "gate, what strangers are told, with 2,000 known",
                "the same",
                self.question,
            ),
            (
                "gate, writing down a turn",
                "`decision`: a grant alone less a refusal alone",
                self.sync,
            ),
            (
                "gate, what is done later of a grant",
                "`cost`: Redis' CPU for all of it, less the grant",
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
        Table::new("costs", &["one takes", "", "measured by"], cells.into())
    }
}

impl Results {
    fn costs(&self) -> Result<Costs> {
        let cpu = |bench, what| self.cost(bench, what, Unit::CpuSecondsPerMillion);
        let redis = |what| self.cost("decision", what, Unit::CpuMicroseconds);
        let alone = |what| self.median("decision", Some(what), Unit::Milliseconds);
        let between = |per_second: f64| micros(1e6 / per_second);
        let per_second = |bench| self.finding(bench, None, Unit::PerSecond);
        let rows = per_second("consumer")?;
        let plain = rows.baseline.as_ref();
        let plain = plain.context("the figure of `consumer` has nothing beside it")?;
        let grant = redis("Redis, a grant")?;
        Ok(Costs {
            handler_granted: cpu("cost", "handler")?,
            handler_refused: cpu("decision", "handler, a refusal")?,
            grant,
            refusal: redis("Redis, a refusal")?,
            question: redis("Redis, what strangers are told")?,
            sync: millis((alone("a grant alone")? - alone("a refusal alone")?).max(0.0)),
            follow: cpu("cost", "Redis")?.saturating_sub(grant),
            bridge: between(per_second("bridge")?.figure.median),
            broker: cpu("cost", "Kafka")?,
            consumer: between(rows.figure.median),
            database: between(plain.figure.median),
        })
    }

    /// A figure in microseconds each, or seconds for a million, which is the same.
    fn cost(&self, bench: &str, what: &str, unit: Unit) -> Result<Nanos> {
        Ok(micros(self.median(bench, Some(what), unit)?))
    }

    fn median(&self, bench: &str, what: Option<&str>, unit: Unit) -> Result<f64> {
        Ok(self.finding(bench, what, unit)?.figure.median)
    }

    /// The first such finding of a bench; of whatever, if that is left out.
    fn finding(&self, bench: &str, what: Option<&str>, unit: Unit) -> Result<&Finding> {
        let found = self.findings.iter().find(|finding| {
            let is_it = what.is_none_or(|what| what == finding.what);
            finding.bench == bench && finding.unit == unit && is_it
        });
        let name = || {
            format!(
                "{bench}{}, {unit:?}",
                what.map_or(String::new(), |what| format!(": {what}"))
            )
        };
        let finding = found.with_context(|| {
            let name = name();
            format!("there is no figure of `{name}`: a full run of `cargo xtask bench` finds it")
        })?;
        let median = finding.figure.median;
        ensure!(
            median > 0.0,
            "{}: {median} is no figure to reckon with",
            name()
        );
        Ok(finding)
    }
}
