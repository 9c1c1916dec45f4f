//! A command at work on one campaign, so that it can be interrupted anywhere.
//!
//! What it is about to do is written down first ([`Intention`]), then the gate is told, then one transaction writes what
//! came of it and removes the intention. The next command on the campaign, whichever it is, finishes first what it finds
//! written down, or explains why that cannot be done. So nothing that was begun is forgotten, and nothing is undone by a
//! command that knew nothing of it. A command that sleeps while another one takes the campaign over can do no harm when
//! it wakes up: its fencing token is too low for the gate, and its intention is gone.

mod agreement;
mod deeds;

use crate::actor::Actor;
use crate::audit::differing_terms;
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, Write};
use crate::gate::{Gate, GateError, superseded};
use crate::intention::{Deed, Intention};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use anyhow::{Result, anyhow, bail};
use rushgate_gate::project::{Origin, ProjectOutcome};
use rushgate_gate::projection::Projection;
use rushgate_gate::{CampaignId, CampaignState, FencingToken};

/// After how many calls of the gate the database hears again that the command is alive.
pub(crate) const BEAT_EVERY: usize = 1_000;

/// A campaign that no other command works on, as long as the database keeps the reservation.
pub(crate) struct Reserved {
    pub(crate) database: Database,
    pub(crate) gate: Gate,
    id: CampaignId,
    actor: Actor,
}

/// A command at work on a campaign.
pub(crate) struct Operation {
    pub(crate) database: Database,
    pub(crate) gate: Gate,
    /// As it stands in the database.
    pub(crate) campaign: Campaign,
    /// As the gate knew it when the command began.
    pub(crate) told: Option<Projection>,
    pub(crate) fence: FencingToken,
    actor: Actor,
    /// What became of what an interrupted command had left.
    finished: Vec<String>,
    /// What it had left.
    deed: Option<Deed>,
}

/// Why something was not done.
enum Declined {
    /// The gate says no: nothing was done, and nothing will be.
    Refused(String),
    /// It cannot be done now; it stays written down.
    Waits(String),
    /// Another operator has taken the campaign over, and has finished it.
    Superseded(String),
}

impl Reserved {
    /// Connects to database and Redis, and keeps other operators from the campaign.
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

    /// Halts the gate, if keys of the campaign have another type than Rushgate gives them, and renames these; what was
    /// renamed.
    ///
    /// # Errors
    /// When there is no such campaign, or a server does not answer or refuses.
    pub(crate) async fn set_odd_keys_aside(&mut self) -> Result<Vec<String>> {
        existing(&self.database, &self.id).await?;
        self.gate.set_odd_keys_aside(&self.id).await
    }

