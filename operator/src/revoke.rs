//! The command `rushgate revoke`, which revokes a grant and passes its serial on.

use crate::config::Config;
use crate::intention::{GrantRef, Task};
use crate::operation::{Done, Operation, Reported, halted, lost};
use crate::output::{CommandOutput, quoted};
use crate::refusal::refuse;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId, OnePer, RoundId};
use serde::Serialize;
use std::fmt;

pub const EXAMPLES: &str = "Examples:
  rushgate revoke welcome 42 --reason 'returned at the counter'
  rushgate revoke advent 42 --round 2026-12-06

The serial goes to the head of the waitlist at once. If the waitlist is empty, the serial returns to the pool, and after a
grace period of one second the next applicant gets it. The applicant cannot win this round again.";

/// The arguments of `revoke`.
#[derive(Args)]
pub struct Revoke {
    /// The campaign
    campaign: CampaignId,
    /// The applicant
    user_id: Applicant,
    /// The round, where one may win in every round; default: the round that opened last
    #[arg(long)]
    round: Option<RoundId>,
    /// The reason, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Revoke {
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no grant to revoke.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let mut operation = Operation::begin(config, &self.campaign).await?;
        let done = self.take_back(&mut operation).await;
        let reported: Reported<Revoked> = operation.with_report(done)?;
        Ok(CommandOutput::of(reported))
    }

    async fn take_back(&self, operation: &mut Operation) -> Result<Revoked> {
        let (id, user_id) = (&self.campaign, &self.user_id);
        if let Some(Task::Revoke { grant }) = operation.finished_task()
            && grant.user_id == *user_id
            && self
                .round
                .as_ref()
                .is_none_or(|round| *round == grant.round)
        {
            // The interrupted command was this one. A grant that the applicant has won since is not meant.
            return Ok(self.revoked(grant.clone(), Done::now("")));
        }
        // Without a round, the gate would also answer with a grant of an earlier round.
        let round = match (&self.round, operation.campaign.terms.one_per) {
            (None, OnePer::Round) => {
                let overview = operation.gate.overview(id).await?;
                let current = overview.and_then(|overview| overview.round);
                current.map(|current| current.round.id)
            }
            (round, _) => round.clone(),
        };
        let status = operation
            .gate
            .application(id, user_id, round.as_ref())
            .await?;
        Ok(match status {
            Status::Granted(grant) | Status::Issued { grant, .. } => {
                // From here on the round is fixed, even if another round has opened when this is finished.
                let grant = GrantRef::new(grant.round, grant.serial, user_id.clone());
                let task = Task::Revoke {
                    grant: grant.clone(),
                };
                let done = operation.perform(task, self.reason.as_deref()).await?;
                self.revoked(grant, done)
            }
            Status::Revoked { grant, revoked_at } => {
                let done = Done::before(format!(
                    "{id}/{}/{} of {user_id} was revoked already, at {revoked_at}",
                    grant.round, grant.serial
                ));
                let grant = GrantRef::new(grant.round, grant.serial, user_id.clone());
                self.revoked(grant, done)
            }
            Status::Waitlisted(_) | Status::Expired { .. } | Status::NotFound => refuse!(
                NoSuchGrant,
                "{user_id} holds no grant of campaign {id}: `rushgate coupon find {}` shows what they have",
                quoted(user_id)
            ),
            Status::Halted => bail!(halted(id)),
            Status::UnknownRound => {
                let round = self.round.as_ref().map_or("", RoundId::as_str);
                refuse!(
                    NoSuchRound,
                    "campaign {id} has no round {round}: choose another --round (`rushgate campaign show {id}`)"
                )
            }
            Status::UnknownCampaign => bail!(lost(id)),
        })
    }

    fn revoked(&self, grant: GrantRef, done: Done) -> Revoked {
        Revoked {
            campaign: self.campaign.clone(),
            grant,
            done,
        }
    }
}

/// A grant that was revoked, now or before.
#[derive(Serialize)]
struct Revoked {
    campaign: CampaignId,
    #[serde(flatten)]
    grant: GrantRef,
    #[serde(flatten)]
    done: Done,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done.fmt(f)
    }
}
