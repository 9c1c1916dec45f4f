//! Creates a campaign at the gate. Until that is recorded, its row in the database is the intention to create it.

use super::outcome::Declined;
use super::running::Operation;
use crate::database::{Action, Entry, Write};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use anyhow::{Result, anyhow};
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignId, CampaignState};

impl Operation {
    /// Projects a campaign that only the database knows. The gate stays paused until the database has recorded the
    /// projection, so a gate that has lost its grants is never mistaken for a new one.
    pub(crate) async fn create(&mut self) -> Result<()> {
        let campaign = self.campaign.clone();
        let id = &campaign.id;
        let declined = |declined| match declined {
            Declined::Refused(why) | Declined::Waits(why) | Declined::Superseded(why) => {
                anyhow!(why.and(format_args!(
                    ": the campaign is only in the database; run `rushgate campaign create --id {id}` again with terms \
                     that the gate accepts"
                )))
            }
        };
        let unknown = |error| unknown_creation(id, error);
        self.register().await.map_err(unknown)?;
        let paused = self
            .try_project(&campaign, Origin::New, CampaignState::Paused)
            .await;
        paused.map_err(unknown)?.map_err(declined)?;
        let projected = [Write::Projected];
        let written = self.database.write(id, &projected).await;
        written.map_err(unknown)?;
        self.campaign.projected = true;
        let running = self
            .try_project(&campaign, Origin::Known, campaign.state)
            .await;
        running.map_err(unknown)?.map_err(declined)?;
        Ok(())
    }

    /// Replaces the terms of a campaign that was never projected.
    pub(crate) async fn replace(&mut self, wanted: &Campaign) -> Result<()> {
        let entry = Entry {
            action: Action::Changed,
            detail: &wanted.to_string(),
            reason: None,
            actor: Some(&self.actor),
            about: None,
        };
        let writes = [Write::Final(wanted), Write::Log(entry)];
        let written = self.database.write(&wanted.id, &writes).await;
        written.map_err(|error| unknown_creation(&wanted.id, error))?;
        self.campaign.clone_from(wanted);
        Ok(())
    }
}

/// The error of a creation that may or may not have been completed.
pub(crate) fn unknown_creation(id: &CampaignId, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again, or `rushgate campaign finish {id}` if `rushgate campaign list` shows it"
    );
    error.context(Unknown::new(
        format!("the creation of campaign {id}"),
        way_out,
    ))
}
