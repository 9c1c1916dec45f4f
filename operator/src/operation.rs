//! Runs a command on one campaign so that it may be interrupted at any point.
//!
//! The command first stores what it is about to do ([`Intention`]), then changes the gate, and then records the result
//! and removes the intention in one transaction. The next command on the campaign, whichever it is, first finishes a
//! stored intention, or explains why it cannot. So every change that was begun is either finished or reported. Suppose
//! that a command is frozen, and another command takes over the campaign. When the first one continues, it does no
//! harm: the gate rejects its fencing token, and its intention is gone.

mod agreement;
mod tasks;

use crate::actor::Actor;
use crate::audit::differing_terms;
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, Write};
use crate::gate::{Gate, GateError, superseded};
use crate::intention::{Intention, Task};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use anyhow::{Result, anyhow, bail};
use rushgate_gate::project::{Origin, ProjectOutcome};
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
    actor: Actor,
    /// Lines about what an interrupted command had left unfinished.
    finished: Vec<String>,
    task: Option<Task>,
}

/// Why a task was not carried out.
enum Declined {
    /// The gate refused it: nothing was done, and nothing will be.
    Refused(String),
    /// It is not possible now; the intention stays stored.
    Waits(String),
    /// Another command has taken the campaign over and has finished the task.
    Superseded(String),
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
        existing(&self.database, &self.id).await?;
        self.gate.set_odd_keys_aside(&self.id).await
    }

    /// Loads the campaign, which must exist, and takes a fencing token.
    pub(crate) async fn take_over(mut self) -> Result<Operation> {
        let campaign = existing(&self.database, &self.id).await?;
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
    /// Reserves the campaign, and finishes what an interrupted command has left.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or the campaign is halted.
    pub(crate) async fn begin(config: &Config, id: &CampaignId) -> Result<Self> {
        let mut operation = Reserved::new(config, id).await?.take_over().await?;
        if operation.is_halted() {
            bail!("{}", halted(id));
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
            Ok(Ok(text)) => text,
            Ok(Err(Declined::Refused(why))) => {
                let detail = format!("{} was interrupted, and then: {why}", intention.task);
                self.end(&intention, Some((Action::Refused, &detail)))
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                format!("not done: {why}")
            }
            Ok(Err(Declined::Waits(why) | Declined::Superseded(why))) => bail!("{why}"),
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
    pub(crate) async fn perform(&mut self, task: Task, reason: Option<&str>) -> Result<String> {
        let intention = self.intend(task, reason).await?;
        match self.carry_out(&intention).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(Declined::Refused(why))) => {
                self.end(&intention, None)
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                bail!("{why}")
            }
            Ok(Err(Declined::Waits(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.task);
                let stays = "The intention stays stored, and is finished when this is resolved";
                Err(anyhow!("{why}").context(Unknown::new(what, stays)))
            }
            Ok(Err(Declined::Superseded(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.task);
                Err(anyhow!("{why}").context(Unknown::new(what, "See the log for the result")))
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

    /// Ends an intention of which nothing was done.
    async fn give_up(&mut self, intention: &Intention) -> Result<()> {
        if let Task::Change { before, .. } = &intention.task {
            self.campaign = self.campaign.with(before);
            let final_terms = [Write::Final(&self.campaign)];
            self.database
                .write(&intention.campaign, &final_terms)
                .await?;
        }
        self.end(intention, None).await
    }

    /// Stores the intention, and makes room for it in the database.
    pub(crate) async fn intend(&self, task: Task, reason: Option<&str>) -> Result<Intention> {
        let intention = Intention {
            campaign: self.campaign.id.clone(),
            fence: self.fence,
            actor: self.actor.clone(),
            task,
            reason: reason.map(str::to_owned),
        };
        let wanted;
        let mut writes = vec![Write::Begin(&intention)];
        if let Task::Change { after, .. } = &intention.task {
            wanted = self.campaign.with(after);
            writes.push(Write::Room(&wanted));
        }
        let written = self.database.write(&self.campaign.id, &writes).await;
        written.map_err(|error| match is_refused(&error) {
            true => error,
            false => self.unfinished(&intention, error),
        })?;
        Ok(intention)
    }

    /// The interrupted command's task, if this command has finished it.
    pub(crate) fn finished_task(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// The text for the operator: first what was finished, then what was done.
    pub(crate) fn report(&self, text: &str) -> String {
        let lines = self.finished.iter().map(String::as_str);
        let lines: Vec<&str> = lines.chain((!text.is_empty()).then_some(text)).collect();
        lines.join("\n")
    }

    /// Adds what was finished first to the result of the command, also if it failed.
    pub(crate) fn with_report(&self, done: Result<String>) -> Result<String> {
        match (done, self.finished.is_empty()) {
            (Ok(text), _) => Ok(self.report(&text)),
            (Err(error), true) => Err(error),
            (Err(error), false) => Err(error.context(self.report(""))),
        }
    }

    /// Projects a campaign that only the database knows. The gate stays paused until the database has recorded the
    /// projection, so a gate that has lost its grants is never mistaken for a new one.
    pub(crate) async fn create(&mut self) -> Result<()> {
        let campaign = self.campaign.clone();
        let id = &campaign.id;
        let declined = |declined| match declined {
            Declined::Refused(why) | Declined::Waits(why) | Declined::Superseded(why) => anyhow!(
                "{why}: the campaign is only in the database; run `rushgate campaign create --id {id}` again with \
                 terms that the gate accepts"
            ),
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

    /// Projects the campaign; returns how many applicants moved up from the waitlists.
    pub(crate) async fn project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<u32> {
        let projected = self.try_project(campaign, origin, state).await;
        let projected = projected.map_err(|error| match is_refused(&error) {
            true => error,
            false => error.context(Unknown::new(
                format!("campaign {}: projecting it into the gate", campaign.id),
                "Run the same command again",
            )),
        });
        match projected? {
            Ok(promoted) => Ok(promoted),
            Err(Declined::Refused(why)) => bail!("{why}{}", or_repair(&campaign.id)),
            Err(Declined::Waits(why) | Declined::Superseded(why)) => bail!("{why}"),
        }
    }

    async fn try_project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<Result<u32, Declined>> {
        let id = &campaign.id;
        let (terms, rounds) = (&campaign.terms, &campaign.rounds);
        let outcome = self
            .gate
            .project(id, origin, state, terms, rounds, self.fence)
            .await?;
        Ok(Err(match outcome {
            ProjectOutcome::Projected { promoted } => return Ok(Ok(promoted)),
            ProjectOutcome::UnknownCampaign => Declined::Waits(lost(id)),
            ProjectOutcome::Halted => Declined::Waits(halted(id)),
            ProjectOutcome::Superseded => Declined::Superseded(superseded(id)),
            ProjectOutcome::QuotaBelowGranted { round, granted } => Declined::Refused(format!(
                "round {round} of campaign {id} has already given out serials up to {granted}: choose a --quota of at \
                 least {granted}"
            )),
            ProjectOutcome::OtherOnePer { rule } => Declined::Refused(format!(
                "campaign {id} already has winners under the rule of one per {rule}, so the rule cannot change"
            )),
            ProjectOutcome::RoundHasGrants { round } => Declined::Refused(format!(
                "round {round} of campaign {id} already has winners, so it cannot be removed: choose a later --to"
            )),
        }))
    }

    /// Ends an intention, with a line of the log.
    pub(crate) async fn end(
        &self,
        intention: &Intention,
        line: Option<(Action, &str)>,
    ) -> Result<()> {
        let mut writes = vec![Write::End(intention)];
        if let Some((action, detail)) = line {
            writes.push(Write::Log(Entry::of(intention, action, detail)));
        }
        self.database.write(&intention.campaign, &writes).await
    }

    /// The error of a task that may or may not have been carried out, with the command to run next.
    pub(crate) fn unfinished(&self, intention: &Intention, error: anyhow::Error) -> anyhow::Error {
        let id = &intention.campaign;
        let again = match &intention.task {
            // The applicant may have won another round meanwhile.
            Task::Revoke { grant } => {
                format!("the same command again with `--round {}`", grant.round)
            }
            _ => "the same command again".to_owned(),
        };
        error.context(Unknown::new(
            format!("campaign {id}: {}", intention.task),
            format!(
                "Run {again}, or `rushgate campaign finish {id}` (with --give-up, if it can never be finished)"
            ),
        ))
    }
}

/// Whether a server has returned an error: nothing of the call or of the transaction was done.
fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let by_redis = matches!(cause.downcast_ref(), Some(GateError::Refused { .. }));
        let by_database = cause.downcast_ref::<sqlx::Error>();
        by_redis || by_database.is_some_and(|error| error.as_database_error().is_some())
    })
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

/// Advice when the gate refuses terms that this command has not changed.
fn or_repair(id: &CampaignId) -> String {
    format!(
        ". The terms of database and gate differ: `rushgate audit {id} --repair` makes them agree"
    )
}

/// The note about applicants who moved up from the waitlists.
pub(crate) fn moved_up(promoted: u32) -> String {
    match promoted {
        0 => String::new(),
        people => format!("; {people} from the waitlist got a coupon"),
    }
}

/// The error for a campaign that has to be restored.
pub(crate) fn halted(id: &CampaignId) -> String {
    format!(
        "campaign {id} is halted, because Redis has lost grants (`rushgate campaign log {id}` shows when): `rushgate \
         restore {id}` rebuilds the gate"
    )
}

/// The error for a campaign that was projected and is missing at the gate.
pub(crate) fn lost(id: &CampaignId) -> String {
    format!(
        "Redis has lost campaign {id} and its winners; starting it again would give out serials twice. Bring back the \
         data of Redis (its append-only file, or a replica) and run this command again, or run `rushgate restore \
         {id}`, which rebuilds the gate from the database"
    )
}
