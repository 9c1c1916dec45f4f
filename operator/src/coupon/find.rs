//! The command `rushgate coupon find`. It shows the help desk which grants and coupons an applicant has.

use super::gate_status::GateStatus;
use super::history::history;
use crate::config::Config;
use crate::database::Coupon;
use crate::output::{CommandOutput, UNKNOWN};
use crate::servers::Servers;
use crate::terms::no_such_campaign;
use anyhow::{Result, bail};
use clap::Args;
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId};
use serde::{Serialize, Serializer};
use std::fmt;

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
    /// Runs the command and returns its output.
    ///
    /// # Errors
    /// When there is no such campaign.
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let Self { user_id, campaign } = self;
        let mut servers = Servers::connect(config).await;
        let campaigns = match campaign {
            Some(id) => match servers.campaign(id).await {
                Some(None) => bail!(no_such_campaign(id)),
                _ => vec![id.clone()],
            },
            None => servers.campaigns().await,
        };
        let mut found = vec![];
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
            found.push(Found {
                campaign: id,
                user_id: user_id.clone(),
                at_gate: status.map(GateStatus),
                coupons,
                dead_letters,
            });
        }
        let found = FoundInCampaigns {
            found,
            is_all: servers.missing.is_empty(),
        };
        Ok(CommandOutput::without(found, servers.missing))
    }
}

/// What an applicant has, an item for each campaign that knows them.
struct FoundInCampaigns {
    found: Vec<Found>,
    /// Whether all servers have answered.
    is_all: bool,
}

#[derive(Serialize)]
struct Found {
    campaign: CampaignId,
    user_id: Applicant,
    at_gate: Option<GateStatus>,
    coupons: Vec<Coupon>,
    /// Record key and reason of each.
    dead_letters: Vec<String>,
}

impl Serialize for FoundInCampaigns {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.found.serialize(to)
    }
}

impl fmt::Display for FoundInCampaigns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.found.is_empty() {
            return f.write_str(match self.is_all {
                true => "no campaign knows this applicant: they never applied, or were refused",
                false => "nothing found in what could be read",
            });
        }
        for (number, found) in self.found.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{found}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "campaign {}: ", self.campaign)?;
        match &self.at_gate {
            Some(status) => status.fmt(f)?,
            None => f.write_str(UNKNOWN)?,
        }
        for coupon in &self.coupons {
            let (round, serial, state) = (&coupon.round, coupon.serial, &coupon.state);
            let history = history(&[
                ("granted", coupon.granted_at),
                ("issued", coupon.issued_at),
                ("redeemed", coupon.redeemed_at),
                ("revoked", coupon.revoked_at),
            ]);
            write!(f, "\n  coupon {round}/{serial} {state}: {history}")?;
        }
        for dead_letter in &self.dead_letters {
            write!(f, "\n  dead letter {dead_letter}")?;
        }
        Ok(())
    }
}
