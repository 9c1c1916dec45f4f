//! The command `rushgate coupon show`, which shows the coupon with a code.

use super::gate_status::GateStatus;
use super::history::history;
use super::redeem::{shown, the_coupon};
use crate::config::Config;
use crate::database::{CodedCoupon, Database};
use crate::fields::text_or_null;
use crate::intention::GrantRef;
use crate::output::{CommandOutput, UNKNOWN};
use crate::servers::Servers;
use anyhow::Result;
use clap::Args;
use rushgate_gate::{CampaignId, CanonicalCode, Millis};
use serde::{Serialize, Serializer};
use std::fmt;

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
        let shown = Shown {
            standing: match (&coupon.redemption, coupon.revoked_at) {
                (Some(_), _) => Standing::Redeemed,
                (None, Some(_)) => Standing::Revoked,
                (None, None) if coupon.is_expired => Standing::Expired,
                (None, None) => Standing::NotRedeemed,
            },
            at_gate: status.map(GateStatus),
            coupon,
        };
        Ok(CommandOutput::without(shown, servers.missing))
    }
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    NotRedeemed,
    Redeemed,
    Revoked,
    Expired,
}

/// A coupon, as the database and the gate know it.
struct Shown {
    standing: Standing,
    coupon: CodedCoupon,
    at_gate: Option<GateStatus>,
}

#[derive(Serialize)]
struct Fields<'a> {
    campaign: &'a CampaignId,
    #[serde(flatten)]
    grant: GrantRef,
    state: Standing,
    #[serde(serialize_with = "text_or_null")]
    granted_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    issued_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    revoked_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    redeemed_at: Option<Millis>,
    order_id: Option<&'a str>,
    #[serde(serialize_with = "text_or_null")]
    valid_until: Option<Millis>,
    at_gate: Option<&'a GateStatus>,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let coupon = &self.coupon;
        let redemption = coupon.redemption.as_ref();
        Fields {
            campaign: &coupon.campaign,
            grant: GrantRef::from(&coupon.grant),
            state: self.standing,
            granted_at: coupon.granted_at,
            issued_at: coupon.issued_at,
            revoked_at: coupon.revoked_at,
            redeemed_at: redemption.map(|redemption| redemption.at),
            order_id: redemption.and_then(|redemption| redemption.order.as_deref()),
            valid_until: coupon.valid_until,
            at_gate: self.at_gate.as_ref(),
        }
        .serialize(to)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coupon = &self.coupon;
        let standing = match self.standing {
            Standing::NotRedeemed => "not redeemed",
            Standing::Redeemed => "redeemed",
            Standing::Revoked => "revoked",
            Standing::Expired => "not redeemed, and not valid any more",
        };
        let history = history(&[
            ("granted", coupon.granted_at),
            ("issued", coupon.issued_at),
            ("revoked", coupon.revoked_at),
        ]);
        write!(f, "{}: {standing}\n  {history}", shown(coupon))?;
        if let Some(redemption) = &coupon.redemption {
            write!(f, ", redeemed {}", redemption.at)?;
            if let Some(order) = &redemption.order {
                write!(f, " for order {order}")?;
            }
        }
        if let Some(valid_until) = coupon.valid_until {
            write!(f, "\n  valid until {valid_until}")?;
        }
        f.write_str("\n  gate: ")?;
        match &self.at_gate {
            Some(at_gate) => at_gate.fmt(f),
            None => f.write_str(UNKNOWN),
        }
    }
}
