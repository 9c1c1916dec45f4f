//! `rushgate campaign pause`, `resume` and `close`.

use super::{Target, existing, halted, project};
use crate::config::Config;
use crate::database::{Action, Database};
use crate::gate::Gate;
use anyhow::{Result, bail};
use rushgate_gate::CampaignState;
use rushgate_gate::project::Origin;

/// The database first, then the gate. Said again it tells the gate again, so whatever died in between is made up for.
pub(super) async fn set(config: &Config, target: &Target, state: CampaignState) -> Result<String> {
    let id = &target.id;
    let database = Database::connect(config).await?;
    let mut gate = Gate::connect(config).await?;
    database.reserve(id).await?;
    let campaign = existing(&database, id).await?;
    match (campaign.state, state) {
        (CampaignState::Halted, _) => bail!("{}", halted(id)),
        (CampaignState::Closed, CampaignState::Closed) => {}
        (CampaignState::Closed, _) => {
            bail!("campaign {id} is closed for good: create another one")
        }
        _ => {}
    }
    let changed = campaign.state != state;
    if changed {
        let action = match state {
            CampaignState::Paused => Action::Paused,
            CampaignState::Closed => Action::Closed,
            CampaignState::Running | CampaignState::Halted => Action::Resumed,
        };
        database
            .set_state(id, state, action, target.reason.as_deref())
            .await?;
    }
    project(&mut gate, &campaign, Origin::Known, state).await?;
    let already = if changed { "" } else { " already" };
    Ok(format!("campaign {id} is {state}{already}"))
}
