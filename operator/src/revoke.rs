//! The command `rushgate revoke`, which revokes a grant and passes its serial on.

use crate::config::Config;
use crate::intention::{GrantRef, Task};
use crate::operation::{Operation, halted, lost};
use crate::output::quoted;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId, OnePer, RoundId};

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
    /// Runs the command and returns the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no grant to revoke.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let mut operation = Operation::begin(config, &self.campaign).await?;
        let done = self.take_back(&mut operation).await;
        operation.with_report(done)
    }

    async fn take_back(&self, operation: &mut Operation) -> Result<String> {
        let (id, user_id) = (&self.campaign, &self.user_id);
        if let Some(Task::Revoke { grant }) = operation.finished_task()
            && grant.user_id == *user_id
            && self
                .round
                .as_ref()
                .is_none_or(|round| *round == grant.round)
        {
            // The interrupted command was this one. A grant that the applicant has won since is not meant.
            return Ok(String::new());
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
                operation
                    .perform(Task::Revoke { grant }, self.reason.as_deref())
                    .await?
            }
            Status::Revoked { grant, revoked_at } => format!(
                "{id}/{}/{} of {user_id} was revoked already, at {revoked_at}",
                grant.round, grant.serial
            ),
            Status::Waitlisted(_) | Status::Expired { .. } | Status::NotFound => bail!(
                "{user_id} holds no grant of campaign {id}: `rushgate coupon find {}` shows what they have",
                quoted(user_id)
            ),
            Status::Halted => bail!("{}", halted(id)),
            Status::UnknownRound => {
                let round = self.round.as_ref().map_or("", RoundId::as_str);
                bail!(
                    "campaign {id} has no round {round}: choose another --round (`rushgate campaign show {id}`)"
                )
            }
            Status::UnknownCampaign => bail!("{}", lost(id)),
        })
    }
}
