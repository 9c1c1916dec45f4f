//! The commands `rushgate codes …`: load the codes of a campaign with pool codes, and show how many are left.

mod copy;
mod input;
mod load;
mod show;

pub(crate) use copy::{copy, digest};
pub(crate) use show::PoolCounts;

use crate::config::Config;
use crate::output::CommandOutput;
use anyhow::Result;
use clap::Subcommand;

/// The subcommands of `codes`.
#[derive(Subcommand)]
pub enum CodesCommand {
    /// Load codes into the pool of a campaign, from a file or standard input
    #[command(after_help = load::EXAMPLES)]
    Load(load::Load),
    /// Show how many codes are loaded, taken and left
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
}

impl CodesCommand {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, there is no such campaign with pool codes, or a code is refused.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        match self {
            Self::Load(load) => load.run(config).await,
            Self::Show(show) => show.run(config).await,
        }
    }
}
