//! The command `rushgate failed`, which lists, shows, replays and discards dead letters.
//!
//! There are two kinds. The consumer's dead letters are Kafka records that could not become a coupon: rows of
//! `failed_events`, identified by a number. The bridge's dead letters are stream entries that could not become a Kafka
//! record: they are identified by campaign and entry id.

mod arguments;
mod dead_letters;
mod discard;
mod list;
mod replay;
mod show;
mod since;

use crate::config::Config;
use crate::database::Database;
use crate::dead_letter::DeadLetterId;
use crate::gate::Gate;
use crate::kafka::Kafka;
use crate::operation::{Done, Reported};
use crate::output::CommandOutput;
use crate::servers::is_away;
use crate::unknown::{UNKNOWN, exit_code};
use anyhow::{Context, Error, Result};
use arguments::{Chosen, Filter};
use clap::Subcommand;
use dead_letters::DeadLetters;
use serde::Serialize;
use std::fmt;

pub const EXAMPLES: &str = "Examples:
  rushgate failed list --campaign welcome
  rushgate failed show 17
  rushgate failed replay 17 18            after you have removed the cause
  rushgate failed replay --all --reason row_refused
  rushgate failed discard 17 --note 'test record'
  rushgate failed discard welcome/1796086800123-0 --return-serial --note 'left the country'

Replaying twice is safe: an applicant who has the coupon keeps it, and a record that fails again becomes a dead letter
again.";

/// The subcommands of `failed`.
#[derive(Subcommand)]
pub enum FailedCommand {
    /// List the open dead letters, one line each
    List {
        #[command(flatten)]
        filter: Filter,
        /// Also list resolved dead letters
        #[arg(long)]
        all: bool,
        /// Most dead letters of the consumer to list
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Show one dead letter: the record, the reason, and what was done with it
    Show {
        /// The dead letter's id, from `failed list`
        id: DeadLetterId,
    },
    /// Send dead letters again, on the path that they took the first time
    Replay {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Discard dead letters: they will not become coupons
    Discard {
        #[command(flatten)]
        chosen: Chosen,
        /// Also revoke the grant at the gate: its serial goes to the head of the waitlist, or back to the pool
        #[arg(long)]
        return_serial: bool,
        /// The reason, for `failed show` and the log of the campaign
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

impl FailedCommand {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no such dead letter.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        match self {
            Self::List { filter, all, limit } => list::list(config, filter, *all, *limit).await,
            Self::Show { id } => {
                let shown = show::show(config, id).await;
                let shown = shown.with_context(|| format!("dead letter {id}"))?;
                Ok(CommandOutput::of(shown))
            }
            Self::Replay { chosen } => {
                let mut dead_letters = connect(config).await?;
                let (ids, unread) = dead_letters.chosen(chosen).await?;
                let mut dealt_with = DealtWith::after(unread);
                for id in ids {
                    let replayed = dead_letters.replay(&id).await;
                    if !dealt_with.add(&id, replayed) {
                        break;
                    }
                }
                Ok(dealt_with.end())
            }
            Self::Discard {
                chosen,
                return_serial,
                note,
            } => {
                let mut dead_letters = connect(config).await?;
                let (ids, unread) = dead_letters.chosen(chosen).await?;
                let mut dealt_with = DealtWith::after(unread);
                for id in ids {
                    let discarded = dead_letters
                        .discard(&id, *return_serial, note.as_deref())
                        .await;
                    if !dealt_with.add(&id, discarded) {
                        break;
                    }
                }
                Ok(dealt_with.end())
            }
        }
    }
}

async fn connect(config: &Config) -> Result<DeadLetters<'_>> {
    Ok(DeadLetters {
        config,
        database: Database::connect(config).await?,
        gate: Gate::connect(config).await?,
        kafka: Kafka::new(config)?,
    })
}

/// What was done with each dead letter, an item each, and the errors of the others.
#[derive(Default)]
struct DealtWith {
    done: Vec<DealtWithOne>,
    errors: Vec<Error>,
}

#[derive(Serialize)]
struct DealtWithOne {
    id: DeadLetterId,
    #[serde(flatten)]
    reported: Reported<Done>,
}

/// What was done, without the errors.
#[derive(Serialize)]
struct DealtWithAll(Vec<DealtWithOne>);

impl fmt::Display for DealtWithAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, DealtWithOne { id, reported }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{id}: {reported}")?;
        }
        match self.0.is_empty() {
            true => f.write_str("there is no open dead letter"),
            false => Ok(()),
        }
    }
}

impl DealtWith {
    /// Begins with the errors of the campaigns whose dead letters could not be read.
    fn after(errors: Vec<Error>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }

    /// Whether to go on with the next one. False if a server is away.
    fn add(&mut self, id: &DeadLetterId, dealt_with: Result<Reported<Done>>) -> bool {
        match dealt_with {
            Ok(reported) => {
                self.done.push(DealtWithOne {
                    id: id.clone(),
                    reported,
                });
                true
            }
            Err(error) => {
                let goes_on = exit_code(&error) != UNKNOWN && !is_away(&error);
                self.errors.push(error.context(format!("dead letter {id}")));
                goes_on
            }
        }
    }

    fn end(self) -> CommandOutput {
        let is_silent = self.done.is_empty() && !self.errors.is_empty();
        CommandOutput {
            report: (!is_silent).then(|| Box::new(DealtWithAll(self.done)) as _),
            errors: self.errors,
            ..CommandOutput::default()
        }
    }
}
