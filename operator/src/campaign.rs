//! The command `rushgate campaign`, which creates, changes and shows campaigns.

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

/// The subcommands of `campaign`.
#[derive(Subcommand)]
pub enum CampaignCommand {
    /// Create a campaign; succeeds if the same campaign already exists
    #[command(after_help = create::EXAMPLES)]
    Create(Create),
    /// Change the quota, the windows, the days or the waitlist of a campaign, also while it runs
    #[command(after_help = change::EXAMPLES)]
    Change(Change),
    /// Reject applications until the campaign is resumed; winners keep their coupons
    Pause(Target),
    /// Accept applications again
    Resume(Target),
    /// Close a campaign for good; winners keep their coupons, and the waitlist still moves up after a revoke
    Close(Target),
    /// Finish what an interrupted command has begun; every other command on the campaign does so first, too
    Finish {
        /// The campaign
        id: CampaignId,
        /// Abandon it instead, if it can never be finished; what the gate has already done stays
        #[arg(long)]
        give_up: bool,
    },
    /// List all campaigns, one line each
    List,
    /// Show the terms of a campaign and its counts: granted, in the stream, in Kafka, inserted
    Show {
        /// The campaign
        id: CampaignId,
    },
    /// Show what was done to a campaign, when, why and by whom
    Log {
        /// The campaign
        id: CampaignId,
    },
}

/// A campaign, and the reason for the change.
#[derive(Args)]
pub struct Target {
    /// The campaign
    id: CampaignId,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl CampaignCommand {
    /// Runs the command and returns the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or the arguments contradict the campaign.
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

/// The error for an id that no campaign has.
pub(crate) fn no_such(id: &CampaignId) -> String {
    format!("there is no campaign {id}: `rushgate campaign list` lists all")
}

/// Warns of terms that look like a mistake.
fn warn(id: &CampaignId, what: &str) {
    eprintln!("warning: campaign {id}: {what}");
}

/// Parses an instant that has a UTC offset.
fn instant(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|instant| Millis::try_from(instant.as_millisecond()).ok())
        .ok_or_else(|| {
            "write date, time and UTC offset, such as 2026-12-01T10:00:00+09:00 or 2026-12-01T01:00:00Z"
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
