//! The command `rushgate campaign`, which creates, changes and shows campaigns.

mod change;
mod create;
mod instant;
mod list;
mod log;
mod report;
mod show;
mod state;

use crate::config::Config;
use crate::intention::Task;
use crate::operation::Operation;
use crate::output::CommandOutput;
use anyhow::Result;
use change::Change;
use clap::Subcommand;
use create::Create;
use rushgate_gate::{CampaignId, Millis, RoundId};
use serde::Serialize;
use state::Target;
use std::fmt;

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

impl CampaignCommand {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or the arguments contradict the campaign.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let report = match self {
            Self::Create(create) => create.run(config).await?,
            Self::Change(change) => change.run(config).await?,
            Self::Pause(target) => state::set(config, target, Task::Pause).await?,
            Self::Resume(target) => state::set(config, target, Task::Resume).await?,
            Self::Close(target) => state::set(config, target, Task::Close).await?,
            Self::Finish { id, give_up } => {
                let finished = finish(config, id, *give_up).await?;
                return Ok(CommandOutput::of(finished));
            }
            Self::List => return list::list(config).await,
            Self::Show { id } => return show::show(config, id).await,
            Self::Log { id } => return Ok(CommandOutput::of(log::log(config, id).await?)),
        };
        Ok(CommandOutput::of(report))
    }
}

/// A change that the screen of `rushgate watch` offers.
pub(crate) enum Chosen {
    /// Open this round now.
    Open(RoundId),
    Pause,
    Resume,
}

/// Makes the change; returns what was done, without what was finished first.
pub(crate) async fn make(config: &Config, id: &CampaignId, chosen: Chosen) -> Result<String> {
    let target = Target {
        id: id.clone(),
        reason: None,
    };
    let reported = match chosen {
        Chosen::Open(round) => {
            let now = Millis::try_from(jiff::Timestamp::now().as_millisecond())?;
            Change::opening(id.clone(), round, now).run(config).await?
        }
        Chosen::Pause => state::set(config, &target, Task::Pause).await?,
        Chosen::Resume => state::set(config, &target, Task::Resume).await?,
    };
    Ok(reported.done.to_string())
}

/// What an interrupted command had left, and `campaign finish` has finished or abandoned.
#[derive(Serialize)]
struct Finished {
    campaign: CampaignId,
    finished_first: Vec<String>,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finished_first[..] {
            [] => write!(f, "nothing is unfinished in campaign {}", self.campaign),
            lines => f.write_str(&lines.join("\n")),
        }
    }
}

async fn finish(config: &Config, id: &CampaignId, give_up: bool) -> Result<Finished> {
    let operation = match give_up {
        true => Operation::give_up_on(config, id).await?,
        false => Operation::begin(config, id).await?,
    };
    Ok(Finished {
        campaign: id.clone(),
        finished_first: operation.finished_first().to_vec(),
    })
}
