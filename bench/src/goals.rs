//! Formats the findings that have a goal as a short Markdown table.

use crate::benches::GROWTH;
use crate::finding::Finding;
use crate::report::Report;
use crate::table::{TITLES, cells, table};
use std::fmt;

/// A table of everything that has a goal, with the machine. Of the figures that must not grow, only the one that grew
/// most.
pub fn table_of(report: &Report) -> String {
    let with_goals = report
        .findings
        .iter()
        .filter(|finding| finding.goal.is_some());
    let (growth, others): (Vec<_>, Vec<_>) =
        with_goals.partition(|finding| finding.bench == GROWTH);
    let ratio = |finding: &Finding| finding.ratio.unwrap_or(f64::NAN);
    let most = growth
        .into_iter()
        .max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
    let lines = others.into_iter().chain(most);
    rows.extend(lines.map(|finding| cells(finding).to_vec()));
    let table = fmt::from_fn(|f| table(f, &rows));
    format!("{table}\n{}.{}", report.machine, report.history())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Goal, Unit};
    use crate::machine::Machine;
    use crate::measure::Figure;
    use crate::scale::Scale;

    #[test]
    fn only_goals_are_shown_and_of_growth_only_what_grew_most() {
        let finding = |bench, what, ratio| {
            Finding::new(bench, what, Figure::known(ratio), Unit::Count)
                .beside("itself", Figure::known(1.0))
        };
        let findings = vec![
            finding("gate", "granted", 0.5).to_be(Goal::AtLeast(0.7)),
            finding("gate", "no goal", 1.0),
            finding(GROWTH, "slow", 1.05).to_be(Goal::AtMost(1.1)),
            finding(GROWTH, "slower", 1.2).to_be(Goal::AtMost(1.1)),
            finding(GROWTH, "slow again", 1.1).to_be(Goal::AtMost(1.1)),
        ];
        let table = table_of(&Report {
            findings,
            again: vec!["gate".to_owned()],
            interruptions: 1,
            ..Report::new(Machine::this(), Scale::Full)
        });
        let lines: Vec<_> = table.lines().collect();
        assert!(
            lines[2].starts_with("| gate ") && lines[2].contains("granted"),
            "{table}"
        );
        assert!(
            lines[3].starts_with("| growth ") && lines[3].contains("slower"),
            "{table}"
        );
        assert_eq!(lines.len(), 6, "{table}");
        let history = "Interrupted once between two benchmarks. Run again by itself: gate.";
        assert!(table.ends_with(history), "{table}");
    }
}
