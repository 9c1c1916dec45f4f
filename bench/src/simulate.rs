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
mod random;
mod results;
mod rows;
mod run;
mod shard;
mod simulated;
mod split;
mod station;
mod system;
mod tables;
#[cfg(test)]
mod tests;

pub use costs::{Costs, KNOWN};

use crate::{page, say};
use anyhow::{Context, Result};
use std::path::Path;

/// Simulates everything with the costs in `results_file`, shows the tables, and puts them into `page_file`.
///
/// # Errors
/// When there are no such files, or a figure or a mark is missing.
pub fn run(results_file: &Path, page_file: &Path) -> Result<()> {
    let results = results::read(results_file)?;
    let costs = results
        .costs()
        .with_context(|| results_file.display().to_string())?;
    let mut tables = vec![results.provenance(), results.measured(), costs.table()];
    for simulate in tables::ALL {
        let simulated = simulate(&costs);
        for table in &simulated {
            say::line(format_args!("{}\n\n{table}", table.name));
        }
        tables.extend(simulated);
    }
    let texts = tables.iter();
    page::refresh(
        page_file,
        texts.map(|table| (format!("simulated:{}", table.name), table.to_string())),
    )
}
