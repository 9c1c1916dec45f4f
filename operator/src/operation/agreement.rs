//! Makes the database and the gate agree about the terms and the state of a campaign. The gate gets those of the
//! database, raised where needed to what the gate has already granted.

use super::outcome::{halted, lost};
use super::running::Operation;
use crate::database::{Action, Entry, Write};
use crate::difference::differing_terms;
use anyhow::{Result, bail};
use rushgate_gate::CampaignState;
use rushgate_gate::project::Origin;

impl Operation {
    /// Projects the terms and the state of the database, raised where needed to what the gate has already granted.
    /// Returns what was different, for the log.
    pub(crate) async fn agree_with_gate(&mut self) -> Result<String> {
        let id = self.campaign.id.clone();
        let Some(at_gate) = self.gate.projection(&id).await? else {
            bail!(lost(&id));
        };
        let mut differing = differing_terms(&self.campaign, &at_gate);
        if self.campaign.state != at_gate.state {
            let (here, there) = (self.campaign.state, at_gate.state);
            differing.push(format!(
                "state: {here} in the database, {there} at the gate"
            ));
        }
        let campaign = self.campaign.with_room_for(&at_gate);
        let raised = self
            .campaign
            .rounds_and_rules()
            .differences(&campaign.rounds_and_rules());
        self.database.write(&id, &[Write::Room(&campaign)]).await?;
        self.project(&campaign, Origin::Known, campaign.state)
            .await?;
        self.database.write(&id, &[Write::Final(&campaign)]).await?;
        self.campaign = campaign;
        let mut text = format!(
            ", the gate has the terms of the database (before: {})",
            differing.join("; ")
        );
        if !raised.is_empty() {
            text.push_str(&format!(", raised to what it has granted ({raised})"));
        }
        Ok(text)
    }

    /// Halts the campaign at the gate and in the database. Returns the message for the operator.
    pub(crate) async fn halt_both(&mut self, why: &str) -> Result<String> {
        let campaign = self.campaign.clone();
        let id = &campaign.id;
        if campaign.state != CampaignState::Halted {
            let entry = Entry {
                action: Action::Halted,
                detail: why,
                reason: None,
                actor: Some(&self.actor),
                about: None,
            };
            let halted = [Write::State(CampaignState::Halted), Write::Log(entry)];
            self.database.write(id, &halted).await?;
            self.campaign.state = CampaignState::Halted;
        }
        // A gate that does not know the campaign grants nothing; `restore` projects it.
        if let Some(at_gate) = self.gate.projection(id).await?
            && at_gate.state != CampaignState::Halted
        {
            let campaign = campaign.with_room_for(&at_gate);
            self.project(&campaign, Origin::Known, CampaignState::Halted)
                .await?;
        }
        Ok(halted(id).to_string())
    }
}
