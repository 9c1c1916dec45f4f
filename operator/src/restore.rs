//! `rushgate restore`: rebuilds the gate of a campaign of which Redis has lost grants, and reopens it.
//!
//! Everything on its way is let through first, while nobody is granted anything. Then the gate is told what the
//! database has, and what dead letters, topic and gate know beyond that. It may die anywhere and be run again: until
//! the last step the campaign stays halted.

mod plan;

pub use plan::{Claim, Known, Plan, plan};

use crate::campaign::{existing, project};
use crate::config::Config;
use crate::database::{Action, Database, Letter, LogLine, Resolution, Which};
use crate::gate::Gate;
use crate::kafka::Kafka;
use crate::terms::Campaign;
use anyhow::{Result, bail, ensure};
use clap::Args;
use rushgate_gate::project::Origin;
use rushgate_gate::restore::{Granted, Outcome, Standing};
use rushgate_gate::strangers::SETTLE;
use rushgate_gate::{CampaignId, CampaignState, Event, EventType, Ordinal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Shown below the flags.
pub const EXAMPLES: &str = "Examples:
  rushgate restore welcome           after the gate was halted, or Redis lost the campaign altogether
  rushgate restore welcome --halt    after `rushgate audit` found that the gate has lost grants, before it was halted;
                                     or to seat those whose dead letters say serial_taken, after the quota was raised

Bridge and consumer have to be running: what is on its way is let through first. Everybody whose grant has reached Kafka
keeps his place, or gets another one, or stands in `rushgate failed list` if none is left. What nobody but the lost
Redis knew is gone: those people may apply again. People who waited keep their place as far as Redis still knows it.";

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
        let mut rebuild = Rebuild {
            database: Database::connect(config).await?,
            gate: Gate::connect(config).await?,
            config,
            deadline: begun + Duration::from_secs(self.wait),
        };
        let id = &self.campaign;
        rebuild.database.reserve(id).await?;
        let campaign = existing(&rebuild.database, id).await?;
        let state = state_before(&rebuild.database.log(id).await?);
        rebuild
            .halt(&campaign, self.halt, self.reason.as_deref())
            .await?;

        let (knew, plan) = rebuild.rebuild(&campaign).await?;
        let text = rebuild.seat(&campaign, &plan).await?;
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

        // The database first, then the gate: who dies in between runs this again.
        rebuild
            .database
            .set_state(id, state, Action::Restored, Some(&text))
            .await?;
        rebuild.gate.lift(id).await?;
        let promoted = project(&mut rebuild.gate, &campaign, Origin::Known, state).await?;
        let moved_up = match promoted {
            0 => String::new(),
            people => format!("; {people} who waited moved up"),
        };
        Ok(format!(
            "campaign {id} is {state} again after {:.1} s: {text}{moved_up}",
            begun.elapsed().as_secs_f64()
        ))
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
struct Rebuild<'a> {
    database: Database,
    gate: Gate,
    config: &'a Config,
    deadline: Instant,
}

