//! Formats the findings about the ways as a separate table.

use super::shown::MEASURES;
use crate::finding::Finding;

/// One contender.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    pub name: &'a str,
    /// Its figures, as far as they are known.
    pub figures: Vec<&'a Finding>,
}

/// The name of a finding about a contender's measure.
pub fn title(name: &str, measure: &str) -> String {
    format!("{name}: {measure}")
}

/// Whether a finding belongs to this table.
pub fn is_one(finding: &Finding) -> bool {
    parts(finding).is_some()
}

/// All contenders, in the order of the findings.
pub fn lines(findings: &[Finding]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = vec![];
    for finding in findings {
        let Some((name, _)) = parts(finding) else {
            continue;
        };
        match lines.last_mut() {
            Some(line) if line.name == name => line.figures.push(finding),
            _ => lines.push(Line {
                name,
                figures: vec![finding],
            }),
        }
    }
    lines
}

/// The cells of the table, its head first; empty if nothing was compared.
pub fn cells(findings: &[Finding]) -> Vec<Vec<String>> {
    let lines = lines(findings);
    let Some(first) = lines.first() else {
        return vec![];
    };
    let row = |name: &str, cells: Vec<String>| [vec![name.to_owned()], cells].concat();
    let measures = first.figures.iter().filter_map(|finding| parts(finding));
    let head = measures.map(|(_, measure)| measure.to_owned()).collect();
    let mut rows = vec![row("ways", head)];
    for line in lines {
        let figures = line.figures.iter();
        let shown = figures.map(|finding| finding.unit.show(finding.figure.median));
        rows.push(row(line.name, shown.collect()));
    }
    rows
}

/// The contender and the measure.
fn parts(finding: &Finding) -> Option<(&str, &str)> {
    let parts = finding.what.rsplit_once(": ")?;
    let known = MEASURES.iter().any(|known| known.name == parts.1);
    (finding.bench == "ways" && known).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Unit;
    use crate::measure::Figure;

    #[test]
    fn every_contender_has_a_line() {
        let mut findings = vec![];
        for (name, number) in [("Rushgate", 0.0), ("count, then insert", 7.0)] {
            for measure in MEASURES {
                let what = title(name, measure.name);
                let figure = Figure::known(number);
                findings.push(Finding::new("ways", what, figure, measure.unit));
            }
        }
        let other = Finding::new("gate", "granted", Figure::known(1.0), Unit::PerSecond);
        assert!(!is_one(&other));
        findings.push(other);
        let cells = cells(&findings);
        let names: Vec<_> = cells.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["ways", "Rushgate", "count, then insert"]);
        assert!(cells.iter().all(|row| row.len() == MEASURES.len() + 1));
        assert_eq!(cells[2][1], "7");
    }

    #[test]
    fn nothing_is_no_table() {
        assert!(cells(&[]).is_empty());
    }
}
