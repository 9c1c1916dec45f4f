//! The command `rushgate restore`: it rebuilds the gate of a campaign whose grants Redis has lost, and reopens the
//! campaign.
//!
//! The command halts the campaign, and waits until all events on their way have reached the database. Then it rebuilds
//! the gate from the rows, the dead letters, the topic, and what the gate still knows. It may be interrupted at any
//! point and run again: the campaign stays halted until the last step.

mod halt;
mod known;
mod plan;
mod rebuild;

pub use plan::{Entitlement, Known, Plan, plan};

use crate::codes::copy;
use crate::config::Config;
use crate::database::LogLine;
use crate::fields::text;
use crate::kafka::Kafka;
use crate::operation::{Operation, Reported, Reserved, moved_up};
use crate::output::CommandOutput;
use crate::unknown::Unknown;
use crate::waiting::wait;
use anyhow::Result;
use clap::Args;
use plan::is_held;
use rebuild::{Reassigned, Rebuild};
use rushgate_gate::{CampaignId, CampaignState, Codes};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

pub const EXAMPLES: &str = "Examples:
  rushgate restore welcome           after the campaign was halted, or Redis lost it completely
  rushgate restore welcome --halt    after `rushgate audit` found lost grants in a campaign that still runs; or after you
                                     raised the quota, to give another serial to applicants with a dead letter
                                     serial_taken

Bridge and consumer must be running: events on their way reach the database first. An applicant whose grant has reached
Kafka keeps the serial or gets another one; if none is left, `rushgate failed list` shows them. Grants that were only in
the lost Redis are gone: these applicants may apply again. The waitlist is kept as far as Redis still has it.";

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
    /// With pool codes: do not give this many codes after the last one that is known to be taken, because their winners
    /// may have seen them
    #[arg(long, value_name = "CODES", default_value_t = 0)]
    skip_codes: u32,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Restore {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, there is nothing to restore, or events on their way do not arrive.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
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
            skip_codes: self.skip_codes,
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
        if rebuild.operation.campaign.terms.codes == Codes::Pool {
            let Operation { database, gate, .. } = &mut rebuild.operation;
            copy(database, gate, id, true).await.map_err(unknown)?;
        }
        let reassigned = rebuild.reassign(&plan).await.map_err(unknown)?;
        let held = plan
            .granted
            .iter()
            .filter(|granted| is_held(granted))
            .count();
        let rebuilt = Rebuilt {
            known_before: knew,
            held,
            revoked: plan.granted.len() - held,
            reassigned,
            set_aside: aside,
        };
        let promoted = rebuild.reopen(state, &rebuilt.to_string()).await;
        let promoted = promoted.map_err(unknown)?;
        let operation = rebuild.operation;
        let reported: Reported<Restored> = operation.with_report(Ok(Restored {
            campaign: id.clone(),
            state: operation.campaign.state,
            seconds: begun.elapsed().as_secs_f64(),
            rebuilt,
            promoted,
        }))?;
        Ok(CommandOutput::of(reported))
    }
}

/// A campaign whose gate was rebuilt.
#[derive(Serialize)]
struct Restored {
    campaign: CampaignId,
    #[serde(serialize_with = "text")]
    state: CampaignState,
    seconds: f64,
    #[serde(flatten)]
    rebuilt: Rebuilt,
    /// Applicants who moved up from the waitlists.
    promoted: u32,
}

/// The grants of a gate that was rebuilt.
#[derive(Serialize)]
struct Rebuilt {
    /// Held grants that the gate knew before.
    known_before: usize,
    held: usize,
    revoked: usize,
    #[serde(flatten)]
    reassigned: Reassigned,
    /// Keys of a wrong type that were renamed.
    set_aside: Vec<String>,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the gate had {} of {} held grants and has all of them again, and {} revoked ones; {}",
            self.known_before, self.held, self.revoked, self.reassigned
        )?;
        self.set_aside
            .iter()
            .try_for_each(|aside| write!(f, "; {aside}"))
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "campaign {} is {} again after {:.1} s: {}{}",
            self.campaign,
            self.state,
            self.seconds,
            self.rebuilt,
            moved_up(self.promoted)
        )
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
