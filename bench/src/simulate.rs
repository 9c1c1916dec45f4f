//! A discrete-event simulation of the system, with measured costs.
//!
//! The [`Costs`] come from the results of `cargo xtask bench`; the code contains no cost. Numbers in the code are
//! assumptions or default settings, and a comment says so. The tables go into `SCALE.md`, each between its own
//! markers. The same costs give the same tables on every machine.

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

/// Simulates everything with the costs in `results_file`, prints the tables, and writes them into `page_file`.
///
/// # Errors
/// When a file, a figure or a mark is missing.
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
