//! The `rushgate` command.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rushgate_gate::causes::causes;
use rushgate_operator::audit::{self, Audit};
use rushgate_operator::campaign::CampaignCommand;
use rushgate_operator::config::Config;
use rushgate_operator::coupon::CouponCommand;
use rushgate_operator::failed::{self, FailedCommand};
use rushgate_operator::output::CommandOutput;
use rushgate_operator::restore::{self, Restore};
use rushgate_operator::revoke::{self, Revoke};
use rushgate_operator::setup::Setup;
use rushgate_operator::unknown::exit_code;
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
    /// Create the tables, the index of campaigns and the topic, as far as they are missing
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
    /// List, show, replay and discard dead letters: what could not become a coupon
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
            // That nobody is there to read it is no failure of the command.
            let _ = error.print();
            return code;
        }
    };
    // Not on one thread alone: a connection is closed where it is dropped, which must not keep its own driver waiting.
    let ended = Builder::new_multi_thread()
        .worker_threads(1)
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
        Ok(output) => {
            // Nor is a reader that has gone away, such as `head`.
            if !output.text.is_empty() {
                let _ = writeln!(std::io::stdout(), "{}", output.text);
            }
            for error in &output.errors {
                complain(&causes(error.as_ref()));
            }
            for line in output.missing.to_string().lines() {
                complain(line);
            }
            ExitCode::from(output.exit_code())
        }
        Err(error) => {
            // A backtrace would say nothing to an operator.
            complain(&causes(error.as_ref()));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

async fn run(Cli { config, command }: Cli) -> Result<CommandOutput> {
    Ok(match command {
        Command::Setup(setup) => setup.run(&config).await?.into(),
        Command::Campaign(command) => command.run(&config).await?,
        Command::Revoke(revoke) => revoke.run(&config).await?.into(),
        Command::Coupon(command) => command.run(&config).await?,
        Command::Failed(command) => command.run(&config).await?,
        Command::Restore(restore) => restore.run(&config).await?.into(),
        Command::Audit(audit) => audit.run(&config).await?,
    })
}
