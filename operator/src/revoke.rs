//! `rushgate revoke`: takes a grant back.

use crate::config::Config;
use crate::intention::{Deed, Taken};
use crate::operation::{Operation, halted, lost};
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId, RoundId};

/// Shown below the flags.
pub const EXAMPLES: &str = "Examples:
  rushgate revoke welcome 42 --reason 'returned at the counter'
  rushgate revoke advent 42 --round 2026-12-06

The serial goes to the head of the waitlist at once. Where nobody waits it goes back to the pool, and a second later to
whoever comes first. The person cannot win that round again.";

/// Whose grant, and why.
#[derive(Args)]
pub struct Revoke {
    /// The campaign
    campaign: CampaignId,
    /// The person
    user_id: Applicant,
    /// The round, where one may win in every round; else the one that opened last
    #[arg(long)]
    round: Option<RoundId>,
    /// Why, for the log of the campaign
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Revoke {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is nothing to take back.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let mut operation = Operation::begin(config, &self.campaign).await?;
        let done = self.take_back(&mut operation).await;
        operation.tell(done)
    }

    async fn take_back(&self, operation: &mut Operation) -> Result<String> {
        let (id, user_id) = (&self.campaign, &self.user_id);
        if let Some(Deed::Revoke { grant }) = operation.finished_deed()
            && grant.user_id == *user_id
            && self
                .round
                .as_ref()
                .is_none_or(|round| *round == grant.round)
        {
            // That was this very command. What the person has won since is not meant.
            return Ok(String::new());
        }
        let status = operation
            .gate
            .application(id, user_id, self.round.as_ref())
            .await?;
        Ok(match status {
            Status::Granted(grant) | Status::Issued(grant) => {
                // From here on the round is certain, whichever opened last when this is finished.
                let grant = Taken::new(grant.round, grant.serial, user_id.clone());
                operation
                    .perform(Deed::Revoke { grant }, self.reason.as_deref())
                    .await?
            }
            Status::Revoked { grant, revoked_at } => format!(
                "{id}/{}/{} of {user_id} was revoked already, at {revoked_at}",
                grant.round, grant.serial
            ),
            Status::Waitlisted(_) | Status::NotFound => bail!(
                "{user_id} holds nothing of campaign {id} that could be taken back: `rushgate coupon find {user_id}` \
                 shows what there is"
            ),
            Status::Halted => bail!("{}", halted(id)),
            Status::UnknownRound => {
                let round = self.round.as_ref().map_or("", RoundId::as_str);
                bail!("campaign {id} has no round {round}: give one that it has to --round")
            }
            Status::UnknownCampaign => bail!("{}", lost(id)),
        })
    }
}
