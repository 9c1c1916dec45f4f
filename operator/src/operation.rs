//! A command at work on one campaign, so that it can be interrupted anywhere.
//!
//! What it is about to do is written down first ([`Intention`]), then the gate is told, then one transaction writes what
//! came of it and removes the intention. The next command on the campaign, whichever it is, finishes first what it finds
//! written down, or explains why that cannot be done. So nothing that was begun is forgotten, and nothing is undone by a
//! command that knew nothing of it. A command that sleeps while another one takes the campaign over can do no harm when
//! it wakes up: its fencing token is too low for the gate, and its intention is gone.

use crate::actor::Actor;
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, Resolution, Write};
use crate::failed::LetterId;
use crate::gate::{Gate, superseded};
use crate::intention::{Deed, Intention, Taken};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use anyhow::{Result, bail};
use rushgate_gate::project::{Origin, Outcome};
use rushgate_gate::projection::Projection;
use rushgate_gate::{CampaignId, CampaignState, FencingToken, revoke};

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
}

/// Why something was not done.
enum Declined {
    /// The gate says no: nothing was done, and nothing will be.
    Refused(String),
    /// It cannot be done now; it stays written down.
    Waits(String),
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
        if !self.campaign.projected {
            self.create().await?;
            self.finished.push(format!(
                "finished first: campaign {} was not created to the end",
                self.campaign.id
            ));
        }
        let Some(intention) = self.database.intention(&self.campaign.id).await? else {
            return Ok(());
        };
        let text = match self.carry_out(&intention).await {
            Ok(Ok(text)) => text,
            Ok(Err(Declined::Refused(why))) => {
                let detail = format!("{} was interrupted, and then: {why}", intention.deed);
                self.end(&intention, Some((Action::Refused, &detail)))
                    .await
                    .map_err(|error| self.unfinished(&intention, error))?;
                format!("not done: {why}")
            }
            Ok(Err(Declined::Waits(why))) => bail!("{why}"),
            Err(error) => return Err(self.unfinished(&intention, error)),
        };
        self.finished
            .push(format!("finished first: {intention}: {text}"));
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
            Ok(Err(Declined::Waits(why))) => bail!("{why}"),
            Err(error) => Err(self.unfinished(&intention, error)),
        }
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
        written.map_err(|error| self.unfinished(&intention, error))?;
        Ok(intention)
    }

    /// Whether an interrupted command had left something.
    pub(crate) fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Everything that the command has to say: first what it has finished, then what it has done.
    pub(crate) fn report(&self, text: &str) -> String {
        let lines = self.finished.iter().map(String::as_str);
        let lines: Vec<&str> = lines.chain((!text.is_empty()).then_some(text)).collect();
        lines.join("\n")
    }

    /// Tells the gate of a campaign that only the database knows, paused until the database knows that the gate knows.
    /// So a gate that has lost its grants is never taken for a new one.
    pub(crate) async fn create(&mut self) -> Result<()> {
        let campaign = self.campaign.clone();
        let created = async {
            self.gate.register(&campaign.id).await?;
            if !campaign.projected {
                self.project(&campaign, Origin::New, CampaignState::Paused)
                    .await?;
                let projected = [Write::Projected];
                self.database.write(&campaign.id, &projected).await?;
            }
            self.project(&campaign, Origin::Known, campaign.state).await
        };
        match created.await {
            Ok(_) => self.campaign.projected = true,
            Err(error) => return Err(unknown_creation(&campaign.id, error)),
        }
        Ok(())
    }

    /// Tells the gate; how many people have moved up from waitlists with it.
    pub(crate) async fn project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<u32> {
        match self.try_project(campaign, origin, state).await? {
            Ok(promoted) => Ok(promoted),
            Err(Declined::Refused(why) | Declined::Waits(why)) => bail!("{why}"),
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
            Outcome::Projected { promoted } => return Ok(Ok(promoted)),
            Outcome::UnknownCampaign => Declined::Waits(lost(id)),
            Outcome::Halted => Declined::Waits(halted(id)),
            Outcome::Superseded => Declined::Waits(superseded(id)),
            Outcome::QuotaBelowGranted { round, granted } => Declined::Refused(format!(
                "round {round} of campaign {id} has given serials up to {granted} already: choose a --quota of at \
                 least that"
            )),
            Outcome::RoundHasGrants { round } => Declined::Refused(format!(
                "somebody has won in round {round} of campaign {id} already, so it cannot be removed: choose a later --to"
            )),
        }))
    }

    /// Does what was intended, whether or not it was done before. What comes of it is written, unless it was declined.
    async fn carry_out(&mut self, intention: &Intention) -> Result<Result<String, Declined>> {
        let reason = intention.reason.as_deref();
        match &intention.deed {
            Deed::Change { before, after } => {
                self.change(intention, before.differences(after)).await
            }
            Deed::Pause => self.set_state(intention, Action::Paused).await,
            Deed::Resume => self.set_state(intention, Action::Resumed).await,
            Deed::Close => self.set_state(intention, Action::Closed).await,
            Deed::Revoke { grant } => {
                let revoked = match self.revoke(grant).await? {
                    Ok(passed_on) => passed_on,
                    Err(declined) => return Ok(Err(declined)),
                };
                let text = format!("{}/{grant} is revoked{revoked}", intention.campaign);
                self.end(intention, Some((Action::Revoked, &text))).await?;
                Ok(Ok(text))
            }
            Deed::Replay { entry_id } => {
                // Whether or not it was there: if not, it was put back before the interruption.
                self.gate.readmit(&intention.campaign, entry_id).await?;
                let text = format!("{}/{entry_id} is on the stream again", intention.campaign);
                self.end(intention, Some((Action::Replayed, &text))).await?;
                Ok(Ok(text))
            }
            Deed::Discard {
                letter,
                content,
                grant,
            } => {
                let entry = |action, detail| Entry {
                    action,
                    detail,
                    reason,
                    actor: Some(&intention.actor),
                };
                let (mut returned, mut revoked) = (String::new(), None);
                if let Some(grant) = grant {
                    match self.revoke(grant).await? {
                        Ok(passed_on) => {
                            returned = format!(", {grant} is taken back{passed_on}");
                            revoked = Some(format!(
                                "{}/{grant} is revoked{passed_on}",
                                intention.campaign
                            ));
                        }
                        Err(Declined::Refused(_)) => {
                            returned.push_str(", the gate knows of no such grant");
                        }
                        Err(waits) => return Ok(Err(waits)),
                    }
                }
                let detail = match content {
                    Some(content) => format!("{letter}{returned}: {content}"),
                    None => format!("{letter}{returned}"),
                };
                let mut writes = vec![Write::End(intention)];
                if let Some(revoked) = &revoked {
                    writes.push(Write::Log(entry(Action::Revoked, revoked)));
                }
                writes.push(Write::Log(entry(Action::Discarded, &detail)));
                match letter.parse() {
                    Ok(LetterId::Consumer(id)) => {
                        let note = reason.unwrap_or_default();
                        writes.push(Write::Resolved(id, Resolution::Discarded, note));
                    }
                    Ok(LetterId::Bridge(campaign, entry_id)) => {
                        self.gate.discard(&campaign, &entry_id).await?;
                    }
                    Err(hint) => bail!("{hint}"),
                }
                self.database.write(&intention.campaign, &writes).await?;
                Ok(Ok(format!("discarded{returned}")))
            }
            Deed::Repair => {
                let text = format!(
                    "interrupted; `rushgate audit {} --repair` does what is left",
                    intention.campaign
                );
                self.end(intention, Some((Action::Repaired, &text))).await?;
                Ok(Ok(text))
            }
        }
    }

    async fn change(
        &mut self,
        intention: &Intention,
        detail: String,
    ) -> Result<Result<String, Declined>> {
        let Deed::Change { before, after } = &intention.deed else {
            bail!("{} is no change", intention.deed);
        };
        let wanted = self.campaign.with(after);
        let promoted = match self
            .try_project(&wanted, Origin::Known, wanted.state)
            .await?
        {
            Ok(promoted) => promoted,
            Err(Declined::Refused(why)) => {
                // The gate has not taken it, so the room for it goes again.
                self.campaign = self.campaign.with(before);
                let told = [Write::Told(&self.campaign)];
                self.database.write(&intention.campaign, &told).await?;
                return Ok(Err(Declined::Refused(why)));
            }
            Err(waits) => return Ok(Err(waits)),
        };
        let writes = [
            Write::Told(&wanted),
            Write::End(intention),
            Write::Log(Entry {
                action: Action::Changed,
                detail: &detail,
                reason: intention.reason.as_deref(),
                actor: Some(&intention.actor),
            }),
        ];
        self.database.write(&intention.campaign, &writes).await?;
        self.campaign = wanted;
        Ok(Ok(format!(
            "campaign {} changed: {}{}",
            intention.campaign,
            self.campaign,
            moved_up(promoted)
        )))
    }

    async fn set_state(
        &mut self,
        intention: &Intention,
        action: Action,
    ) -> Result<Result<String, Declined>> {
        let Some(state) = intention.deed.state() else {
            bail!("{} is no change of the state", intention.deed);
        };
        let campaign = self.campaign.clone();
        if let Err(declined) = self.try_project(&campaign, Origin::Known, state).await? {
            return Ok(Err(declined));
        }
        let writes = [
            Write::State(state),
            Write::End(intention),
            Write::Log(Entry {
                action,
                detail: &format!("is {state}"),
                reason: intention.reason.as_deref(),
                actor: Some(&intention.actor),
            }),
        ];
        self.database.write(&intention.campaign, &writes).await?;
        self.campaign.state = state;
        Ok(Ok(format!("campaign {} is {state}", intention.campaign)))
    }

    /// Takes a grant back at the gate, if that has not been done before; what became of its serial.
    async fn revoke(&mut self, grant: &Taken) -> Result<Result<String, Declined>> {
        let id = self.campaign.id.clone();
        let outcome = self
            .gate
            .revoke(&id, &grant.user_id, Some(&grant.round))
            .await?;
        Ok(match outcome {
            revoke::Outcome::Revoked { promoted: None, .. } => {
                Ok(", its serial is free again".to_owned())
            }
            revoke::Outcome::Revoked {
                promoted: Some(next),
                ..
            } => Ok(format!(", its serial is {next}'s now")),
            // Before the interruption. Who has the serial now, the gate has told nobody.
            revoke::Outcome::AlreadyRevoked { revoked_at, .. } => Ok(format!(", at {revoked_at}")),
            revoke::Outcome::NotGranted => Err(Declined::Refused(format!(
                "{grant} is not held at the gate of campaign {id}: `rushgate coupon find {}` shows what there is",
                grant.user_id
            ))),
            revoke::Outcome::Halted => Err(Declined::Waits(halted(&id))),
            revoke::Outcome::UnknownCampaign => Err(Declined::Waits(lost(&id))),
        })
    }

    /// Makes the database say of rounds and rules what the gate says, by which it has granted; and the gate of the state
    /// what the database says, which an operator has decided.
    pub(crate) async fn agree_with_gate(&mut self) -> Result<()> {
        let id = self.campaign.id.clone();
        let Some(told) = self.gate.projection(&id).await? else {
            bail!("{}", lost(&id));
        };
        let campaign = self.campaign.as_told(&told);
        self.database.write(&id, &[Write::Told(&campaign)]).await?;
        self.project(&campaign, Origin::Known, campaign.state)
            .await?;
        self.campaign = campaign;
        Ok(())
    }

    /// Halts the campaign where it is not halted yet: at the gate, or in the database. What to say of it.
    pub(crate) async fn halt_both(&mut self, why: &str) -> Result<String> {
        let campaign = self.campaign.clone();
        let id = &campaign.id;
        if campaign.state != CampaignState::Halted {
            let entry = Entry {
                action: Action::Halted,
                detail: why,
                reason: None,
                actor: Some(&self.actor),
            };
            let halted = [Write::State(CampaignState::Halted), Write::Log(entry)];
            self.database.write(id, &halted).await?;
            self.campaign.state = CampaignState::Halted;
        }
        // A gate that does not know the campaign grants nothing; it is told when the campaign is restored.
        if let Some(told) = self.gate.projection(id).await?
            && told.state != CampaignState::Halted
        {
            let campaign = campaign.with_room_for(&told);
            self.project(&campaign, Origin::Known, CampaignState::Halted)
                .await?;
        }
        Ok(halted(id))
    }

    /// Writes that an intention came to its end, with a line of the log.
    pub(crate) async fn end(
        &self,
        intention: &Intention,
        line: Option<(Action, &str)>,
    ) -> Result<()> {
        let mut writes = vec![Write::End(intention)];
        if let Some((action, detail)) = line {
            writes.push(Write::Log(Entry {
                action,
                detail,
                reason: intention.reason.as_deref(),
                actor: Some(&intention.actor),
            }));
        }
        self.database.write(&intention.campaign, &writes).await
    }

    /// Says that it is not known whether it was done, and what leads out.
    pub(crate) fn unfinished(&self, intention: &Intention, error: anyhow::Error) -> anyhow::Error {
        let id = &intention.campaign;
        error.context(Unknown::new(
            format!("campaign {id}: {}", intention.deed),
            same_again(id),
        ))
    }
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

/// What leads out of every interruption.
fn same_again(id: &CampaignId) -> String {
    format!("Run the same command again, or `rushgate campaign finish {id}`")
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
