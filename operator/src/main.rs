//! The `rushgate` command.

use anyhow::Result;
use clap::{Parser, Subcommand};
use rushgate_operator::campaign::CampaignCommand;
use rushgate_operator::config::Config;
use rushgate_operator::setup::Setup;
use std::io::Write;

/// Runs campaigns: coupons given out first come, first served, never one too many.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create the tables and the topic, as far as they are missing
    Setup(Setup),
    /// Create campaigns and see how they stand
    #[command(subcommand)]
    Campaign(CampaignCommand),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Cli { config, command } = Cli::parse();
    let text = match command {
        Command::Setup(setup) => setup.run(&config).await?,
        Command::Campaign(command) => command.run(&config).await?,
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
