//! The commands `rushgate campaign pause`, `resume` and `close`, which change the state of a campaign.

use super::report::{CampaignReport, report};
use crate::config::Config;
use crate::intention::Task;
use crate::operation::{Done, Operation};
use crate::refusal::refuse;
use anyhow::Result;
use clap::Args;
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignId, CampaignState};

/// A campaign, and the reason for the change.
#[derive(Args)]
pub struct Target {
    /// The campaign
    pub(super) id: CampaignId,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

/// Idempotent: running the command again projects the state again.
pub(super) async fn set(config: &Config, target: &Target, task: Task) -> Result<CampaignReport> {
    let mut operation = Operation::begin(config, &target.id).await?;
    let done = set_state(&mut operation, target, task).await;
    report(&operation, done)
}

async fn set_state(operation: &mut Operation, target: &Target, task: Task) -> Result<Done> {
    let campaign = operation.campaign.clone();
    let id = &campaign.id;
    Ok(match (campaign.state, task.state()) {
        (is, Some(wanted)) if is == wanted => {
            operation.project(&campaign, Origin::Known, is).await?;
            Done::before(format!("campaign {id} is {is} already"))
        }
        (CampaignState::Closed, _) => {
            refuse!(
                CampaignClosed,
                "campaign {id} is closed for good: create another one"
            )
        }
        _ => operation.perform(task, target.reason.as_deref()).await?,
    })
}
