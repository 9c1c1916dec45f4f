//! The command `rushgate coupon find`. It shows the help desk which grants and coupons an applicant has.

use crate::config::Config;
use crate::output::{CommandOutput, UNKNOWN};
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId};
use std::fmt::Write;

pub(super) const EXAMPLES: &str = "Example:
  rushgate coupon find 42 --campaign welcome";

/// The arguments of `coupon find`.
#[derive(Args)]
pub struct Find {
    /// The applicant
    user_id: Applicant,
    /// Only this campaign; default: all campaigns
    #[arg(long)]
    campaign: Option<CampaignId>,
}

impl Find {
    /// Runs the command and returns the text for the operator.
    ///
    /// # Errors
    /// When there is no such campaign.
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let Self { user_id, campaign } = self;
        let mut servers = Servers::connect(config).await;
        let campaigns = match campaign {
            Some(id) => match servers.campaign(id).await {
                Some(None) => bail!("{}", no_such_campaign(id)),
                _ => vec![id.clone()],
            },
            None => servers.campaigns().await,
        };
        let mut text = String::new();
        for id in campaigns {
            let status = servers
                .gate(
                    &format!("the gate's answer in campaign {id}"),
                    async |gate| gate.application(&id, user_id, None).await,
                )
                .await;
            let rows = servers
                .database(&format!("coupons in campaign {id}"), async |database| {
                    let coupons = database.coupons(&id, user_id).await?;
                    Ok((coupons, database.dead_letters_of(&id, user_id).await?))
                })
                .await;
            // A gate that has lost data also answers "not found", so this case is printed: it is not a certain answer.
            let is_nothing = matches!(status, None | Some(Status::NotFound | Status::UnknownRound));
            let (coupons, dead_letters) = rows.unwrap_or_default();
            if campaign.is_none() && is_nothing && coupons.is_empty() && dead_letters.is_empty() {
                continue;
            }
            let standing = status
                .as_ref()
                .map_or_else(|| UNKNOWN.to_owned(), described);
            writeln!(text, "campaign {id}: {standing}")?;
            for coupon in coupons {
                let (round, serial) = (&coupon.round, coupon.serial);
                writeln!(
                    text,
                    "  coupon {round}/{serial} {}: {}",
                    coupon.state, coupon.history
                )?;
            }
            for dead_letter in dead_letters {
                writeln!(text, "  dead letter {dead_letter}")?;
            }
        }
        if text.is_empty() {
            text.push_str(if servers.missing.is_empty() {
                "no campaign knows this applicant: they never applied, or were refused"
            } else {
                "nothing found in what could be read"
            });
        }
        Ok(CommandOutput {
            text: text.trim_end().to_owned(),
            missing: servers.missing,
            ..CommandOutput::default()
        })
    }
}

/// The gate's answer as text.
pub(super) fn described(status: &Status) -> String {
    match status {
        Status::Granted(grant) => format!(
            "granted {}/{} at {}, on its way to the database",
            grant.round, grant.serial, grant.at
        ),
        Status::Issued { grant, redeemed_at } => {
            let redeemed = redeemed_at.map(|at| format!(", redeemed at {at}"));
            format!(
                "issued {}/{}, granted at {}{}",
                grant.round,
                grant.serial,
                grant.at,
                redeemed.unwrap_or_default()
            )
        }
        Status::Waitlisted(waiting) => format!(
            "waitlisted in round {} at position {} since {}",
            waiting.round, waiting.position, waiting.since
        ),
        Status::Expired { round, since } => {
            format!("waited in round {round} since {since}; the round has closed")
        }
        Status::Revoked { grant, revoked_at } => {
            format!("revoked {}/{} at {revoked_at}", grant.round, grant.serial)
        }
        Status::NotFound | Status::UnknownRound => "they never applied, or were refused".to_owned(),
        Status::Halted => {
            "unknown to the gate: Redis has lost grants of this campaign, and it is halted"
                .to_owned()
        }
        Status::UnknownCampaign => "the gate does not know this campaign".to_owned(),
    }
}
