//! Rebuilds the gate of a halted campaign, after all events on their way have reached the database.

use super::known::known;
use super::plan::{Plan, is_held, plan};
use crate::database::{Resolution, Write};
use crate::gate::superseded;
use crate::kafka::Kafka;
use crate::operation::{BEAT_EVERY, Operation};
use crate::waiting::Notes;
use anyhow::{Result, bail, ensure};
use rushgate_gate::CampaignId;
use rushgate_gate::restore::RestoreOutcome;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Interval between two checks whether all events have arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Attempts to rebuild, if more events arrive meanwhile.
const TRIES: usize = 10;

/// A restore in progress.
pub(super) struct Rebuild {
    pub(super) operation: Operation,
    pub(super) kafka: Kafka,
    pub(super) deadline: Instant,
    /// How many pool codes are not given after the last one that is known to be taken.
    pub(super) skip_codes: u32,
}

impl Rebuild {
    /// Rebuilds the gate until no event has arrived meanwhile; returns how many of the grants the gate knew, and the
    /// plan.
    pub(super) async fn rebuild(&mut self) -> Result<(usize, Plan)> {
        let campaign = &self.operation.campaign.clone();
        let (id, one_per, fence) = (&campaign.id, campaign.terms.one_per, self.operation.fence);
        let mut knew = None;
        for _ in 0..TRIES {
            self.drain(id).await?;
            let rows = self.operation.database.granted(id).await?;
            let known = known(&mut self.operation, &self.kafka, campaign).await?;
            let (held, _) = self.operation.gate.held(id, one_per).await?;
            let held: BTreeSet<_> = held.into_iter().map(|held| held.assignment).collect();
            let plan = plan(one_per, known);
            let still = plan.granted.iter().filter(|granted| is_held(granted));
            let still = still
                .filter(|granted| held.contains(&granted.assignment()))
                .count();
            // Counted before the first attempt.
            let knew = *knew.get_or_insert(still);
            self.operation
                .gate
                .restore(
                    id,
                    one_per,
                    &plan.granted,
                    plan.codes_taken.saturating_add(self.skip_codes),
                    fence,
                )
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

    /// Gives another serial to applicants who lost theirs, while serials are left.
    pub(super) async fn reassign(&mut self, plan: &Plan) -> Result<Reassigned> {
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
                RestoreOutcome::Superseded => bail!(superseded(id)),
                RestoreOutcome::Done | RestoreOutcome::NotHalted => {
                    bail!("campaign {id} is no longer halted: is another command restoring it?")
                }
            }
        }
        Ok(Reassigned {
            resent: plan.resend.len(),
            reassigned,
            have_coupon: plan.resolved.len(),
            without_serial: without,
        })
    }
}

/// What became of grants that had not reached the database, and of applicants who had lost their serial to another grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reassigned {
    /// Events put back on the stream.
    resent: usize,
    /// Applicants who got another serial.
    reassigned: usize,
    /// Applicants who have a coupon anyway.
    have_coupon: usize,
    /// Applicants for whom no serial was left.
    without_serial: usize,
}

impl fmt::Display for Reassigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} put back on the stream; of the applicants who had lost their serial to another grant, {} were \
             reassigned another one, {} have a coupon anyway, and for {} no serial was left",
            self.resent, self.reassigned, self.have_coupon, self.without_serial
        )?;
        match self.without_serial {
            0 => Ok(()),
            _ => f.write_str(" (see `rushgate failed list`)"),
        }
    }
}
