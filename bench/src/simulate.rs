//! Scale on paper: a discrete-event simulation of the system, fed with measured costs.
//!
//! [`Costs`] are read from what `cargo xtask bench` has written; no cost stands in the code. What does stand there is
//! assumed, or a setting of the parts as they are shipped, and named where it stands. The tables go into `SCALE.md`, each
//! between its own marks. The same costs give the same tables, on every machine.

mod agenda;
mod costs;
mod crowd;
mod edges;
mod memory;
mod order;
mod outcome;
mod page;
mod random;
mod rows;
mod shard;
mod split;
mod station;
mod system;
mod tables;

pub use costs::Costs;
pub use page::refresh;

use crate::say;
use anyhow::Result;
use std::path::Path;
use tables::Table;

/// Simulates everything with the costs in the file `results`, shows the tables, and puts them into `page`.
///
/// # Errors
/// When there are no such files, or a figure or a mark is missing.
pub fn run(results: &Path, page: &Path) -> Result<()> {
    let (costs, provenance) = costs::read(results)?;
    let mut tables = vec![Table::text("provenance", provenance), costs.table()];
    for simulate in tables::ALL {
        let simulated = simulate(&costs);
        for table in &simulated {
            say::line(format_args!("{}\n\n{table}", table.name));
        }
        tables.extend(simulated);
    }
    refresh(page, &tables)
}
