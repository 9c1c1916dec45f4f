//! `rushgate coupon find`: what the help desk asks.

use crate::campaign::existing;
use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use anyhow::Result;
use clap::Subcommand;
use rushgate_gate::application::Status;
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
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no such campaign.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let Self::Find { user_id, campaign } = self;
        let database = Database::connect(config).await?;
        let mut gate = Gate::connect(config).await?;
        let campaigns = match campaign {
            Some(id) => vec![existing(&database, id).await?.id],
            None => database.campaigns().await?,
        };
        let mut text = String::new();
        for id in campaigns {
            let status = gate.application(&id, user_id, None).await?;
            let coupons = database.coupons(&id, user_id).await?;
            let dead_letters = database.dead_letters_of(&id, user_id).await?;
            let knows = !matches!(status, Status::NotFound | Status::UnknownCampaign);
            if campaign.is_none() && !knows && coupons.is_empty() && dead_letters.is_empty() {
                continue;
            }
            writeln!(text, "campaign {id}: {}", told(&status))?;
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
            text.push_str("no campaign knows that person: never applied, or was refused");
        }
        Ok(text.trim_end().to_owned())
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
        Status::NotFound => "never applied, or was refused".to_owned(),
        Status::UnknownCampaign => "the gate does not know this campaign".to_owned(),
    }
}
