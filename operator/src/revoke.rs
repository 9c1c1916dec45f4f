//! `rushgate revoke`: takes a grant back.

use crate::campaign::{existing, halted};
use crate::config::Config;
use crate::database::{Action, Database};
use crate::gate::Gate;
use anyhow::{Context, Result, bail};
use clap::Args;
use rushgate_gate::revoke::Outcome;
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
        let (id, user_id) = (&self.campaign, &self.user_id);
        let database = Database::connect(config).await?;
        let mut gate = Gate::connect(config).await?;
        existing(&database, id).await?;
        match gate.revoke(id, user_id, self.round.as_ref()).await? {
            Outcome::Revoked { grant, promoted } => {
                let passed_on = promoted.map_or_else(
                    || "its serial is free again".to_owned(),
                    |next| format!("its serial is {next}'s now"),
                );
                let text = format!(
                    "{id}/{}/{} of {user_id} is revoked, {passed_on}",
                    grant.round, grant.serial
                );
                let reason = self.reason.as_deref();
                database
                    .note(id, Action::Revoked, &text, reason)
                    .await
                    .context(format!("{text}; but it could not be logged"))?;
                Ok(text)
            }
            Outcome::AlreadyRevoked { grant, revoked_at } => Ok(format!(
                "{id}/{}/{} of {user_id} was revoked already, at {revoked_at}",
                grant.round, grant.serial
            )),
            Outcome::NotGranted => bail!(
                "{user_id} holds nothing of campaign {id} that could be taken back: `rushgate coupon find {user_id}` \
                 shows what there is"
            ),
            Outcome::Halted => bail!("{}", halted(id)),
            Outcome::UnknownCampaign => bail!(
                "the database knows campaign {id}, the gate does not: Redis has lost it, or `rushgate campaign create` \
                 was never finished"
            ),
        }
    }
}
