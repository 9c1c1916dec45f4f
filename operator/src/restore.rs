//! `rushgate restore`: rebuilds the gate of a campaign of which Redis has lost grants, and reopens it.
//!
//! Everything on its way is let through first, while nobody is granted anything. Then the gate is told what the
//! database has, and what dead letters, topic and gate know beyond that. It may die anywhere and be run again: until
//! the last step the campaign stays halted.

mod plan;

pub use plan::{Claim, Known, Plan, plan};

use crate::audit::differing_terms;
use crate::config::Config;
use crate::database::{Action, Entry, Letter, LogLine, Resolution, Which, Write};
use crate::gate::superseded;
use crate::intention::Deed;
use crate::kafka::Kafka;
use crate::operation::{BEAT_EVERY, Operation, Reserved};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use crate::waiting::Notes;
use anyhow::{Result, bail, ensure};
use clap::Args;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use rushgate_gate::restore::{Granted, RestoreOutcome, Standing};
use rushgate_gate::{Assignment, CampaignId, CampaignState, Event, EventType, Ordinal, signature};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Shown below the flags.
pub const EXAMPLES: &str = "Examples:
  rushgate restore welcome           after the gate was halted, or Redis lost the campaign altogether
  rushgate restore welcome --halt    after `rushgate audit` found that the gate has lost grants, before it was halted;
                                     or to seat those whose dead letters say serial_taken, after the quota was raised

Bridge and consumer have to be running: what is on its way is let through first. A person whose grant has reached Kafka
keeps that place, or gets another one, or stands in `rushgate failed list` if none is left. Grants that only the lost
Redis knew are gone: those people may apply again. People who waited keep their place as far as Redis still knows it.";

/// How often it is looked whether everything has gone through.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How often the gate is rebuilt because something arrived meanwhile.
const TRIES: usize = 10;

/// Reasons of dead letters that come of two grants which cannot both be true.
const LOST_TO_RIVAL: [&str; 2] = ["serial_taken", "already_holds"];

/// What is to be restored.
#[derive(Args)]
pub struct Restore {
    /// The campaign
    campaign: CampaignId,
    /// Halt it first, if it is not halted
    #[arg(long)]
    halt: bool,
    /// How long to wait for what is on its way, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// Why, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Restore {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, there is nothing to restore, or what is on its way does not arrive.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let begun = Instant::now();
        let id = &self.campaign;
        let mut reserved = Reserved::new(config, id).await?;
        let aside = match self.halt {
            true => reserved.set_odd_keys_aside().await?,
            false => vec![],
        };
        let operation = reserved.take_over().await?;
        let state = state_before(&operation.database.log(id).await?);
        let mut rebuild = Rebuild {
            operation,
            kafka: Kafka::new(config)?,
            deadline: begun + Duration::from_secs(self.wait),
        };
        rebuild.check(self.halt)?;
        let way_out = format!("Run the same command again, or `rushgate restore {id} --halt`");
        let unknown = |error: anyhow::Error| {
            let what = format!("the restore of campaign {id}");
            error.context(Unknown::new(what, way_out.clone()))
        };
        rebuild
            .halt(self.reason.as_deref())
            .await
            .map_err(unknown)?;

        let rebuilt = rebuild.rebuild().await;
        // It was halted at least.
        let (knew, plan) = rebuilt.map_err(unknown)?;
        let text = rebuild.seat(&plan).await.map_err(unknown)?;
        let held = plan
            .granted
            .iter()
            .filter(|granted| is_held(granted))
            .count();
        let taken_back = plan.granted.len() - held;
        let text = format!(
            "the gate knew {knew} of {held} grants that are held and knows all of them again, with {taken_back} that \
             were taken back; {text}"
        );
        let text = [vec![text], aside].concat().join("; ");
        let promoted = rebuild.reopen(state, &text).await.map_err(unknown)?;
        let moved_up = match promoted {
            0 => String::new(),
            people => format!("; {people} who waited moved up"),
        };
        let operation = rebuild.operation;
        Ok(operation.report(&format!(
            "campaign {id} is {} again after {:.1} s: {text}{moved_up}",
            operation.campaign.state,
            begun.elapsed().as_secs_f64()
        )))
    }
}

