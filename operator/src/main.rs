//! The `rushgate` command: it parses the arguments, runs the subcommand and sets the exit code.

use anyhow::Result;
use clap::{Parser, Subcommand};
use rushgate_operator::audit::{self, Audit};
use rushgate_operator::campaign::CampaignCommand;
use rushgate_operator::codes::CodesCommand;
use rushgate_operator::config::Config;
use rushgate_operator::coupon::CouponCommand;
use rushgate_operator::failed::{self, FailedCommand};
use rushgate_operator::output::{CommandOutput, Format};
use rushgate_operator::problem::code;
use rushgate_operator::refusal::ErrorCode;
use rushgate_operator::restore::{self, Restore};
use rushgate_operator::revoke::{self, Revoke};
use rushgate_operator::setup::Setup;
use rushgate_operator::stderr;
use rushgate_operator::unknown::exit_code;
use rushgate_operator::watch::{self, Watch};
use rushgate_startup::{Parsed, Settings, block_on, causes};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const EXIT_CODES: &str = "Exit codes:
  0  done, or done already
  1  refused or not possible: nothing was done. Commands that only read: something is unknown
  2  audit only: something does not agree
  3  interrupted: it may or may not have taken effect. The message names the command to run next

With --output json, stdout and stderr have one JSON object a line. docs/operating.md describes them, and
docs/rushgate-output.schema.json has their fields.";

/// Runs campaigns that give out coupons, first come, first served, and never one too many.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    config: Config,
    /// The format of the output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
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
    /// Watch campaigns live: where their grants are, how far bridge and consumer are behind, and alarms
    #[command(after_help = watch::EXAMPLES)]
    Watch(Watch),
    /// Rebuild the gate of a campaign whose grants Redis has lost, and reopen the campaign
    #[command(after_help = restore::EXAMPLES)]
    Restore(Restore),
}

fn main() -> ExitCode {
    let Parsed { settings, warnings } = match rushgate_startup::parse::<Cli>() {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() && is_json(std::env::args_os()) {
                stderr::write_json();
                stderr::error(ErrorCode::Usage, error.to_string().trim_end());
            } else {
                // A closed stderr is not a failure of the command.
                let _ = error.print();
            }
            // Not clap's 2: that is the exit code of `audit` for a disagreement.
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    if settings.output == Format::Json {
        stderr::write_json();
    }
    for warning in warnings {
        stderr::warning(&warning);
    }
    let format = settings.output;
    // Not a current-thread runtime: dropping a connection blocks until its driver has closed it.
    let ended = block_on(Some(1), run(settings));
    match ended {
        Ok(output) => {
            print(&output, format);
            for error in &output.errors {
                stderr::error(code(error), &causes(error.as_ref()));
            }
            for line in output.missing.to_string().lines() {
                stderr::error(ErrorCode::Incomplete, line);
            }
            ExitCode::from(output.exit_code())
        }
        Err(error) => {
            // A backtrace would not help an operator.
            stderr::error(code(&error), &causes(error.as_ref()));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn print(output: &CommandOutput, format: Format) {
    let Some(report) = &output.report else {
        return;
    };
    let lines = match format {
        Format::Text => Ok(vec![report.to_string()]),
        Format::Json => report.json_lines(),
    };
    match lines {
        Ok(lines) => lines
            .iter()
            .filter(|line| !line.is_empty())
            .for_each(|line| {
                // A reader that has closed stdout, such as `head`, is not a failure.
                let _ = writeln!(std::io::stdout(), "{line}");
            }),
        Err(error) => stderr::error(ErrorCode::Refused, &format!("writing JSON: {error}")),
    }
}

/// Whether JSON was asked for on a command line that cannot be parsed.
fn is_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let mut pairs = arguments.windows(2);
    arguments.iter().any(|argument| argument == "--output=json")
        || pairs.any(|pair| pair == ["--output", "json"])
}

async fn run(cli: Cli) -> Result<CommandOutput> {
    let (config, format) = (&cli.config, cli.output);
    match cli.command {
        Command::Setup(setup) => setup.run(config).await,
        Command::Campaign(command) => command.run(config).await,
        Command::Revoke(revoke) => revoke.run(config).await,
        Command::Codes(command) => command.run(config).await,
        Command::Coupon(command) => command.run(config, format).await,
        Command::Failed(command) => command.run(config).await,
        Command::Restore(restore) => restore.run(config).await,
        Command::Audit(audit) => audit.run(config).await,
        Command::Watch(watch) => watch.run(config, format).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use serde_json::Value;

    /// The names of all commands without subcommands, such as `campaign list`.
    fn names(command: &clap::Command, before: &str, names: &mut Vec<String>) {
        let name = format!("{before} {}", command.get_name());
        let mut subcommands = command.get_subcommands().peekable();
        if subcommands.peek().is_none() {
            names.push(name.trim_start().to_owned());
        }
        for subcommand in subcommands {
            self::names(subcommand, &name, names);
        }
    }

    #[test]
    fn every_command_has_a_schema_of_its_output() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/rushgate-output.schema.json"
        );
        let schema = std::fs::read_to_string(path).expect(path);
        let schema: Value = serde_json::from_str(&schema).expect("JSON");
        let mut commands = vec![];
        for command in Cli::command().get_subcommands() {
            names(command, "", &mut commands);
        }
        assert!(commands.len() > 15, "{commands:?}");
        // Names with a capital are parts that several commands share.
        let defined = schema["$defs"].as_object().expect("definitions").keys();
        let described: Vec<_> = defined
            .filter(|name| name.starts_with(char::is_lowercase) && *name != "stderr")
            .collect();
        commands.sort();
        assert_eq!(described, commands.iter().collect::<Vec<_>>(), "{path}");
        // The first of the lines on stderr is the error.
        let codes = &schema["$defs"]["stderr"]["oneOf"][0]["properties"]["code"]["enum"];
        assert_eq!(codes, &serde_json::json!(ErrorCode::ALL), "{path}");
    }

    #[test]
    fn every_error_code_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
        let page = std::fs::read_to_string(path).expect(path);
        let is_missing = |code: &&&str| !page.contains(&format!("`{code}`"));
        let missing: Vec<_> = ErrorCode::ALL.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{path} lacks {missing:?}");
    }

    #[test]
    fn json_is_asked_for_also_by_a_command_line_that_is_wrong() {
        let is_json = |text: &str| is_json(text.split(' ').map(OsString::from));
        assert!(is_json("rushgate --output json nonsense"));
        assert!(is_json("rushgate nonsense --output=json"));
        assert!(!is_json("rushgate nonsense --output text json"));
    }
}
