//! `rushgate failed`: dead letters, and what a human decides about them.
//!
//! There are two kinds. The consumer's are records that could not become a coupon (`failed_events`), known by their
//! number. The bridge's are stream entries that could not become a record, known by campaign and entry id.

mod desk;
mod letter_id;

pub use letter_id::LetterId;

use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::kafka::Kafka;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use desk::Desk;
use rushgate_gate::CampaignId;

/// Shown below the flags of `failed`.
pub const EXAMPLES: &str = "Examples:
  rushgate failed list --campaign welcome
  rushgate failed show 17
  rushgate failed replay 17 18            after whatever was wrong has been put right
  rushgate failed replay --all --reason unknown_round
  rushgate failed discard 17 --note 'test record'
  rushgate failed discard welcome/1796086800123-0 --return-serial --note 'left the country'

Replaying is safe, also twice: whoever has his coupon keeps it, and what fails again is a dead letter again.";

/// What can be done about dead letters.
#[derive(Subcommand)]
pub enum FailedCommand {
    /// One line for each dead letter that is open
    List {
        /// Which
        #[command(flatten)]
        filter: Filter,
        /// Also those that are resolved
        #[arg(long)]
        all: bool,
        /// So many of the consumer's at most
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// All of one: the record, the reason, and what was done about it
    Show {
        /// Which
        id: LetterId,
    },
    /// Send it again, through the very path that it took
    Replay {
        /// Which
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Give it up
    Discard {
        /// Which
        #[command(flatten)]
        chosen: Chosen,
        /// Take the grant back at the gate, so that its serial goes to the next who waits, or back to the pool
        #[arg(long)]
        return_serial: bool,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// Of which campaign, with which reason.
#[derive(Args)]
pub struct Filter {
    /// Only of this campaign
    #[arg(long)]
    campaign: Option<CampaignId>,
    /// Only with this reason, such as serial_taken
    #[arg(long)]
    reason: Option<String>,
}

/// Which dead letters are to be dealt with.
#[derive(Args)]
pub struct Chosen {
    /// Which, as `failed list` names them
    #[arg(required_unless_present = "all")]
    ids: Vec<LetterId>,
    /// All that are open, of that campaign and with that reason if given
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl FailedCommand {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no such dead letter.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let mut desk = Desk {
            config,
            database: Database::connect(config).await?,
            gate: Gate::connect(config).await?,
            kafka: Kafka::new(config)?,
        };
        match self {
            Self::List { filter, all, limit } => desk.list(filter, *all, *limit).await,
            Self::Show { id } => desk.show(id).await.with_context(|| about(id, &[])),
            Self::Replay { chosen } => {
                let mut done = vec![];
                for id in desk.chosen(chosen).await? {
                    let replayed = desk.replay(&id).await;
                    let replayed = replayed.with_context(|| about(&id, &done))?;
                    done.push(format!("{id}: {replayed}"));
                }
                Ok(all(&done))
            }
            Self::Discard {
                chosen,
                return_serial,
                note,
            } => {
                let mut done = vec![];
                for id in desk.chosen(chosen).await? {
                    let discarded = desk.discard(&id, *return_serial, note.as_deref()).await;
                    let discarded = discarded.with_context(|| about(&id, &done))?;
                    done.push(format!("{id}: {discarded}"));
                }
                Ok(all(&done))
            }
        }
    }
}

fn all(done: &[String]) -> String {
    match done {
        [] => "no dead letter is open".to_owned(),
        done => done.join("\n"),
    }
}

/// What an error is about, and what was done before it.
fn about(id: &LetterId, done: &[String]) -> String {
    match done.len() {
        0 => format!("dead letter {id}"),
        count => format!("dead letter {id}, after {count} that were dealt with"),
    }
}
