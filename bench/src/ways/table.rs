//! Formats the findings about the ways as tables of their own.

use super::shown::{CROWD, KILLED, Measure, WON};
use crate::finding::Finding;
use crate::table::table;
use std::fmt;

/// One contender.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    pub name: &'a str,
    /// Its figures, as far as they are known.
    figures: Vec<(&'a str, &'a Finding)>,
}

impl<'a> Line<'a> {
    /// What was found about a measure.
    pub fn finding(&self, measure: &str) -> Option<&'a Finding> {
        let mut figures = self.figures.iter();
        figures.find_map(|(name, finding)| (*name == measure).then_some(*finding))
    }
}

/// The name of a finding about a contender's measure.
pub fn title(name: &str, measure: &str) -> String {
    format!("{name}: {measure}")
}

/// Whether a finding belongs to one of these tables.
pub fn is_one(finding: &Finding) -> bool {
    parts(finding).is_some()
}

/// All contenders, in the order of the findings.
pub fn lines(findings: &[Finding]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = vec![];
    for finding in findings {
        let Some((name, measure)) = parts(finding) else {
            continue;
        };
        let figure = (measure, finding);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.figures.push(figure),
            None => lines.push(Line {
                name,
                figures: vec![figure],
            }),
        }
    }
    lines
}

/// The cells of each table, its head first. Measures that no contender has are left out, and so are tables without one.
pub fn cells(findings: &[Finding]) -> Vec<Vec<Vec<String>>> {
    let lines = lines(findings);
    let row = |name: &str, cells: Vec<String>| [vec![name.to_owned()], cells].concat();
    let mut tables = vec![];
    for (head, mut known) in measures() {
        known.retain(|measure| lines.iter().any(|line| line.finding(measure).is_some()));
        if known.is_empty() {
            continue;
        }
        let names = known.iter().map(|measure| (*measure).to_owned());
        let mut rows = vec![row(head, names.collect())];
        for line in &lines {
            let shown = known.iter().map(|measure| {
                let finding = line.finding(measure);
                finding.map_or(String::new(), |finding| {
                    finding.unit.show(finding.figure.median)
                })
            });
            rows.push(row(line.name, shown.collect()));
        }
        tables.push(rows);
    }
    tables
}

/// These tables as Markdown, with empty lines between them.
pub fn markdown(findings: &[Finding]) -> String {
    let cells = cells(findings);
    let tables = cells
        .iter()
        .map(|rows| fmt::from_fn(|f| table(f, rows)).to_string());
    tables.collect::<Vec<_>>().join("\n")
}

/// The head of each table, and its measures.
fn measures() -> [(&'static str, Vec<&'static str>); 3] {
    [
        ("ways: more applicants than coupons", names(&CROWD)),
        ("ways: a coupon for each applicant", names(&WON)),
        ("ways: each program is killed", names(&KILLED)),
    ]
}

fn names<T>(measures: &[Measure<T>]) -> Vec<&'static str> {
    measures.iter().map(|measure| measure.name).collect()
}

/// The contender and the measure.
fn parts(finding: &Finding) -> Option<(&str, &str)> {
    let parts = finding.what.rsplit_once(": ")?;
    let mut known = measures().into_iter().flat_map(|(_, measures)| measures);
    (finding.bench == "ways" && known.any(|known| known == parts.1)).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Unit;
    use crate::measure::Figure;
    use crate::ways::shown::{DOUBLED, P99};

    #[test]
    fn every_contender_has_a_line_in_every_table() {
        let finding = |name, measure, number| {
            let what = title(name, measure);
            Finding::new("ways", what, Figure::known(number), Unit::Count)
        };
        let findings = [
            finding("Rushgate", P99, 1.0),
            finding("FOR UPDATE", P99, 2.0),
            // A goal, and another benchmark.
            finding("ways", "bridge and consumer", 3.0),
            Finding::new("gate", "Redis: p99", Figure::known(4.0), Unit::Count),
            finding("Rushgate", DOUBLED, 0.0),
            finding("FOR UPDATE", DOUBLED, 7.0),
            finding("FOR UPDATE", "rows/s meanwhile", 8.0),
        ];
        let of_ways = findings.iter().filter(|finding| is_one(finding));
        assert_eq!(of_ways.count(), 5);
        let [crowd, won, killed]: [_; 3] = cells(&findings).try_into().unwrap();
        assert_eq!(crowd[0][1..], [P99]);
        assert_eq!(
            [&crowd[1][..], &crowd[2]].concat(),
            ["Rushgate", "1", "FOR UPDATE", "2"]
        );
        assert_eq!(
            [&won[1][..], &won[2]].concat(),
            ["Rushgate", "", "FOR UPDATE", "8"]
        );
        assert_eq!(killed[2], ["FOR UPDATE", "7"]);
    }

    #[test]
    fn each_measure_has_a_name_of_its_own() {
        let mut names: Vec<_> = measures()
            .into_iter()
            .flat_map(|(_, names)| names)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn nothing_is_no_table() {
        assert!(cells(&[]).is_empty());
    }
}
