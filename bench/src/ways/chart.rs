//! Draws an SVG chart of the usual ways and Rushgate: a bar for each way, and a column for each important measure. It
//! says itself what was measured.

use super::shown::{
    APPLICATIONS, CONSUMER_MEMORY, CPU, DOUBLED, LOST, OVER_QUOTA, P99, PLACES_LOST,
    SERVICE_MEMORY, TWO,
};
use super::table::{Line, lines};
use crate::chart::caption;
use crate::finding::Unit;
use crate::report::Report;
use std::fmt::Write as _;

const ROW: f64 = 26.0;
const HEAD: f64 = 112.0;
const FOOT: f64 = 62.0;
/// Left edge of the columns, distance between them, and longest bar.
const LEFT: f64 = 226.0;
const APART: f64 = 182.0;
const LONGEST: f64 = 92.0;

/// The style of notes.
const SMALL: &str = "font-size=\"11\" fill=\"#555555\"";

/// A column of the chart.
struct Column {
    head: [&'static str; 2],
    /// Their sum is shown.
    measures: &'static [&'static str],
    must_be_zero: bool,
}

const COLUMNS: [Column; 6] = [
    Column {
        head: ["applications a second", "more is better"],
        measures: &[APPLICATIONS],
        must_be_zero: false,
    },
    Column {
        head: ["99 % answered within", "less is better"],
        measures: &[P99],
        must_be_zero: false,
    },
    Column {
        head: ["CPU for a million", "with all servers; less is better"],
        measures: &[CPU],
        must_be_zero: false,
    },
    Column {
        head: ["memory", "of its programs; less is better"],
        measures: &[SERVICE_MEMORY, CONSUMER_MEMORY],
        must_be_zero: false,
    },
    Column {
        head: ["wrong coupons", "nothing fails; must be 0"],
        measures: &[OVER_QUOTA, TWO, PLACES_LOST],
        must_be_zero: true,
    },
    Column {
        head: ["lost or doubled", "programs killed; must be 0"],
        measures: &[LOST, DOUBLED],
        must_be_zero: true,
    },
];

/// The chart, if ways were compared.
pub fn svg(report: &Report) -> Option<String> {
    let lines = lines(&report.findings);
    if lines.is_empty() {
        return None;
    }
    let width = LEFT + APART * COLUMNS.len() as f64;
    let height = HEAD + ROW * lines.len() as f64 + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let (people, quota) = report.scale.crowd();
    let count = |number: f64| Unit::Count.show(number);
    text(
        &mut svg,
        (16.0, 28.0),
        "font-size=\"18\" font-weight=\"bold\"",
        "A coupon rush: Rushgate beside the usual ways",
    );
    let rush = format!(
        "{} people apply for {} coupons, and one in ten clicks twice. All ways use the same Redis, Kafka and database.",
        count(people as f64),
        count(quota.into())
    );
    text(&mut svg, (16.0, 50.0), "fill=\"#555555\"", &rush);
    for (row, line) in lines.iter().enumerate() {
        let weight = if row == 0 { "bold" } else { "normal" };
        let style = format!("text-anchor=\"end\" font-weight=\"{weight}\"");
        let y = HEAD + ROW * row as f64 + 17.0;
        text(&mut svg, (LEFT - 12.0, y), &style, line.name);
    }
    for (number, column) in COLUMNS.iter().enumerate() {
        let x = LEFT + APART * number as f64;
        let [head, better] = column.head;
        text(&mut svg, (x, HEAD - 26.0), "font-weight=\"bold\"", head);
        text(&mut svg, (x, HEAD - 10.0), SMALL, better);
        bars(&mut svg, &lines, column, x);
    }
    let wrong = format!(
        "Wrong: above the quota, a second one for the same person, or never given. Killed: each program of a way, \
         {} times, while {} people apply for as many coupons.",
        report.scale.kills(),
        count(report.scale.winners().into())
    );
    text(&mut svg, (16.0, height - 30.0), SMALL, &wrong);
    text(&mut svg, (16.0, height - 12.0), SMALL, &caption(report));
    svg.push_str("</svg>\n");
    Some(svg)
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{text}</text>");
}

fn bars(svg: &mut String, lines: &[Line<'_>], column: &Column, x: f64) {
    let shown = |line: &Line<'_>| {
        let measures = column.measures.iter();
        let found: Vec<_> = measures.filter_map(|name| line.finding(name)).collect();
        let unit = found.first()?.unit;
        let sum: f64 = found.iter().map(|finding| finding.figure.median).sum();
        Some((sum, unit))
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
        let colour = match (column.must_be_zero, row) {
            (true, _) if number > 0.0 => "#c4572e",
            (_, 0) => "#2e7d5b",
            _ => "#8a97a6",
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>",
            y + 4.0,
            ROW - 8.0
        );
        let after = x + length + if length > 0.0 { 6.0 } else { 0.0 };
        text(
            svg,
            (after, y + 17.0),
            "fill=\"#333333\"",
            &unit.show(number),
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
    use crate::ways::table::title;

    #[test]
    fn what_is_wrong_stands_out_and_is_summed_up() {
        let mut report = Report::new(Machine::this(), Scale::Full);
        assert!(svg(&report).is_none());
        for (name, number) in [("Rushgate", 0.0), ("count, then insert", 7.0)] {
            for measure in COLUMNS.iter().flat_map(|column| column.measures) {
                let what = title(name, measure);
                let figure = Figure::known(number);
                let finding = Finding::new("ways", what, figure, Unit::Count);
                report.findings.push(finding);
            }
        }
        let svg = svg(&report).unwrap();
        assert_eq!(svg.matches("#c4572e").count(), 2);
        for sum in [">7<", ">14<", ">21<"] {
            assert!(svg.contains(sum), "{sum} in {svg}");
        }
        assert!(svg.contains("50,000 people apply for 1,000 coupons"));
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
