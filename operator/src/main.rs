//! The `rushgate` command: it parses the arguments, runs the subcommand and sets the exit code.

use anyhow::Result;
use clap::{Parser, Subcommand};
use rushgate_operator::audit::{self, Audit};
use rushgate_operator::campaign::CampaignCommand;
use rushgate_operator::codes::CodesCommand;
use rushgate_operator::config::Config;
use rushgate_operator::coupon::CouponCommand;
use rushgate_operator::failed::{self, FailedCommand};
use rushgate_operator::output::CommandOutput;
use rushgate_operator::restore::{self, Restore};
use rushgate_operator::revoke::{self, Revoke};
use rushgate_operator::setup::Setup;
use rushgate_operator::unknown::exit_code;
use rushgate_startup::{Parsed, Settings, block_on, causes};
use std::io::Write;
use std::process::ExitCode;

/// Runs campaigns that give out coupons, first come, first served, and never one too many.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Command,
}

impl Settings for Cli {}

#[derive(Subcommand)]
enum Command {
    /// Create what is missing of the tables, the index of campaigns and the topic
    Setup(Setup),
    /// Create, change and show campaigns
    #[command(subcommand)]
    Campaign(CampaignCommand),
    /// Revoke a grant; its serial goes to the waitlist or back to the pool
    #[command(after_help = revoke::EXAMPLES)]
    Revoke(Revoke),
    /// Load the codes of a campaign with pool codes
    #[command(subcommand)]
    Codes(CodesCommand),
    /// Find out what an applicant has
    #[command(subcommand)]
    Coupon(CouponCommand),
    /// List, show, replay and discard dead letters: events that could not become a coupon
    #[command(subcommand, after_help = failed::EXAMPLES)]
    Failed(FailedCommand),
    /// Check that gate, stream, topic and tables agree; exit code 2 if they do not
    #[command(after_help = audit::EXAMPLES)]
    Audit(Audit),
    /// Rebuild the gate of a campaign whose grants Redis has lost, and reopen the campaign
    #[command(after_help = restore::EXAMPLES)]
    Restore(Restore),
}

fn main() -> ExitCode {
    let Parsed { settings, warnings } = match rushgate_startup::parse::<Cli>() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Not clap's 2: that is the exit code of `audit` for a disagreement.
            let code = ExitCode::from(u8::from(error.use_stderr()));
            // A closed stderr is not a failure of the command.
            let _ = error.print();
            return code;
        }
    };
    for warning in warnings {
        complain("warning", &warning);
    }
    // Not a current-thread runtime: dropping a connection blocks until its driver has closed it.
    let ended = block_on(Some(1), run(settings));
    match ended {
        Ok(output) => {
            // A reader that has closed stdout, such as `head`, is not a failure either.
            if !output.text.is_empty() {
                let _ = writeln!(std::io::stdout(), "{}", output.text);
            }
            for error in &output.errors {
                complain("error", &causes(error.as_ref()));
            }
            for line in output.missing.to_string().lines() {
                complain("error", line);
            }
            ExitCode::from(output.exit_code())
        }
        Err(error) => {
            // A backtrace would not help an operator.
            complain("error", &causes(error.as_ref()));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn complain(severity: &str, line: &str) {
    let _ = writeln!(std::io::stderr(), "{severity}: {line}");
}

async fn run(Cli { config, command }: Cli) -> Result<CommandOutput> {
    Ok(match command {
        Command::Setup(setup) => setup.run(&config).await?.into(),
        Command::Campaign(command) => command.run(&config).await?,
        Command::Revoke(revoke) => revoke.run(&config).await?.into(),
        Command::Codes(command) => command.run(&config).await?,
        Command::Coupon(command) => command.run(&config).await?,
        Command::Failed(command) => command.run(&config).await?,
        Command::Restore(restore) => restore.run(&config).await?.into(),
        Command::Audit(audit) => audit.run(&config).await?,
    })
}