impl Rebuild<'_> {
    /// Sees to it that nobody is granted anything meanwhile.
    async fn halt(
        &mut self,
        campaign: &Campaign,
        even_if_running: bool,
        reason: Option<&str>,
    ) -> Result<()> {
        let id = &campaign.id;
        ensure!(
            campaign.projected,
            "the gate was never told of campaign {id}: `rushgate campaign create` finishes that"
        );
        let at_gate = self.gate.overview(id).await?.map(|overview| overview.state);
        let is_halted =
            at_gate == Some(CampaignState::Halted) || campaign.state == CampaignState::Halted;
        ensure!(
            at_gate.is_none() || is_halted || even_if_running,
            "campaign {id} is not halted: `rushgate audit {id}` tells whether the gate has lost grants; if so, --halt \
             halts it and restores it"
        );
        // The gate first: from here on nothing is granted.
        project(&mut self.gate, campaign, Origin::New, CampaignState::Halted).await?;
        // What handlers have remembered of before comes to its end.
        sleep(SETTLE).await;
        self.gate.register(id).await?;
        if campaign.state != CampaignState::Halted {
            self.database
                .set_state(
                    id,
                    CampaignState::Halted,
                    Action::Halted,
                    reason.or(Some("to be restored")),
                )
                .await?;
        }
        Ok(())
    }

    /// Rebuilds the gate, until nothing has arrived meanwhile; how many of the grants it knew, and what it knows.
    async fn rebuild(&mut self, campaign: &Campaign) -> Result<(usize, Plan)> {
        let (id, one_per) = (&campaign.id, campaign.terms.one_per);
        let mut knew = None;
        for _ in 0..TRIES {
            self.drain(id).await?;
            let known = self.known(campaign).await?;
            let rows = known.rows.clone();
            let held: BTreeSet<_> = self
                .gate
                .held(id, one_per)
                .await?
                .into_iter()
                .map(|held| held.place)
                .collect();
            let plan = plan(one_per, known);
            let still = plan.granted.iter().filter(|granted| is_held(granted));
            let still = still
                .filter(|granted| held.contains(&plan::place(granted)))
                .count();
            // What it knew before the first attempt.
            let knew = *knew.get_or_insert(still);
            self.gate.restore(id, one_per, &plan.granted).await?;
            if self.on_the_way(id).await? == (0, 0) && self.database.granted(id).await? == rows {
                return Ok((knew, plan));
            }
        }
        bail!(
            "grants of campaign {id} keep arriving, though it is halted: is another gate writing to the same topic?"
        )
    }

    /// Lets everything through that is on its way.
    async fn drain(&mut self, id: &CampaignId) -> Result<()> {
        loop {
            let (in_stream, in_kafka) = self.on_the_way(id).await?;
            if (in_stream, in_kafka) == (0, 0) {
                return Ok(());
            }
            ensure!(
                Instant::now() < self.deadline,
                "campaign {id} stays halted: {in_stream} events wait in its stream and {in_kafka} in Kafka. Are bridge \
                 and consumer running? Run this again when they are, or with a longer --wait"
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn on_the_way(&mut self, id: &CampaignId) -> Result<(usize, usize)> {
        let in_stream = self.gate.in_stream(id).await?;
        let (kafka, id) = (Kafka::new(self.config)?, id.clone());
        let in_kafka = tokio::task::spawn_blocking(move || kafka.waiting(&id)).await??;
        Ok((in_stream, in_kafka))
    }

    async fn known(&mut self, campaign: &Campaign) -> Result<Known> {
        let id = &campaign.id;
        let rows = self.database.granted(id).await?;
        let letters = self.letters(id).await?;
        let mut accounted: BTreeSet<_> = rows.iter().map(plan::place).collect();
        let mut claims = vec![];
        for letter in &letters {
            let Ok(event) = letter.event() else { continue };
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
        let events = {
            let (kafka, id) = (Kafka::new(self.config)?, id.clone());
            tokio::task::spawn_blocking(move || kafka.events(&id)).await??
        };
        let mut others = BTreeMap::new();
        for (event, _) in &events {
            let granted = of_event(event);
            others.insert(plan::place(&granted), granted);
        }
        for held in self.gate.held(id, campaign.terms.one_per).await? {
            let place = held.place.clone();
            others.entry(held.place).or_insert(Granted {
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
        self.database.letters(&which).await
    }

    /// Gives a place to those who lost theirs, as long as there are any; what to say of it.
    async fn seat(&mut self, campaign: &Campaign, plan: &Plan) -> Result<String> {
        let id = &campaign.id;
        for place in &plan.resend {
            self.gate.resend(id, &place.round, &place.applicant).await?;
        }
        for (letter, place) in &plan.settled {
            let note = format!("the person has, or had, {}/{}", place.round, place.serial);
            self.database
                .resolve(*letter, Resolution::Discarded, &note)
                .await?;
        }
        let (mut seated, mut without) = (0, 0);
        for (letter, round, applicant) in &plan.seat {
            match self.gate.seat(id, round, applicant).await? {
                Outcome::Seated(serial) | Outcome::Holds(serial) => {
                    seated += 1;
                    if let Some(letter) = letter {
                        let note = format!("seated again as {round}/{serial}");
                        self.database
                            .resolve(*letter, Resolution::Replayed, &note)
                            .await?;
                    }
                }
                Outcome::Full => without += 1,
                Outcome::Done | Outcome::NotHalted => {
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
