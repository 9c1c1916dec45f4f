//! Reads the results of a full benchmark run, and finds the costs in them.

use super::agenda::{Nanos, micros, millis};
use super::costs::Costs;
use super::tables::Table;
use crate::report::{Finding, Report, Unit};
use crate::scale::Scale;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// The results of a run.
pub(super) struct Results(Report);

/// The results in a file.
///
/// # Errors
/// When there is no such file.
pub(super) fn read(path: &Path) -> Result<Results> {
    let text = fs::read_to_string(path).with_context(|| {
        let path = path.display();
        format!("cannot read {path}: a full run of `cargo xtask bench` writes it")
    })?;
    Results::of(&text).with_context(|| format!("cannot read {}", path.display()))
}

impl Results {
    pub(super) fn of(json: &str) -> Result<Self> {
        Ok(Self(serde_json::from_str(json)?))
    }

    pub(super) fn provenance(&self) -> Table {
        let run = match self.0.scale {
            Scale::Full => "a full run",
            Scale::Quick => "a quick run, whose figures are rough,",
            Scale::Smoke => "a run whose figures mean nothing",
        };
        let text = format!("Costs are from {run} of the benches: {}.", self.0.machine);
        Table::text("provenance", text)
    }

    /// What one more of a component has added, as measured.
    pub(super) fn measured(&self) -> Table {
        let findings = self.0.findings.iter();
        let findings = findings.filter(|finding| finding.bench == "one-more");
        let rows = findings.filter_map(|finding| {
            let baseline = finding.baseline.as_ref()?;
            let ratio = finding.figure.median / baseline.figure.median;
            Some(vec![
                baseline.what.clone(),
                finding.unit.show(baseline.figure.median),
                finding.what.clone(),
                finding.unit.show(finding.figure.median),
                format!("{ratio:.2}"),
            ])
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            let text = "Not measured yet: the next full run of `cargo xtask bench` does.";
            return Table::text("measured", text.to_owned());
        }
        let titles = ["one", "a second", "more", "a second", "ratio"];
        Table::new("measured", &titles, rows)
    }

    pub(super) fn costs(&self) -> Result<Costs> {
        let cpu = |bench, what| self.cost(bench, what, Unit::CpuSecondsPerMillion);
        let redis = |what| self.cost("decision", what, Unit::CpuMicroseconds);
        let alone = |what| self.median("decision", Some(what), Unit::Milliseconds);
        let between = |per_second: f64| micros(1e6 / per_second);
        let per_second = |bench| self.finding(bench, None, Unit::PerSecond);
        let rows = per_second("consumer")?;
        let plain = rows.baseline.as_ref();
        let plain = plain.context("the figure of `consumer` has no baseline")?;
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

    /// The first such finding of a benchmark, or of any benchmark.
    fn finding(&self, bench: &str, what: Option<&str>, unit: Unit) -> Result<&Finding> {
        let found = self.0.findings.iter().find(|finding| {
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
            format!("there is no figure of `{name}`: a full run of `cargo xtask bench` measures it")
        })?;
        let median = finding.figure.median;
        ensure!(
            median > 0.0,
            "{}: {median} cannot be used as a cost",
            name()
        );
        Ok(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::costs::KNOWN;
    use super::*;
    use crate::machine::Machine;
    use serde_json::{Value, json};

    fn finding(bench: &str, what: &str, median: f64, unit: &str) -> Value {
        json!({"bench": bench, "what": what, "figure": {"median": median, "samples": []}, "unit": unit})
    }

    fn results() -> Value {
        let mut consumer = finding("consumer", "records", 40_000.0, "per_second");
        consumer["baseline"] =
            json!({"what": "plain", "figure": {"median": 50_000.0, "samples": []}});
        let (million, each, ms) = (
            "cpu_seconds_per_million",
            "cpu_microseconds",
            "milliseconds",
        );
        json!({"machine": Machine::this(), "scale": "full", "seconds": 1, "findings": [
            finding("cost", "handler", 150.0, million),
            finding("cost", "Redis", 50.0, million),
            finding("cost", "Kafka", 70.0, million),
            finding("decision", "handler, a refusal", 110.0, million),
            finding("decision", "Redis, a grant", 18.0, each),
            finding("decision", "Redis, a refusal", 9.0, each),
            finding("decision", "Redis, what strangers are told", 200.0, each),
            finding("decision", "a grant alone", 0.3, ms),
            finding("decision", "a refusal alone", 0.1, ms),
            finding("bridge", "entries", 40_000.0, "per_second"),
            consumer,
        ]})
    }

    #[test]
    fn costs_are_what_was_measured() {
        let costs = Costs::of(&results().to_string()).unwrap();
        assert_eq!(costs.handler_granted, 150_000);
        assert_eq!(
            (costs.grant, costs.follow, costs.sync),
            (18_000, 32_000, 200_000)
        );
        assert_eq!(
            (costs.bridge, costs.consumer, costs.database),
            (25_000, 25_000, 20_000)
        );
        assert_eq!(
            (costs.question_of(0), costs.question_of(KNOWN)),
            (9_000, 200_000)
        );
    }

    #[test]
    fn a_figure_that_is_missing_is_named_and_what_finds_it() {
        let mut results = results();
        let findings = results["findings"].as_array_mut().unwrap();
        findings.retain(|finding| finding["what"] != "Redis, a refusal");
        let error = Costs::of(&results.to_string()).unwrap_err().to_string();
        assert!(error.contains("decision: Redis, a refusal"), "{error}");
        assert!(error.contains("cargo xtask bench"), "{error}");
    }

    #[test]
    fn a_file_that_is_missing_is_named_and_what_writes_it() {
        let error = read(Path::new("no/latest.json")).err().unwrap().to_string();
        assert!(
            error.contains("no/latest.json") && error.contains("cargo xtask bench"),
            "{error}"
        );
    }
}
