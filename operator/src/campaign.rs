//! `rushgate campaign`: create campaigns, change them, see how they stand.

mod change;
mod create;
mod show;
mod state;

use crate::config::Config;
use crate::database::Database;
use crate::intention::Task;
use crate::operation::Operation;
use crate::output::CommandOutput;
use crate::terms::Campaign;
use anyhow::{Context, Result};
use change::Change;
use clap::{Args, Subcommand};
use create::Create;
use rushgate_gate::{CampaignId, Millis};

/// What an operator can do with campaigns.
#[derive(Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign; harmless if the same one is there already
    #[command(after_help = create::EXAMPLES)]
    Create(Create),
    /// Change quota, windows, days or waitlist of a campaign, also of one that runs
    #[command(after_help = change::EXAMPLES)]
    Change(Change),
    /// Refuse applications until it is resumed; winners keep what they have
    Pause(Target),
    /// Take applications again
    Resume(Target),
    /// End it for good; winners keep what they have, and waitlists still move up when something is revoked
    Close(Target),
    /// Finish what an interrupted command has left; every other command does so too
    Finish {
        /// The campaign
        id: CampaignId,
        /// Leave it undone instead, if it can never be finished; what the gate has done of it stays
        #[arg(long)]
        give_up: bool,
    },
    /// One line for each campaign
    List,
    /// Its terms, and where its grants are: granted, in the stream, in Kafka, inserted
    Show {
        /// The campaign
        id: CampaignId,
    },
    /// What was done to it, when and why
    Log {
        /// The campaign
        id: CampaignId,
    },
}

/// A campaign, and why something is done to it.
#[derive(Args)]
pub struct Target {
    /// The campaign
    id: CampaignId,
    /// Why, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl CampaignCommand {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or what was asked for makes no sense.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let text = match self {
            Self::Create(create) => create.run(config).await?,
            Self::Change(change) => change.run(config).await?,
            Self::Pause(target) => state::set(config, target, Task::Pause).await?,
            Self::Resume(target) => state::set(config, target, Task::Resume).await?,
            Self::Close(target) => state::set(config, target, Task::Close).await?,
            Self::Finish { id, give_up } => finish(config, id, *give_up).await?,
            Self::List => return show::list(config).await,
            Self::Show { id } => return show::show(config, id).await,
            Self::Log { id } => show::log(config, id).await?,
        };
        Ok(text.into())
    }
}

async fn finish(config: &Config, id: &CampaignId, give_up: bool) -> Result<String> {
    let operation = match give_up {
        true => Operation::give_up_on(config, id).await?,
        false => Operation::begin(config, id).await?,
    };
    Ok(match operation.report("") {
        finished if finished.is_empty() => format!("nothing is unfinished in campaign {id}"),
        finished => finished,
    })
}

/// The campaign of that name.
pub(crate) async fn existing(database: &Database, id: &CampaignId) -> Result<Campaign> {
    database.campaign(id).await?.with_context(|| no_such(id))
}

/// What to say of a campaign that is none.
pub(crate) fn no_such(id: &CampaignId) -> String {
    format!("there is no campaign {id}: `rushgate campaign list` shows those there are")
}

/// Says what of a campaign may not be meant.
fn warn(id: &CampaignId, what: &str) {
    eprintln!("warning: campaign {id}: {what}");
}

/// Reads an instant with its offset.
fn instant(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|instant| Millis::try_from(instant.as_millisecond()).ok())
        .ok_or_else(|| {
            "give date, time and offset, such as 2026-12-01T10:00:00+09:00 or 2026-12-01T01:00:00Z"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_needs_its_offset() {
        let at = |text| instant(text).map(Millis::get);
        assert_eq!(at("2026-12-01T10:00:00+09:00"), Ok(1_796_086_800_000));
        assert_eq!(at("2026-12-01T01:00:00Z"), Ok(1_796_086_800_000));
        for bad in [
            "2026-12-01T10:00:00",
            "2026-12-01",
            "tomorrow",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(at(bad).expect_err(bad).contains("such as"), "{bad}");
        }
    }
}
