//! The command `rushgate restore`: it rebuilds the gate of a campaign whose grants Redis has lost, and reopens the
//! campaign.
//!
//! The command halts the campaign, and waits until all events on their way have reached the database. Then it rebuilds
//! the gate from the rows, the dead letters, the topic, and what the gate still knows. It may be interrupted at any
//! point and run again: the campaign stays halted until the last step.

mod plan;

pub use plan::{Entitlement, Known, Plan, plan};

use crate::audit::differing_terms;
use crate::config::Config;
use crate::database::{Action, Entry, FailedEvent, FailedEventFilter, LogLine, Resolution, Write};
use crate::gate::superseded;
use crate::intention::Task;
use crate::kafka::Kafka;
use crate::operation::{BEAT_EVERY, Operation, Reserved};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use crate::waiting::{Notes, wait};
use anyhow::{Result, bail, ensure};
use clap::Args;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use rushgate_gate::restore::{Granted, RestoreOutcome, Standing};
use rushgate_gate::{Assignment, CampaignId, CampaignState, Event, EventType, Ordinal, signature};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::time::sleep;

pub const EXAMPLES: &str = "Examples:
  rushgate restore welcome           after the campaign was halted, or Redis lost it completely
  rushgate restore welcome --halt    after `rushgate audit` found lost grants in a campaign that still runs; or after you
                                     raised the quota, to give another serial to applicants with a dead letter
                                     serial_taken

Bridge and consumer must be running: events on their way reach the database first. An applicant whose grant has reached
Kafka keeps the serial or gets another one; if none is left, `rushgate failed list` shows them. Grants that were only in
the lost Redis are gone: these applicants may apply again. The waitlist is kept as far as Redis still has it.";

/// Interval between two checks whether all events have arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Attempts to rebuild, if more events arrive meanwhile.
const TRIES: usize = 10;

/// Reasons of dead letters that were caused by another grant of the same serial or to the same applicant.
const LOST_TO_RIVAL: [&str; 2] = ["serial_taken", "already_holds"];

/// The arguments of `restore`.
#[derive(Args)]
pub struct Restore {
    /// The campaign
    campaign: CampaignId,
    /// Halt the campaign first, if it is not halted
    #[arg(long)]
    halt: bool,
    /// How long to wait for events on their way to the database
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = wait())]
    wait: Duration,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Restore {
    /// Runs the command and returns the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, there is nothing to restore, or events on their way do not arrive.
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
            deadline: begun + self.wait,
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
        // From here on the campaign is halted at least.
        let (knew, plan) = rebuilt.map_err(unknown)?;
        let text = rebuild.reassign(&plan).await.map_err(unknown)?;
        let held = plan
            .granted
            .iter()
            .filter(|granted| is_held(granted))
            .count();
        let taken_back = plan.granted.len() - held;
        let text = format!(
            "the gate had {knew} of {held} held grants and has all of them again, and {taken_back} revoked ones; \
             {text}"
        );
        let text = [vec![text], aside].concat().join("; ");
        let promoted = rebuild.reopen(state, &text).await.map_err(unknown)?;
        let moved_up = match promoted {
            0 => String::new(),
            people => format!("; {people} from the waitlist got a coupon"),
        };
        let operation = rebuild.operation;
        Ok(operation.report(&format!(
            "campaign {id} is {} again after {:.1} s: {text}{moved_up}",
            operation.campaign.state,
            begun.elapsed().as_secs_f64()
        )))
    }
}

/// The state before the halt, from the log.
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

/// A restore in progress.
struct Rebuild {
    operation: Operation,
    kafka: Kafka,
    deadline: Instant,
}

impl Rebuild {
    /// Fails if there is nothing to restore.
    fn check(&self, even_if_running: bool) -> Result<()> {
        let id = &self.operation.campaign.id;
        ensure!(
            self.operation.campaign.projected || self.operation.is_halted(),
            "campaign {id} was never projected into the gate: run `rushgate campaign finish {id}`"
        );
        ensure!(
            self.operation.at_gate.is_none() || self.operation.is_halted() || even_if_running,
            "campaign {id} is not halted: `rushgate audit {id}` shows whether the gate has lost grants; if so, --halt \
             halts the campaign and restores it"
        );
        Ok(())
    }

    /// Halts the campaign, so that nothing is granted meanwhile. The database is written first: from then on, running
    /// this command again is the way out. Rounds and quotas beyond the database's that the gate has are taken from the
    /// gate.
    async fn halt(&mut self, reason: Option<&str>) -> Result<()> {
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
        operation.at_gate = None;
        operation.finish().await?;
        let campaign = operation.campaign.clone();
        operation
            .project(&campaign, Origin::Known, campaign.state)
            .await
    }

