//! The command `rushgate coupon show`, which shows the coupon with a code.

use super::find::described;
use super::redeem::{shown, the_coupon};
use crate::config::Config;
use crate::database::Database;
use crate::output::{CommandOutput, UNKNOWN};
use crate::servers::Servers;
use anyhow::Result;
use clap::Args;
use rushgate_gate::CanonicalCode;
use std::fmt::Write;

pub(super) const EXAMPLES: &str = "Example:
  rushgate coupon show 7K3M-9QZX-2B4W-H8NT";

/// The arguments of `coupon show`.
#[derive(Args)]
pub struct Show {
    /// The code; upper and lower case, spaces and hyphens do not matter
    code: CanonicalCode,
}

impl Show {
    pub(super) async fn run(&self, config: &Config) -> Result<CommandOutput> {
        let database = Database::connect(config).await?;
        let coupon = the_coupon(&database, &self.code).await?;
        let mut servers = Servers::connect(config).await;
        let what = format!("the gate's answer in campaign {}", coupon.campaign);
        let grant = &coupon.grant;
        let status = servers
            .gate(&what, async |gate| {
                gate.application(&coupon.campaign, &grant.applicant, Some(&grant.round))
                    .await
            })
            .await;
        let state = match (&coupon.redemption, coupon.revoked_at) {
            (Some(_), _) => "redeemed",
            (None, Some(_)) => "revoked",
            (None, None) if coupon.is_expired => "not redeemed, and not valid any more",
            (None, None) => "not redeemed",
        };
        let mut text = format!("{}: {state}\n  {}", shown(&coupon), coupon.history);
        if let Some(redemption) = &coupon.redemption {
            write!(text, ", redeemed {}", redemption.at)?;
            if let Some(order) = &redemption.order {
                write!(text, " for order {order}")?;
            }
        }
        if let Some(valid_until) = coupon.valid_until {
            write!(text, "\n  valid until {valid_until}")?;
        }
        let status = status
            .as_ref()
            .map_or_else(|| UNKNOWN.to_owned(), described);
        write!(text, "\n  gate: {status}")?;
        Ok(CommandOutput {
            text,
            missing: servers.missing,
            ..CommandOutput::default()
        })
    }
}
