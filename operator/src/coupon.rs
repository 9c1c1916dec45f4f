//! `rushgate coupon find`: what the help desk asks.

use crate::answer::{Answer, UNKNOWN};
use crate::campaign::no_such;
use crate::config::Config;
use crate::servers::Servers;
use anyhow::{Result, bail};
use clap::Subcommand;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId};
use std::fmt::Write;

/// What can be asked of coupons.
#[derive(Subcommand)]
pub enum CouponCommand {
    /// What a person has: as the gate tells it, and as it stands in the database
    #[command(after_help = "Example:\n  rushgate coupon find 42 --campaign welcome")]
    Find {
        /// The person
        user_id: Applicant,
        /// Only this campaign; else all of them
        #[arg(long)]
        campaign: Option<CampaignId>,
    },
}

impl CouponCommand {
    /// Does it; what the operator is told.
    ///
    /// # Errors
    /// When there is no such campaign.
    pub async fn run(&self, config: &Config) -> Result<Answer> {
        let Self::Find { user_id, campaign } = self;
        let mut servers = Servers::connect(config).await;
        let campaigns = match campaign {
            Some(id) => match servers.campaign(id).await {
                Some(None) => bail!("{}", no_such(id)),
                _ => vec![id.clone()],
            },
            None => servers.campaigns().await,
        };
        let mut text = String::new();
        for id in campaigns {
            let status = servers
                .gate(
                    &format!("what the gate says in campaign {id}"),
                    async |gate| gate.application(&id, user_id, None).await,
                )
                .await;
            let rows = servers
                .database(&format!("coupons in campaign {id}"), async |database| {
                    let coupons = database.coupons(&id, user_id).await?;
                    Ok((coupons, database.dead_letters_of(&id, user_id).await?))
                })
                .await;
            // That a gate which has lost something knows nothing of a person is said: it is no certain answer.
            let is_nothing = matches!(status, None | Some(Status::NotFound | Status::UnknownRound));
            let (coupons, dead_letters) = rows.unwrap_or_default();
            if campaign.is_none() && is_nothing && coupons.is_empty() && dead_letters.is_empty() {
                continue;
            }
            let told = status.as_ref().map_or_else(|| UNKNOWN.to_owned(), told);
            writeln!(text, "campaign {id}: {told}")?;
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
                "no campaign knows that person: never applied, or was refused"
            } else {
                "nothing was found as far as could be looked"
            });
        }
        Ok(Answer {
            text: text.trim_end().to_owned(),
            missing: servers.missing,
            ..Answer::default()
        })
    }
}

/// What the gate says, in words.
fn told(status: &Status) -> String {
    match status {
        Status::Granted(grant) => format!(
            "granted {}/{} at {}, on its way to the database",
            grant.round, grant.serial, grant.at
        ),
        Status::Issued(grant) => {
            format!(
                "issued {}/{}, granted at {}",
                grant.round, grant.serial, grant.at
            )
        }
        Status::Waitlisted(waiting) => format!(
            "waitlisted in round {} at position {} since {}",
            waiting.round, waiting.position, waiting.since
        ),
        Status::Revoked { grant, revoked_at } => {
            format!("revoked {}/{} at {revoked_at}", grant.round, grant.serial)
        }
        Status::NotFound | Status::UnknownRound => "never applied, or was refused".to_owned(),
        Status::Halted => {
            "not known to the gate, which has lost grants of this campaign and is halted".to_owned()
        }
        Status::UnknownCampaign => "the gate does not know this campaign".to_owned(),
    }
}
