//! Begins an operation, which first finishes or abandons what an interrupted command has left, and then performs a task
//! of its own.

use super::creation::unknown_creation;
use super::outcome::{Declined, Done, halted, is_refused};
use super::running::{Operation, Reserved};
use crate::config::Config;
use crate::database::{Action, Write};
use crate::difference::differing_terms;
use crate::intention::Task;
use crate::unknown::Unknown;
use anyhow::{Result, anyhow, bail};
use rushgate_gate::CampaignId;
use rushgate_gate::project::Origin;
use rushgate_gate::projection::Projection;

impl Operation {
    /// Reserves the campaign, and finishes what an interrupted command has left.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or the campaign is halted.
    pub(crate) async fn begin(config: &Config, id: &CampaignId) -> Result<Self> {
        let mut operation = Reserved::new(config, id).await?.take_over().await?;
        if operation.is_halted() {
            bail!(halted(id));
        }
        operation.finish().await?;
        Ok(operation)
    }

    /// Reserves the campaign, and abandons what an interrupted command has left.
    pub(crate) async fn give_up_on(config: &Config, id: &CampaignId) -> Result<Self> {
        let mut operation = Reserved::new(config, id).await?.take_over().await?;
        let Some(intention) = operation.database.intention(id).await? else {
            return Ok(operation);
        };
        if let (Task::Change { before, .. }, Some(at_gate)) = (&intention.task, &operation.at_gate)
        {
            let campaign = operation.campaign.with(before).with_room_for(at_gate);
            let final_terms = [Write::Final(&campaign)];
            operation.database.write(id, &final_terms).await?;
            operation.campaign = campaign;
        }
        let detail = format!("{}: abandoned by {}", intention.task, operation.actor);
        operation
            .end(&intention, Some((Action::Refused, &detail)))
            .await
            .map_err(|error| operation.unfinished(&intention, error))?;
        operation.finished.push(format!(
            "abandoned: {intention}. `rushgate audit {id}` shows whether the gate had done it"
        ));
        Ok(operation)
    }

    /// Finishes what an interrupted command has left, if anything.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        let is_new = !self.campaign.projected;
        if is_new {
            self.create().await?;
            self.finished.push(format!(
                "finished first: the creation of campaign {}",
                self.campaign.id
            ));
        }
        // An interrupted creation or restore may have left the gate paused.
        let state = self.campaign.state;
        let is_state_right = self
            .at_gate
            .as_ref()
            .is_none_or(|at_gate| at_gate.state == state);
        let intention = self.database.intention(&self.campaign.id).await;
        let intention = intention.map_err(|error| match is_new {
            true => unknown_creation(&self.campaign.id, error),
            false => error,
        })?;
        let Some(intention) = intention else {
            // If the terms differ too, something else has happened: that is for `audit`.
            let is_all = |at_gate: &Projection| differing_terms(&self.campaign, at_gate).is_empty();
            if !is_state_right && self.at_gate.as_ref().is_some_and(is_all) {
                let campaign = self.campaign.clone();
                self.project(&campaign, Origin::Known, state).await?;
                self.finished.push(format!(
                    "finished first: the gate was set to {state} for campaign {}",
                    campaign.id
                ));
            }
            return Ok(());
        };
        if let Task::Change { after, .. } = &intention.task {
            // A restore may have removed the room that the interrupted command had made.
            let wanted = self.campaign.with(after);
            let room = [Write::Room(&wanted)];
            let written = self.database.write(&wanted.id, &room).await;
            written.map_err(|error| self.unfinished(&intention, error))?;
        }
        let text = match self.carry_out(&intention).await {
            Ok(Ok(done)) => done.message,
            Ok(Err(Declined::Refused(why))) => {
                let detail = format!("{} was interrupted, and then: {why}", intention.task);
                self.end(&intention, Some((Action::Refused, &detail)))
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                format!("not done: {why}")
            }
            Ok(Err(Declined::Waits(why) | Declined::Superseded(why))) => bail!(why),
            Err(error) => return Err(self.unfinished(&intention, error)),
        };
        if !is_state_right && self.campaign.state == state {
            let campaign = self.campaign.clone();
            self.project(&campaign, Origin::Known, state).await?;
        }
        self.finished
            .push(format!("finished first: {intention}: {text}"));
        self.task = Some(intention.task);
        Ok(())
    }

    /// Stores `task` as an intention, carries it out, and records the result.
    ///
    /// # Errors
    /// [`Unknown`] when an answer was lost; any other error means that nothing was done.
    pub(crate) async fn perform(&mut self, task: Task, reason: Option<&str>) -> Result<Done> {
        let intention = self.intend(task, reason).await?;
        match self.carry_out(&intention).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Declined::Refused(why))) => {
                self.end(&intention, None)
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                bail!(why)
            }
            Ok(Err(Declined::Waits(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.task);
                let stays = "The intention stays stored, and is finished when this is resolved";
                Err(anyhow!(why).context(Unknown::new(what, stays)))
            }
            Ok(Err(Declined::Superseded(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.task);
                Err(anyhow!(why).context(Unknown::new(what, "See the log for the result")))
            }
            Err(error) if is_refused(&error) && intention.task.is_one_call() => {
                self.give_up(&intention)
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                Err(error)
            }
            Err(error) => Err(self.unfinished(&intention, error)),
        }
    }
}
