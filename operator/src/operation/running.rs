//! A campaign that is reserved for one command, and the command that runs on it.

use super::outcome::Reported;
use crate::actor::Actor;
use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::intention::Task;
use crate::terms::Campaign;
use anyhow::Result;
use rushgate_gate::projection::Projection;
use rushgate_gate::{CampaignId, CampaignState, FencingToken};

/// Gate calls between two signs of life to the database.
pub(crate) const BEAT_EVERY: usize = 1_000;

/// A campaign that no other command changes, as long as the database keeps the reservation.
pub(crate) struct Reserved {
    pub(crate) database: Database,
    pub(crate) gate: Gate,
    id: CampaignId,
    actor: Actor,
}

/// A running command on a campaign.
pub(crate) struct Operation {
    pub(crate) database: Database,
    pub(crate) gate: Gate,
    /// The terms in the database.
    pub(crate) campaign: Campaign,
    /// What the gate knew when the command began; `None` if it did not know the campaign.
    pub(crate) at_gate: Option<Projection>,
    pub(crate) fence: FencingToken,
    pub(super) actor: Actor,
    /// Lines about what an interrupted command had left unfinished.
    pub(super) finished: Vec<String>,
    pub(super) task: Option<Task>,
}

impl Reserved {
    /// Connects to database and Redis, and reserves the campaign.
    pub(crate) async fn new(config: &Config, id: &CampaignId) -> Result<Self> {
        let database = Database::connect(config).await?;
        let gate = Gate::connect(config).await?;
        database.reserve(id).await?;
        Ok(Self {
            database,
            gate,
            id: id.clone(),
            actor: config.actor.clone(),
        })
    }

    /// If keys of the campaign have a wrong type, halts the gate and renames these keys; returns the renamed keys.
    ///
    /// # Errors
    /// When there is no such campaign, or a server does not answer or refuses.
    pub(crate) async fn set_odd_keys_aside(&mut self) -> Result<Vec<String>> {
        self.database.existing(&self.id).await?;
        self.gate.set_odd_keys_aside(&self.id).await
    }

    /// Loads the campaign, which must exist, and takes a fencing token.
    pub(crate) async fn take_over(mut self) -> Result<Operation> {
        let campaign = self.database.existing(&self.id).await?;
        let at_gate = self.gate.projection(&self.id).await?;
        let known = at_gate
            .as_ref()
            .map(|known| known.fence)
            .unwrap_or_default();
        let fence = self.database.fencing_token(&self.id, known).await?;
        Ok(Operation {
            database: self.database,
            gate: self.gate,
            campaign,
            at_gate,
            fence,
            actor: self.actor,
            finished: vec![],
            task: None,
        })
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }
}

impl Operation {
    /// Registers this campaign and all others of the database with the gate: a wiped Redis has forgotten all of them.
    pub(crate) async fn register(&mut self) -> Result<()> {
        let campaigns = self.database.campaigns().await?;
        self.gate.register(&campaigns).await
    }

    /// Whether database or gate says that grants were lost.
    pub(crate) fn is_halted(&self) -> bool {
        let at_gate = self.at_gate.as_ref().map(|at_gate| at_gate.state);
        [at_gate, Some(self.campaign.state)].contains(&Some(CampaignState::Halted))
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The interrupted command's task, if this command has finished it.
    pub(crate) fn finished_task(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// What an interrupted command had left and this one has finished, a line each.
    pub(crate) fn finished_first(&self) -> &[String] {
        &self.finished
    }

    /// Adds what was finished first to the result of the command, also if it failed.
    pub(crate) fn with_report<T>(&self, done: Result<T>) -> Result<Reported<T>> {
        match (done, self.finished.is_empty()) {
            (Ok(done), _) => Ok(Reported {
                finished_first: self.finished.clone(),
                done,
            }),
            (Err(error), true) => Err(error),
            (Err(error), false) => Err(error.context(self.finished.join("\n"))),
        }
    }
}
