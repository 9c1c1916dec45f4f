//! Lists the questions that the simulation answers, and makes a table for each of them.

mod edges;
mod hot_key;
mod million;
mod more;
mod split;

use super::Costs;
use crate::report::table;
use std::fmt;

/// In the order of the page.
pub(super) const ALL: [fn(&Costs) -> Vec<Table>; 5] = [
    more::tables,
    hot_key::tables,
    split::tables,
    edges::tables,
    million::tables,
];

/// Where chance begins, in all of them.
const SEED: u64 = 42;

/// A table of the page.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name in its marks.
    pub(super) name: &'static str,
    text: String,
}

impl Table {
    /// A table with these titles and rows of cells.
    pub(super) fn new(name: &'static str, titles: &[&str], rows: Vec<Vec<String>>) -> Self {
        let mut cells = vec![titles.iter().map(|&title| title.to_owned()).collect()];
        cells.extend(rows);
        let text = fmt::from_fn(|f| table(f, &cells)).to_string();
        Self::text(name, text)
    }

    /// A text in place of a table.
    pub(super) fn text(name: &'static str, text: String) -> Self {
        Self { name, text }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A percentage.
fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}