/// What it was before it was halted, by its log.
fn state_before(log: &[LogLine]) -> CampaignState {
    let mut states = log.iter().filter_map(|line| match line.action.as_str() {
        "created" | "resumed" => Some(CampaignState::Running),
        "paused" => Some(CampaignState::Paused),
        "closed" => Some(CampaignState::Closed),
        _ => None,
    });
    states.next_back().unwrap_or(CampaignState::Paused)
}

fn is_held(granted: &Granted) -> bool {
    !matches!(granted.standing, Standing::Revoked(_))
}

/// A rebuilding that is going on.
struct Rebuild {
    operation: Operation,
    kafka: Kafka,
    deadline: Instant,
}

impl Rebuild {
    /// Whether there is something to restore.
    fn check(&self, even_if_running: bool) -> Result<()> {
        let id = &self.operation.campaign.id;
        ensure!(
            self.operation.campaign.projected || self.operation.is_halted(),
            "the gate was never told of campaign {id}: `rushgate campaign finish {id}` does that"
        );
        ensure!(
            self.operation.told.is_none() || self.operation.is_halted() || even_if_running,
            "campaign {id} is not halted: `rushgate audit {id}` tells whether the gate has lost grants; if so, --halt \
             halts it and restores it"
        );
        Ok(())
    }