    /// Begins to work on the campaign, which is in the database.
    pub(crate) async fn take_over(mut self) -> Result<Operation> {
        let campaign = existing(&self.database, &self.id).await?;
        let told = self.gate.projection(&self.id).await?;
        let at_gate = told.as_ref().map(|told| told.fence).unwrap_or_default();
        let fence = self.database.fencing_token(&self.id, at_gate).await?;
        Ok(Operation {
            database: self.database,
            gate: self.gate,
            campaign,
            told,
            fence,
            actor: self.actor,
            finished: vec![],
            deed: None,
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

    /// Reserves the campaign, and leaves undone what an interrupted command has left.
    ///
    /// # Errors
    /// When a server does not answer or refuses.
    pub(crate) async fn give_up_on(config: &Config, id: &CampaignId) -> Result<Self> {
        let mut operation = Reserved::new(config, id).await?.take_over().await?;
        let Some(intention) = operation.database.intention(id).await? else {
            return Ok(operation);
        };
        if let (Deed::Change { before, .. }, Some(told)) = (&intention.deed, &operation.told) {
            let campaign = operation.campaign.with(before).with_room_for(told);
            let told = [Write::Told(&campaign)];
            operation.database.write(id, &told).await?;
            operation.campaign = campaign;
        }
        let detail = format!("{}: given up by {}", intention.deed, operation.actor);
        operation
            .end(&intention, Some((Action::Refused, &detail)))
            .await
            .map_err(|error| operation.unfinished(&intention, error))?;
        operation.finished.push(format!(
            "given up: {intention}. `rushgate audit {id}` tells whether the gate had done it"
        ));
        Ok(operation)
    }

    /// Makes bridges, lists and handlers aware of the campaign, and of all others that the database has: a Redis that was
    /// wiped may have forgotten those as well.
    pub(crate) async fn register(&mut self) -> Result<()> {
        let campaigns = self.database.campaigns().await?;
        self.gate.register(&campaigns).await
    }

    /// Whether database or gate say that grants were lost.
    pub(crate) fn is_halted(&self) -> bool {
        let at_gate = self.told.as_ref().map(|told| told.state);
        [at_gate, Some(self.campaign.state)].contains(&Some(CampaignState::Halted))
    }

    /// Who runs the command.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Finishes what an interrupted command has left, if anything.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        let is_new = !self.campaign.projected;
        if is_new {
            self.create().await?;
            self.finished.push(format!(
                "finished first: campaign {} was not created to the end",
                self.campaign.id
            ));
        }
        // A creation or a restore that was interrupted may have left the gate paused.
        let state = self.campaign.state;
        let is_state_right = self.told.as_ref().is_none_or(|told| told.state == state);
        let intention = self.database.intention(&self.campaign.id).await;
        let intention = intention.map_err(|error| match is_new {
            true => unknown_creation(&self.campaign.id, error),
            false => error,
        })?;
        let Some(intention) = intention else {
            // Where the terms differ as well, it was something else: that is for an audit.
            let is_all = |told: &Projection| differing_terms(&self.campaign, told).is_empty();
            if !is_state_right && self.told.as_ref().is_some_and(is_all) {
                let campaign = self.campaign.clone();
                self.project(&campaign, Origin::Known, state).await?;
                self.finished.push(format!(
                    "finished first: the gate was told that campaign {} is {state}",
                    campaign.id
                ));
            }
            return Ok(());
        };
        if let Deed::Change { after, .. } = &intention.deed {
            // A restore may have taken away what its own command had made.
            let wanted = self.campaign.with(after);
            let room = [Write::Room(&wanted)];
            let written = self.database.write(&wanted.id, &room).await;
            written.map_err(|error| self.unfinished(&intention, error))?;
        }
        let text = match self.carry_out(&intention).await {
            Ok(Ok(text)) => text,
            Ok(Err(Declined::Refused(why))) => {
                let detail = format!("{} was interrupted, and then: {why}", intention.deed);
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
        self.deed = Some(intention.deed);
        Ok(())
    }

    /// Does what was written down as `deed`, and writes what came of it.
    ///
    /// # Errors
    /// [`Unknown`] when an answer was lost; any other error means that nothing was done.
    pub(crate) async fn perform(&mut self, deed: Deed, reason: Option<&str>) -> Result<String> {
        let intention = self.intend(deed, reason).await?;
        match self.carry_out(&intention).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(Declined::Refused(why))) => {
                self.end(&intention, None)
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                bail!("{why}")
            }
            Ok(Err(Declined::Waits(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.deed);
                let stays = "It stays written down, and is finished when this has been put right";
                Err(anyhow!("{why}").context(Unknown::new(what, stays)))
            }
            Ok(Err(Declined::Superseded(why))) => {
                let what = format!("campaign {}: {}", intention.campaign, intention.deed);
                Err(anyhow!("{why}").context(Unknown::new(what, "See what became of it")))
            }
            Err(error) if is_refused(&error) && intention.deed.is_one_call() => {
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
        if let Deed::Change { before, .. } = &intention.deed {
            self.campaign = self.campaign.with(before);
            let told = [Write::Told(&self.campaign)];
            self.database.write(&intention.campaign, &told).await?;
        }
        self.end(intention, None).await
    }

    /// Writes down what is to be done, and makes room for it in the database.
    pub(crate) async fn intend(&self, deed: Deed, reason: Option<&str>) -> Result<Intention> {
        let intention = Intention {
            campaign: self.campaign.id.clone(),
            fence: self.fence,
            actor: self.actor.clone(),
            deed,
            reason: reason.map(str::to_owned),
        };
        let wanted;
        let mut writes = vec![Write::Begin(&intention)];
        if let Deed::Change { after, .. } = &intention.deed {
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

    /// What an interrupted command had left, and this one has finished.
    pub(crate) fn finished_deed(&self) -> Option<&Deed> {
        self.deed.as_ref()
    }

    /// Everything that the command has to say: first what it has finished, then what it has done.
    pub(crate) fn report(&self, text: &str) -> String {
        let lines = self.finished.iter().map(String::as_str);
        let lines: Vec<&str> = lines.chain((!text.is_empty()).then_some(text)).collect();
        lines.join("\n")
    }

    /// The same of a command that may have failed: what it has finished first is said also then.
    pub(crate) fn tell(&self, done: Result<String>) -> Result<String> {
        match (done, self.finished.is_empty()) {
            (Ok(text), _) => Ok(self.report(&text)),
            (Err(error), true) => Err(error),
            (Err(error), false) => Err(error.context(self.report(""))),
        }
    }

    /// Tells the gate of a campaign that only the database knows, paused until the database knows that the gate knows.
    /// So a gate that has lost its grants is never taken for a new one.
    async fn create(&mut self) -> Result<()> {
        let campaign = self.campaign.clone();
        let id = &campaign.id;
        let declined = |declined| match declined {
            Declined::Refused(why) | Declined::Waits(why) | Declined::Superseded(why) => anyhow!(
                "{why}: the campaign is in the database only, and `rushgate campaign create --id {id}` again, with terms \
                 that the gate takes, replaces those"
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

    /// Makes the terms of a campaign that the gate was never told of those of `wanted`.
    pub(crate) async fn replace(&mut self, wanted: &Campaign) -> Result<()> {
        let entry = Entry {
            action: Action::Changed,
            detail: &wanted.to_string(),
            reason: None,
            actor: Some(&self.actor),
            about: None,
        };
        let writes = [Write::Told(wanted), Write::Log(entry)];
        let written = self.database.write(&wanted.id, &writes).await;
        written.map_err(|error| unknown_creation(&wanted.id, error))?;
        self.campaign.clone_from(wanted);
        Ok(())
    }

    /// Tells the gate; how many people have moved up from waitlists with it.
    pub(crate) async fn project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<u32> {
        let told = self.try_project(campaign, origin, state).await;
        let told = told.map_err(|error| match is_refused(&error) {
            true => error,
            false => error.context(Unknown::new(
                format!("campaign {}: what the gate is told of it", campaign.id),
                "Run the same command again",
            )),
        });
        match told? {
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
                "round {round} of campaign {id} has given serials up to {granted} already: choose a --quota of at \
                 least that"
            )),
            ProjectOutcome::OtherOnePer { rule } => Declined::Refused(format!(
                "somebody has won in campaign {id} already, by the rule of one per {rule}, so that rule stays"
            )),
            ProjectOutcome::RoundHasGrants { round } => Declined::Refused(format!(
                "somebody has won in round {round} of campaign {id} already, so it cannot be removed: choose a later --to"
            )),
        }))
    }

    /// Writes that an intention came to its end, with a line of the log.
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

    /// Says that it is not known whether it was done, and what leads out.
    pub(crate) fn unfinished(&self, intention: &Intention, error: anyhow::Error) -> anyhow::Error {
        let id = &intention.campaign;
        let again = match &intention.deed {
            // The person may have won in another round since.
            Deed::Revoke { grant } => {
                format!("the same command again with `--round {}`", grant.round)
            }
            _ => "the same command again".to_owned(),
        };
        error.context(Unknown::new(
            format!("campaign {id}: {}", intention.deed),
            format!(
                "Run {again}, or `rushgate campaign finish {id}` (with --give-up, if it can never be done)"
            ),
        ))
    }
}

/// Whether a server has replied that it does not do it: nothing of the call or of the transaction was done.
fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let by_redis = matches!(cause.downcast_ref(), Some(GateError::Refused { .. }));
        let by_database = cause.downcast_ref::<sqlx::Error>();
        by_redis || by_database.is_some_and(|error| error.as_database_error().is_some())
    })
}

/// Says that it is not known how far the creation of a campaign has come.
pub(crate) fn unknown_creation(id: &CampaignId, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again, or `rushgate campaign finish {id}` if `rushgate campaign list` has it"
    );
    error.context(Unknown::new(
        format!("the creation of campaign {id}"),
        way_out,
    ))
}

/// What to say when the gate refuses terms that nobody has just asked for.
fn or_repair(id: &CampaignId) -> String {
    format!(
        ". Database and gate have different terms: `rushgate audit {id} --repair` makes them agree"
    )
}

/// What to say of people who have moved up from waitlists.
pub(crate) fn moved_up(promoted: u32) -> String {
    match promoted {
        0 => String::new(),
        people => format!("; {people} who waited have a coupon now"),
    }
}

/// What to say of a campaign that waits to be restored.
pub(crate) fn halted(id: &CampaignId) -> String {
    format!(
        "campaign {id} is halted, because Redis has lost grants of it (`rushgate campaign log {id}` says when): \
         `rushgate restore {id}` rebuilds what it has lost"
    )
}

/// What to say of a campaign that the gate was told of, and does not know.
pub(crate) fn lost(id: &CampaignId) -> String {
    format!(
        "Redis has lost campaign {id} and who won in it; beginning again would give serials twice. Bring back Redis' data \
         (its append-only file or a replica) and run this again, or let `rushgate restore {id}` rebuild it from the \
         database"
    )
}
