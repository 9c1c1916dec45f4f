//! Formats findings as rows of a Markdown table.

use crate::finding::Finding;
use crate::measure::Figure;
use std::fmt;

/// The titles of the table.
pub(crate) const TITLES: [&str; 7] = ["bench", "measured", "median", "beside", "ratio", "goal", ""];

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