    /// Rebuilds the gate until no event has arrived meanwhile; returns how many of the grants the gate knew, and the
    /// plan.
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
            // Counted before the first attempt.
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
            "events of campaign {id} keep arriving although it is halted: is another gate writing to the same topic?"
        )
    }

    /// Waits until all events on their way have arrived.
    async fn drain(&mut self, id: &CampaignId) -> Result<()> {
        let mut notes = Notes::begin(Some(self.deadline - Instant::now()));
        loop {
            let (in_stream, in_kafka) = self.on_the_way(id).await?;
            if (in_stream, in_kafka) == (0, 0) {
                return Ok(());
            }
            notes.say(&format!(
                "campaign {id}: {in_stream} events wait in the stream for the bridge, and {in_kafka} in Kafka for the \
                 consumer"
            ));
            ensure!(
                Instant::now() < self.deadline,
                "{in_stream} events wait in the stream and {in_kafka} in Kafka. Are bridge and consumer running? Run \
                 this command again when they are, or with a longer --wait"
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
        let failed_events = self.failed_events(id).await?;
        let mut accounted: BTreeSet<_> = rows.iter().map(plan::place).collect();
        let mut entitlements = vec![];
        for failed_event in &failed_events {
            let Ok(event) = failed_event.event() else {
                continue;
            };
            if failed_event.reason == signature::REASON {
                continue;
            }
            let granted = of_event(&event);
            accounted.insert(plan::place(&granted));
            if failed_event.resolution.is_none() && event.event_type == EventType::Granted {
                entitlements.push(Entitlement {
                    failed_event: failed_event.id,
                    lost_to_rival: LOST_TO_RIVAL.contains(&failed_event.reason.as_str()),
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
        // Entries that cannot be parsed are dropped by the rebuild.
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
        // A grant that was revoked before it had a row belongs to no applicant.
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
        entitlements.sort_by_key(|entitlement| entitlement.granted.at);
        let rounds = campaign.rounds.iter();
        Ok(Known {
            rows,
            entitlements,
            others,
            overtaken,
            quotas: rounds
                .map(|round| (round.id.clone(), round.quota.get()))
                .collect(),
        })
    }

    async fn failed_events(&self, id: &CampaignId) -> Result<Vec<FailedEvent>> {
        let which = FailedEventFilter {
            campaign: Some(id.clone()),
            resolved: true,
            ..FailedEventFilter::default()
        };
        self.operation.database.failed_events(&which).await
    }

    /// Gives another serial to applicants who lost theirs, while serials are left; returns a summary.
    async fn reassign(&mut self, plan: &Plan) -> Result<String> {
        let operation = &mut self.operation;
        let (id, fence) = (&operation.campaign.id, operation.fence);
        for (done, place) in plan.resend.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                operation.database.beat().await?;
            }
            let (round, applicant) = (&place.round, &place.applicant);
            operation.gate.resend(id, round, applicant).await?;
        }
        for (failed_event, place) in &plan.resolved {
            let note = format!(
                "the applicant has, or had, {}/{}",
                place.round, place.serial
            );
            let resolved = [Write::Resolved(*failed_event, Resolution::Discarded, &note)];
            operation.database.write(id, &resolved).await?;
        }
        let (mut reassigned, mut without) = (0, 0);
        for (done, (failed_event, round, applicant)) in plan.reassign.iter().enumerate() {
            if done % BEAT_EVERY == 0 {
                operation.database.beat().await?;
            }
            match operation.gate.reassign(id, round, applicant, fence).await? {
                RestoreOutcome::Reassigned(serial) | RestoreOutcome::Holds(serial) => {
                    reassigned += 1;
                    if let Some(failed_event) = failed_event {
                        let note = format!("reassigned as {round}/{serial}");
                        let resolved =
                            [Write::Resolved(*failed_event, Resolution::Replayed, &note)];
                        operation.database.write(id, &resolved).await?;
                    }
                }
                RestoreOutcome::Full => without += 1,
                RestoreOutcome::Superseded => bail!("{}", superseded(id)),
                RestoreOutcome::Done | RestoreOutcome::NotHalted => {
                    bail!("campaign {id} is no longer halted: is another command restoring it?")
                }
            }
        }
        Ok(format!(
            "{} put back on the stream; of the applicants who had lost their serial to another grant, {reassigned} \
             were reassigned another one, {} have a coupon anyway, and for {without} no serial was left{}",
            plan.resend.len(),
            plan.resolved.len(),
            if without > 0 {
                " (see `rushgate failed list`)"
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
