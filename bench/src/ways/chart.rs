//! Draws an SVG chart of the usual ways and Rushgate: a bar for each way, and a column for each important measure.

use super::shown::{APPLICATIONS, DATABASE_CPU, NOBODY_GOT, OVER_QUOTA, P99};
use super::table::{Line, lines};
use crate::chart::caption;
use crate::report::Report;
use std::fmt::Write as _;

const ROW: f64 = 26.0;
const HEAD: f64 = 72.0;
/// Left edge of the columns, distance between them, and longest bar.
const LEFT: f64 = 220.0;
const APART: f64 = 190.0;
const LONGEST: f64 = 100.0;

/// The measures of the chart, with their captions.
const COLUMNS: [(&str, &str); 5] = [
    (APPLICATIONS, "more is better"),
    (P99, "less is better"),
    (DATABASE_CPU, "less is better"),
    (OVER_QUOTA, "must be 0"),
    (NOBODY_GOT, "must be 0"),
];

/// The chart, if ways were compared.
pub fn svg(report: &Report) -> Option<String> {
    let lines = lines(&report.findings);
    if lines.is_empty() {
        return None;
    }
    let width = LEFT + APART * COLUMNS.len() as f64;
    let height = HEAD + ROW * lines.len() as f64 + 36.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"17\">Rushgate beside the usual ways: far more people than coupons</text>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            HEAD + ROW * row as f64 + 17.0,
            line.name
        );
    }
    for (column, (measure, better)) in COLUMNS.into_iter().enumerate() {
        let x = LEFT + APART * column as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\">{measure} <tspan font-size=\"11\" fill=\"#555555\">{better}</tspan></text>",
            HEAD - 12.0
        );
        bars(&mut svg, &lines, measure, x);
    }
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{}\" font-size=\"11\" fill=\"#555555\">{}</text>\n</svg>",
        height - 12.0,
        caption(report)
    );
    Some(svg)
}

fn bars(svg: &mut String, lines: &[Line<'_>], measure: &str, x: f64) {
    let shown = |line: &Line<'_>| {
        let finding = line.figures.iter();
        let mut of = finding.filter(|finding| finding.what.ends_with(&format!(": {measure}")));
        of.next()
            .map(|finding| (finding.figure.median, finding.unit))
    };
    let most = lines.iter().filter_map(shown).map(|(number, _)| number);
    let most = most.fold(0.0, f64::max);
    for (row, line) in lines.iter().enumerate() {
        let Some((number, unit)) = shown(line) else {
            continue;
        };
        let y = HEAD + ROW * row as f64;
        let length = if most > 0.0 {
            number / most * LONGEST
        } else {
            0.0
        };
        let colour = match (measure, row) {
            (OVER_QUOTA | NOBODY_GOT, _) if number > 0.0 => "#c4572e",
            (_, 0) => "#2e7d5b",
            _ => "#8a97a6",
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#333333\">{}</text>",
            y + 4.0,
            ROW - 8.0,
            x + length + 6.0,
            y + 17.0,
            unit.show(number)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Finding;
    use crate::machine::Machine;
    use crate::measure::Figure;
    use crate::scale::Scale;
    use crate::ways::shown::MEASURES;
    use crate::ways::table::title;

    #[test]
    fn what_is_too_many_stands_out() {
        let mut report = Report {
            machine: Machine::this(),
            scale: Scale::Smoke,
            findings: vec![],
            seconds: 1,
            again: vec![],
        };
        assert!(svg(&report).is_none());
        for (name, number) in [("Rushgate", 0.0), ("count, then insert", 7.0)] {
            for measure in MEASURES {
                let what = title(name, measure.name);
                let figure = Figure::known(number);
                report
                    .findings
                    .push(Finding::new("ways", what, figure, measure.unit));
            }
        }
        let svg = svg(&report).unwrap();
        assert_eq!(svg.matches("#c4572e").count(), 2);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
