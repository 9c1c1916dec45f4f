//! The results of a run: a table for people, and JSON for programs.

use crate::finding::Finding;
use crate::machine::Machine;
use crate::scale::Scale;
use crate::table::{TITLES, cells, table};
use crate::ways::table as ways;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// The results of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub scale: Scale,
    /// In the order of the benchmarks.
    pub findings: Vec<Finding>,
    pub seconds: u64,
    /// Benchmarks that were run again by themselves.
    #[serde(default)]
    pub again: Vec<String>,
    /// How often the run was interrupted and resumed.
    #[serde(default)]
    pub interruptions: u32,
}

impl Report {
    /// A run in which nothing was measured yet.
    pub fn new(machine: Machine, scale: Scale) -> Self {
        Self {
            machine,
            scale,
            findings: vec![],
            seconds: 0,
            again: vec![],
            interruptions: 0,
        }
    }

    /// Whether this benchmark has been run.
    pub fn has(&self, bench: &str) -> bool {
        self.findings.iter().any(|finding| finding.bench == bench)
    }

    /// Whether every goal is met.
    pub fn meets_its_goals(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.met != Some(false))
    }

    /// Sentences about interruptions, and the benchmarks that were run again; empty if there were none.
    pub(crate) fn history(&self) -> String {
        let interrupted = match self.interruptions {
            0 => String::new(),
            1 => " Interrupted once between two benchmarks.".to_owned(),
            times => format!(" Interrupted {times} times between two benchmarks."),
        };
        if self.again.is_empty() {
            return interrupted;
        }
        let again = self.again.join(", ");
        format!("{interrupted} Run again by itself: {again}.")
    }

    /// The same report with new findings of one benchmark in place of the old ones. `order` are the names of all
    /// benchmarks.
    #[must_use]
    pub fn amended(mut self, bench: &str, again: Self, order: &[&str]) -> Self {
        self.findings.retain(|finding| finding.bench != bench);
        self.findings.extend(again.findings);
        let place = |finding: &Finding| order.iter().position(|name| *name == finding.bench);
        self.findings.sort_by_key(place);
        self.seconds += again.seconds;
        self.again.retain(|name| name != bench);
        self.again.push(bench.to_owned());
        self
    }
}

/// The table, which is also valid Markdown.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
        let others = self
            .findings
            .iter()
            .filter(|finding| !ways::is_one(finding));
        rows.extend(others.map(|finding| cells(finding).to_vec()));
        let mut tables = ways::cells(&self.findings);
        if rows.len() > 1 {
            tables.insert(0, rows);
        }
        for rows in tables {
            table(f, &rows)?;
            writeln!(f)?;
        }
        writeln!(f, "{}.", self.machine)?;
        write!(
            f,
            "Medians of turns taken alternately, with half of the distance from the smallest to the largest. {} s in all.",
            self.seconds
        )?;
        f.write_str(&self.history())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Goal, Unit};
    use crate::measure::Figure;

    #[test]
    fn what_is_found_again_takes_the_place_of_what_was_found_first() {
        let report = |seconds, findings: &[(&str, &str)]| {
            let figure = || Figure::known(1.0);
            let finding =
                |(bench, what): &(&str, &str)| Finding::new(bench, *what, figure(), Unit::Seconds);
            Report {
                findings: findings.iter().map(finding).collect(),
                seconds,
                ..Report::new(Machine::this(), Scale::Full)
            }
        };
        let first = report(60, &[("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")]);
        let amended = first.amended("b", report(7, &[("b", "5"), ("b", "6")]), &["a", "b", "c"]);
        let found: Vec<_> = amended
            .findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect();
        assert_eq!(found, ["1", "2", "5", "6", "4"]);
        let again = amended.amended("b", report(3, &[("b", "7")]), &["a", "b", "c"]);
        assert_eq!(again.seconds, 70);
        assert!(
            again
                .to_string()
                .ends_with("70 s in all. Run again by itself: b.")
        );
    }

    #[test]
    fn the_table_says_everything() {
        let report = Report {
            findings: vec![
                Finding::new("gate", "granted", Figure::known(65_432.1), Unit::PerSecond)
                    .beside("shortest script", Figure::known(100_000.0))
                    .to_be(Goal::AtLeast(0.7)),
            ],
            seconds: 7,
            ..Report::new(Machine::this(), Scale::Smoke)
        };
        let table = report.to_string();
        for part in [
            "granted, per second",
            "65,432",
            "shortest script: 100,000",
            "0.65",
            "≥ 0.7",
            "NOT MET",
        ] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(!report.meets_its_goals());
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.contains(r#""goal":{"at_least":0.7},"met":false"#),
            "{json}"
        );
    }
}
