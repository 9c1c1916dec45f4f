//! The `rushgate` command.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rushgate_operator::audit::{self, Audit};
use rushgate_operator::campaign::CampaignCommand;
use rushgate_operator::config::Config;
use rushgate_operator::coupon::CouponCommand;
use rushgate_operator::failed::{self, FailedCommand};
use rushgate_operator::restore::{self, Restore};
use rushgate_operator::revoke::{self, Revoke};
use rushgate_operator::setup::Setup;
use rushgate_operator::unknown::{UNKNOWN, Unknown};
use std::io::Write;
use std::process::ExitCode;
use tokio::runtime::Builder;

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
    /// Create campaigns, change them, see how they stand
    #[command(subcommand)]
    Campaign(CampaignCommand),
    /// Take a grant back and pass its serial on
    #[command(after_help = revoke::EXAMPLES)]
    Revoke(Revoke),
    /// Find out what a person has
    #[command(subcommand)]
    Coupon(CouponCommand),
    /// Dead letters: what could not become a coupon, and what a human decides about it
    #[command(subcommand, after_help = failed::EXAMPLES)]
    Failed(FailedCommand),
    /// Compare gate, stream, topic and tables; exit code 2 if they disagree
    #[command(after_help = audit::EXAMPLES)]
    Audit(Audit),
    /// Rebuild the gate of a campaign of which Redis has lost grants, and reopen it
    #[command(after_help = restore::EXAMPLES)]
    Restore(Restore),
}

fn main() -> ExitCode {
    let cli = match rushgate_settings::try_parse::<Cli>() {
        Ok(cli) => cli,
        Err(error) => {
            // Not clap's 2, which is the word of `audit` for something that does not agree.
            let code = ExitCode::from(u8::from(error.use_stderr()));
            // Nobody there to read it is no failure of ours.
            let _ = error.print();
            return code;
        }
    };
    let ended = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let ended = runtime.block_on(run(cli));
            // What was given up may go on in the background, such as asking a name server that does not answer.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok((text, code)) => {
            // A reader that has gone away, such as `head`, is no failure of ours.
            let _ = writeln!(std::io::stdout(), "{text}");
            code
        }
        Err(error) => {
            // The chain of causes on one line; a backtrace would say nothing to an operator.
            eprintln!("error: {error:#}");
            match error.downcast_ref::<Unknown>() {
                Some(_) => ExitCode::from(UNKNOWN),
                None => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(Cli { config, command }: Cli) -> Result<(String, ExitCode)> {
    let text = match command {
        Command::Setup(setup) => setup.run(&config).await?,
        Command::Campaign(command) => command.run(&config).await?,
        Command::Revoke(revoke) => revoke.run(&config).await?,
        Command::Coupon(command) => command.run(&config).await?,
        Command::Failed(command) => command.run(&config).await?,
        Command::Restore(restore) => restore.run(&config).await?,
        Command::Audit(audit) => {
            let (text, agrees) = audit.run(&config).await?;
            let code = if agrees { 0 } else { audit::DISAGREES };
            return Ok((text, ExitCode::from(code)));
        }
    };
    Ok((text, ExitCode::SUCCESS))
}
