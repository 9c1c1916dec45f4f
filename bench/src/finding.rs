//! A figure that was measured, beside its baseline and its goal.

use crate::measure::Figure;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

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

    pub(crate) fn suffix(self) -> &'static str {
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
