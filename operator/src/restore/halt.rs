//! Halts the campaign before its gate is rebuilt, and ends the halt afterwards.

use super::rebuild::Rebuild;
use crate::database::{Action, Entry, Write};
use crate::difference::differing_terms;
use crate::intention::Task;
use crate::refusal::refuse;
use anyhow::Result;
use rushgate_gate::CampaignState;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use tokio::time::sleep;

impl Rebuild {
    /// Fails if there is nothing to restore.
    pub(super) fn check(&self, even_if_running: bool) -> Result<()> {
        let id = &self.operation.campaign.id;
        if !self.operation.campaign.projected && !self.operation.is_halted() {
            refuse!(
                CampaignNotHalted,
                "campaign {id} was never projected into the gate: run `rushgate campaign finish {id}`"
            );
        }
        if self.operation.at_gate.is_some() && !self.operation.is_halted() && !even_if_running {
            refuse!(
                CampaignNotHalted,
                "campaign {id} is not halted: `rushgate audit {id}` shows whether the gate has lost grants; if so, \
                 --halt halts the campaign and restores it"
            );
        }
        Ok(())
    }

    /// Halts the campaign, so that nothing is granted meanwhile. The database is written first: from then on, running
    /// this command again is the way out. Rounds and quotas beyond the database's that the gate has are taken from the
    /// gate.
    pub(super) async fn halt(&mut self, reason: Option<&str>) -> Result<()> {
        let operation = &mut self.operation;
        let before = operation.campaign.clone();
        if let Some(at_gate) = operation
            .at_gate
            .as_ref()
            .filter(|at_gate| at_gate.terms.is_some())
        {
            // The database may have room for a change that the gate has not taken; this room is not projected. If Redis
            // has lost the terms, it is not known whether the gate had taken the change, and the room stays. That also
            // holds when the restore is run again, after that room was projected.
            let has_all = differing_terms(&before, at_gate).is_empty();
            let intention = operation.database.intention(&before.id).await?;
            let meant = match intention.map(|intention| intention.task) {
                Some(Task::Change { before: shape, .. }) if !has_all => before.with(&shape),
                _ => before.clone(),
            };
            operation.campaign = meant.with_room_for(at_gate);
        }
        let campaign = operation.campaign.clone();
        let id = &campaign.id;
        let differences = before
            .rounds_and_rules()
            .differences(&campaign.rounds_and_rules());
        let actor = operation.actor().clone();
        let entry = |action, detail, reason| Entry {
            action,
            detail,
            reason,
            actor: Some(&actor),
            about: None,
        };
        let taken = format!("taken from the gate: {differences}");
        // Also if the creation was interrupted: the halt has projected the campaign.
        let mut writes = vec![Write::Projected, Write::Final(&campaign)];
        if !differences.is_empty() {
            writes.push(Write::Log(entry(Action::Repaired, &taken, None)));
        }
        if campaign.state != CampaignState::Halted {
            let reason = reason.or(Some("to be restored"));
            writes.push(Write::State(CampaignState::Halted));
            writes.push(Write::Log(entry(Action::Halted, "is halted", reason)));
        }
        operation.database.write(id, &writes).await?;
        operation.campaign.state = CampaignState::Halted;
        operation.campaign.projected = true;
        operation
            .project(&campaign, Origin::New, CampaignState::Halted)
            .await?;
        // By then the refusal caches of the handlers have expired.
        sleep(GRACE_PERIOD).await;
        operation.register().await
    }

    /// Ends the halt; returns how many applicants moved up from the waitlists. The database is written first: if the
    /// gate is not reached, it stays halted, and the restore is run again. A task that was begun before the halt is
    /// finished while the gate is paused, because applicants may already have seen its effect.
    pub(super) async fn reopen(&mut self, state: CampaignState, text: &str) -> Result<u32> {
        let operation = &mut self.operation;
        let campaign = operation.campaign.clone();
        let actor = operation.actor().clone();
        let writes = [
            Write::Reopened(state),
            Write::Log(Entry {
                action: Action::Restored,
                detail: &format!("is {state}"),
                reason: Some(text),
                actor: Some(&actor),
                about: None,
            }),
        ];
        operation.database.write(&campaign.id, &writes).await?;
        operation.campaign.state = state;
        if operation.database.intention(&campaign.id).await?.is_none() {
            return operation.project(&campaign, Origin::Restored, state).await;
        }
        let paused = CampaignState::Paused;
        operation
            .project(&campaign, Origin::Restored, paused)
            .await?;
        operation.at_gate = None;
        operation.finish().await?;
        let campaign = operation.campaign.clone();
        operation
            .project(&campaign, Origin::Known, campaign.state)
            .await
    }
}