    /// Sees to it that nobody is granted anything meanwhile. The database is told first: from then on this command is
    /// what leads out. Where the gate was told of more rounds or higher quotas than the database knows of, these count.
    async fn halt(&mut self, reason: Option<&str>) -> Result<()> {
        let operation = &mut self.operation;
        let before = operation.campaign.clone();
        if let Some(told) = operation.told.as_ref().filter(|told| told.terms.is_some()) {
            // Room for a change that the gate has not taken is not for the gate. Where Redis has lost the terms, nobody
            // knows whether the gate had taken it, and the room stays; also when this is run again, after the gate was
            // told of that room.
            let is_told_all = differing_terms(&before, told).is_empty();
            let intention = operation.database.intention(&before.id).await?;
            let meant = match intention.map(|intention| intention.deed) {
                Some(Deed::Change { before: shape, .. }) if !is_told_all => before.with(&shape),
                _ => before.clone(),
            };
            operation.campaign = meant.with_room_for(told);
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
        // Also if its creation was interrupted: a gate that was halted for it knows it.
        let mut writes = vec![Write::Projected, Write::Told(&campaign)];
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
        // What handlers have remembered of before comes to its end.
        sleep(GRACE_PERIOD).await;
        operation.register().await
    }

    /// Ends the halt; how many people have moved up from waitlists with it. The database is told first: if the gate is
    /// not, it is still halted, and this is run again. What a command had begun before the halt is finished while the gate
    /// is paused, because applicants may have been told of it already.
    async fn reopen(&mut self, state: CampaignState, text: &str) -> Result<u32> {
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
        operation.told = None;
        operation.finish().await?;
        let campaign = operation.campaign.clone();
        operation
            .project(&campaign, Origin::Known, campaign.state)
            .await
    }

    /// Rebuilds the gate, until nothing has arrived meanwhile; how many of the grants it knew, and what it knows.
    async fn rebuild(&mut self) -> Result<(usize, Plan)> {
        let campaign = &self.operation.campaign.clone();
        let (id, one_per, fence) = (&campaign.id, campaign.terms.one_per, self.operation.fence);
        let mut knew = None;
        for _ in 0..TRIES {
            self.drain(id).await?;
            let rows = self.operation.database.granted(id).await?;
            let known = self.known(campaign).await?;
            let (held, _) = self.operation.gate.held(id, one_per).await?;
            let held: BTreeSet<_> = held.into_iter().map(|held| held.assignment).collect();
            let plan = plan(one_per, known);
            let still = plan.granted.iter().filter(|granted| is_held(granted));
            let still = still
                .filter(|granted| held.contains(&plan::place(granted)))
                .count();
            // What it knew before the first attempt.
            let knew = *knew.get_or_insert(still);
            self.operation
                .gate
                .restore(id, one_per, &plan.granted, fence)
                .await?;
            if self.on_the_way(id).await? == (0, 0)
                && self.operation.database.granted(id).await? == rows
            {
                return Ok((knew, plan));
            }
        }
        bail!(
            "grants of campaign {id} keep arriving, though it is halted: is another gate writing to the same topic?"
        )
    }

    /// Lets everything through that is on its way.
    async fn drain(&mut self, id: &CampaignId) -> Result<()> {
        let mut notes = Notes::begin(Some(self.deadline - Instant::now()));
        loop {
            let (in_stream, in_kafka) = self.on_the_way(id).await?;
            if (in_stream, in_kafka) == (0, 0) {
                return Ok(());
            }
            notes.say(&format!(
                "campaign {id}: {in_stream} events are in its stream, which the bridge empties, and {in_kafka} in Kafka, \
                 which the consumer reads"
            ));
            ensure!(
                Instant::now() < self.deadline,
                "{in_stream} events wait in its stream and {in_kafka} in Kafka. Are bridge and consumer running? Run \
                 this again when they are, or with a longer --wait"
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn on_the_way(&mut self, id: &CampaignId) -> Result<(usize, usize)> {
        self.operation.database.beat().await?;
        let in_stream = self.operation.gate.in_stream(id).await?;
        let waiting = self.kafka.waiting(id);
        let in_kafka = self.operation.database.keep(waiting).await?;
        Ok((in_stream, in_kafka))
    }

    async fn known(&mut self, campaign: &Campaign) -> Result<Known> {
        let id = &campaign.id;
        let rows = self.operation.database.granted(id).await?;
        let letters = self.letters(id).await?;
        let mut accounted: BTreeSet<_> = rows.iter().map(plan::place).collect();
        let mut claims = vec![];
        for letter in &letters {
            let Ok(event) = letter.event() else { continue };
            if letter.reason == signature::REASON {
                continue;
            }
            let granted = of_event(&event);
            accounted.insert(plan::place(&granted));
            if letter.resolution.is_none() && event.event_type == EventType::Granted {
                claims.push(Claim {
                    letter: letter.id,
                    lost_to_rival: LOST_TO_RIVAL.contains(&letter.reason.as_str()),
                    granted,
                });
            }
        }
        let events = self.kafka.events(id);
        let events = self.operation.database.keep(events).await?;
        let mut others = BTreeMap::new();
        for (event, _) in &events {
            let granted = of_event(event);
            others.insert(plan::place(&granted), granted);
        }
        // What cannot be read goes when the gate is rebuilt.
        let (held, _) = self.operation.gate.held(id, campaign.terms.one_per).await?;
        let is_revoked = |place: &Assignment| {
            let mut events = events.iter().map(|(event, _)| event);
            events.any(|event| {
                event.event_type == EventType::Revoked && plan::place(&of_event(event)) == *place
            })
        };
        let at_gate: BTreeSet<&Assignment> = held.iter().map(|held| &held.assignment).collect();
        let (overtaken, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| {
            let place = plan::place(row);
            !is_held(row) && at_gate.contains(&place) && !is_revoked(&place)
        });
        for held in held {
            let place = held.assignment.clone();
            others.entry(held.assignment).or_insert(Granted {
                applicant: place.applicant,
                round: place.round,
                serial: place.serial,
                turn: Ordinal::FIRST,
                win: Ordinal::FIRST,
                at: held.at,
                standing: Standing::Held,
            });
        }
        // What was taken back without ever having had a row is nobody's any more.
        for (event, _) in &events {
            if event.event_type == EventType::Revoked {
                others.remove(&plan::place(&of_event(event)));
            }
        }
        let mut others: Vec<Granted> = others
            .into_iter()
            .filter(|(place, _)| !accounted.contains(place))
            .map(|(_, granted)| granted)
            .collect();
        others.sort_by_key(|granted| granted.at);
        claims.sort_by_key(|claim| claim.granted.at);
        let rounds = campaign.rounds.iter();
        Ok(Known {
            rows,
            claims,
            others,
            overtaken,
            quotas: rounds
                .map(|round| (round.id.clone(), round.quota.get()))
                .collect(),
        })
    }

    async fn letters(&self, id: &CampaignId) -> Result<Vec<Letter>> {
        let which = Which {
            campaign: Some(id.clone()),
            resolved: true,
            ..Which::default()
        };
        self.operation.database.letters(&which).await
    }

    /// Gives a place to those who lost theirs, as long as there are any; what to say of it.
    async fn seat(&mut self, plan: &Plan) -> Result<String> {
        let operation = &mut self.operation;
        let (id, fence) = (&operation.campaign.id, operation.fence);
        for (done, place) in plan.resend.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                operation.database.beat().await?;
            }
            let (round, applicant) = (&place.round, &place.applicant);
            operation.gate.resend(id, round, applicant).await?;
        }
        for (letter, place) in &plan.settled {
            let note = format!("the person has, or had, {}/{}", place.round, place.serial);
            let resolved = [Write::Resolved(*letter, Resolution::Discarded, &note)];
            operation.database.write(id, &resolved).await?;
        }
        let (mut seated, mut without) = (0, 0);
        for (done, (letter, round, applicant)) in plan.seat.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                operation.database.beat().await?;
            }
            match operation.gate.seat(id, round, applicant, fence).await? {
                RestoreOutcome::Reassigned(serial) | RestoreOutcome::Holds(serial) => {
                    seated += 1;
                    if let Some(letter) = letter {
                        let note = format!("seated again as {round}/{serial}");
                        let resolved = [Write::Resolved(*letter, Resolution::Replayed, &note)];
                        operation.database.write(id, &resolved).await?;
                    }
                }
                RestoreOutcome::Full => without += 1,
                RestoreOutcome::Superseded => bail!("{}", superseded(id)),
                RestoreOutcome::Done | RestoreOutcome::NotHalted => {
                    bail!("campaign {id} is no longer halted: is somebody else restoring it?")
                }
            }
        }
        Ok(format!(
            "{} sent on again; of those who had lost their place to somebody else {seated} are seated again, {} have a \
             coupon anyway, and {without} found no place left{}",
            plan.resend.len(),
            plan.settled.len(),
            if without > 0 {
                " (`rushgate failed list` has them)"
            } else {
                ""
            }
        ))
    }
}

fn of_event(event: &Event) -> Granted {
    Granted {
        applicant: event.applicant.clone(),
        round: event.round.clone(),
        serial: event.serial,
        turn: event.turn,
        win: event.win,
        at: event.at,
        standing: Standing::Held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reopens_as_it_was_before_it_was_halted() {
        let state = |actions: &[&str]| {
            let lines: Vec<LogLine> = actions
                .iter()
                .map(|action| LogLine {
                    at: String::new(),
                    action: (*action).to_owned(),
                    detail: String::new(),
                    reason: None,
                    actor: None,
                })
                .collect();
            state_before(&lines)
        };
        assert_eq!(
            state(&["created", "changed", "halted"]),
            CampaignState::Running
        );
        assert_eq!(
            state(&["created", "paused", "halted"]),
            CampaignState::Paused
        );
        assert_eq!(
            state(&[
                "created", "paused", "resumed", "halted", "restored", "halted"
            ]),
            CampaignState::Running
        );
        assert_eq!(
            state(&["created", "closed", "revoked", "halted"]),
            CampaignState::Closed
        );
    }
}
