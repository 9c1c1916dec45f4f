//! Formats the results of a run: a table for people, and JSON for programs.

use crate::machine::Machine;
use crate::measure::Figure;
use crate::scale::Scale;
use crate::ways::table as ways;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// The titles of the table.
pub(crate) const TITLES: [&str; 7] = ["bench", "measured", "median", "beside", "ratio", "goal", ""];

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
}

/// One figure, beside its baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    pub bench: String,
    pub what: String,
    pub figure: Figure,
    pub unit: Unit,
    pub baseline: Option<Baseline>,
    /// The median, relative to that of the baseline.
    pub ratio: Option<f64>,
    /// The goal of the ratio.
    pub goal: Option<Goal>,
    /// Whether the goal is met.
    pub met: Option<bool>,
}

/// What a figure is compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Baseline {
    pub what: String,
    /// In the same unit as the finding.
    pub figure: Figure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things per second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds of CPU time for one thing.
    CpuMicroseconds,
    /// Seconds of CPU time for a million things.
    CpuSecondsPerMillion,
    /// Seconds.
    Seconds,
    /// 1,048,576 bytes.
    Mebibytes,
    Count,
}

/// The goal of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Finding {
    /// A figure without a baseline.
    pub fn new(bench: &str, what: impl Into<String>, figure: Figure, unit: Unit) -> Self {
        Self {
            bench: bench.to_owned(),
            what: what.into(),
            figure,
            unit,
            baseline: None,
            ratio: None,
            goal: None,
            met: None,
        }
    }

    /// The same with a baseline.
    #[must_use]
    pub fn beside(mut self, what: impl Into<String>, figure: Figure) -> Self {
        self.ratio = Some(self.figure.median / figure.median);
        let what = what.into();
        self.baseline = Some(Baseline { what, figure });
        self
    }

    /// The same with a goal for its ratio to the baseline.
    #[must_use]
    pub fn to_be(mut self, goal: Goal) -> Self {
        self.met = self.ratio.map(|ratio| goal.is_met(ratio));
        self.goal = Some(goal);
        self
    }
}

impl Goal {
    /// Whether this ratio meets it.
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Unit {
    /// A number in this unit, formatted.
    pub fn show(self, number: f64) -> String {
        let digits = match self {
            Self::PerSecond | Self::Count => return grouped(number),
            _ if number >= 100.0 => 0,
            _ if number >= 10.0 => 1,
            _ => 2,
        };
        let unit = match self {
            Self::Milliseconds => "ms",
            Self::CpuMicroseconds => "µs",
            Self::Mebibytes => "MiB",
            _ => "s",
        };
        format!("{number:.digits$} {unit}")
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::PerSecond => ", per second",
            Self::CpuMicroseconds => ", CPU each",
            Self::CpuSecondsPerMillion => ", CPU per million",
            _ => "",
        }
    }
}

/// An integer with thousands separators.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl Report {
    /// Whether every goal is met.
    pub fn meets_its_goals(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.met != Some(false))
    }

    /// A sentence that names the benchmarks that were run again; empty if none was.
    pub(crate) fn run_again(&self) -> String {
        if self.again.is_empty() {
            return String::new();
        }
        format!(" Run again by itself: {}.", self.again.join(", "))
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

    /// A row of the table, under [`TITLES`].
    pub(crate) fn cells(finding: &Finding) -> [String; 7] {
        let unit = finding.unit;
        let baseline = finding.baseline.as_ref();
        let figure = |figure: &Figure| {
            let spread = figure.spread() * 100.0;
            let spread = if figure.samples.len() > 1 {
                format!(" ±{spread:.0} %")
            } else {
                String::new()
            };
            unit.show(figure.median) + &spread
        };
        [
            finding.bench.clone(),
            finding.what.clone() + unit.suffix(),
            figure(&finding.figure),
            baseline.map_or(String::new(), |baseline| {
                format!("{}: {}", baseline.what, figure(&baseline.figure))
            }),
            finding
                .ratio
                .map_or(String::new(), |ratio| format!("{ratio:.2}")),
            finding.goal.map_or(String::new(), |goal| goal.to_string()),
            match finding.met {
                None => "",
                Some(true) => "met",
                Some(false) => "NOT MET",
            }
            .to_owned(),
        ]
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
        rows.extend(others.map(|finding| Self::cells(finding).to_vec()));
        let ways = ways::cells(&self.findings);
        let tables = [rows, ways].into_iter().filter(|rows| rows.len() > 1);
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
        f.write_str(&self.run_again())
    }
}

/// Rows of cells, the head first; each column is as wide as its widest cell.
pub(crate) fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let mut widths = vec![1; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(f, "| {cell:<width$} ")?;
        }
        writeln!(f, "|")?;
        if number == 0 {
            for width in &widths {
                write!(f, "|{:-<1$}", "", width + 2)?;
            }
            writeln!(f, "|")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(ours: f64, goal: Goal) -> Finding {
        Finding::new("gate", "granted", Figure::known(ours), Unit::PerSecond)
            .beside("shortest script", Figure::known(100_000.0))
            .to_be(goal)
    }

    #[test]
    fn goals_are_about_ratios() {
        assert_eq!(finding(70_000.0, Goal::AtLeast(0.7)).met, Some(true));
        assert_eq!(finding(69_000.0, Goal::AtLeast(0.7)).met, Some(false));
        assert_eq!(finding(110_000.0, Goal::AtMost(1.1)).met, Some(true));
    }

    #[test]
    fn what_is_found_again_takes_the_place_of_what_was_found_first() {
        let report = |seconds, findings: &[(&str, &str)]| {
            let figure = || Figure::known(1.0);
            let finding =
                |(bench, what): &(&str, &str)| Finding::new(bench, *what, figure(), Unit::Seconds);
            Report {
                machine: Machine::this(),
                scale: Scale::Full,
                findings: findings.iter().map(finding).collect(),
                seconds,
                again: vec![],
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
            machine: Machine::this(),
            scale: Scale::Smoke,
            findings: vec![finding(65_432.1, Goal::AtLeast(0.7))],
            seconds: 7,
            again: vec![],
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

    #[test]
    fn numbers_are_easy_to_read() {
        for (unit, number, shown) in [
            (Unit::PerSecond, 1_234_567.0, "1,234,567"),
            (Unit::Count, 999.0, "999"),
            (Unit::Milliseconds, 3.456, "3.46 ms"),
            (Unit::Mebibytes, 123.4, "123 MiB"),
        ] {
            assert_eq!(unit.show(number), shown);
        }
    }
}
