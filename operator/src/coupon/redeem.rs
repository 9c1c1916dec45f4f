//! The command `rushgate coupon redeem`, which redeems a coupon once.
//!
//! The gate is marked first, then the row. So of redeeming and giving back only one happens, because the gate decides
//! between them; and of two tills only one redeems, because the row decides between them. After an interruption the same
//! command completes what the first one began.

use crate::config::Config;
use crate::database::{CodedCoupon, Database};
use crate::fields::text;
use crate::gate::Gate;
use crate::intention::GrantRef;
use crate::operation::{halted, is_refused, lost};
use crate::refusal::refuse;
use crate::unknown::Unknown;
use anyhow::{Result, anyhow, bail};
use clap::Args;
use rushgate_gate::redeem::RedeemOutcome;
use rushgate_gate::status::Status;
use rushgate_gate::{CampaignId, CanonicalCode, Millis};
use serde::Serialize;
use std::fmt;

pub(super) const EXAMPLES: &str = "Examples:
  rushgate coupon redeem 7K3M-9QZX-2B4W-H8NT --order A-1017
  rushgate coupon redeem 7k3m9qzx2b4wh8nt

A coupon is redeemed once; the second time says when and for which order. With --order, the same command may be run again
at any time: it exits with 0 if the coupon was redeemed for this order.";

/// The arguments of `coupon redeem`.
#[derive(Args)]
pub struct Redeem {
    /// The code; upper and lower case, spaces and hyphens do not matter
    code: CanonicalCode,
    /// What the coupon is redeemed for: 1 to 128 characters
    #[arg(long, value_name = "ID", value_parser = order)]
    order: Option<String>,
}

impl Redeem {
    pub(super) async fn run(&self, config: &Config) -> Result<Redeemed> {
        let database = Database::connect(config).await?;
        let coupon = the_coupon(&database, &self.code).await?;
        if let Some(done) = self.told(&coupon)? {
            return Ok(done);
        }
        let shown = shown(&coupon);
        let mut gate = Gate::connect(config).await?;
        // A redemption that began in time and was interrupted is completed also later.
        if let (true, Some(valid_until)) = (coupon.is_expired, coupon.valid_until)
            && !is_marked(&mut gate, &coupon).await?
        {
            refuse!(
                CouponExpired,
                "{shown} was valid until {valid_until} and cannot be redeemed any more"
            );
        }
        let unknown = |error: anyhow::Error| {
            let way_out = "Run the same command again: it completes the redemption";
            error.context(Unknown::new(format!("redeeming {shown}"), way_out))
        };
        let outcome = gate.redeem(&coupon.campaign, &coupon.grant).await;
        let outcome = outcome.map_err(|error| match is_refused(&error) {
            true => error,
            false => unknown(error),
        })?;
        let at = marked_at(&coupon, outcome)?;
        let order = self.order.as_deref();
        if database
            .redeem(coupon.id, at, order)
            .await
            .map_err(unknown)?
        {
            return Ok(Redeemed::new(&coupon, order, at, true));
        }
        let coupon = the_coupon(&database, &self.code).await.map_err(unknown)?;
        match self.told(&coupon)? {
            Some(done) => Ok(done),
            None => Err(unknown(anyhow!("{shown} was changed meanwhile"))),
        }
    }

    /// What is said about a coupon that was redeemed or revoked before; `None` if it was not.
    fn told(&self, coupon: &CodedCoupon) -> Result<Option<Redeemed>> {
        let shown = shown(coupon);
        if let Some(redemption) = &coupon.redemption {
            let at = redemption.at;
            return match &redemption.order {
                Some(order) if Some(order) == self.order.as_ref() => {
                    Ok(Some(Redeemed::new(coupon, Some(order), at, false)))
                }
                Some(order) => refuse!(
                    CouponRedeemed,
                    "{shown} was redeemed before, at {at} for order {order}"
                ),
                None => refuse!(
                    CouponRedeemed,
                    "{shown} was redeemed before, at {at} without an order"
                ),
            };
        }
        match coupon.revoked_at {
            Some(at) => refuse!(
                CouponRevoked,
                "{shown} was revoked at {at} and cannot be redeemed"
            ),
            None => Ok(None),
        }
    }
}

/// A coupon that is redeemed.
#[derive(Serialize)]
pub(super) struct Redeemed {
    campaign: CampaignId,
    #[serde(flatten)]
    grant: GrantRef,
    order_id: Option<String>,
    #[serde(serialize_with = "text")]
    redeemed_at: Millis,
    /// False if it was redeemed before, for the same order.
    changed: bool,
}

impl Redeemed {
    fn new(coupon: &CodedCoupon, order: Option<&str>, at: Millis, changed: bool) -> Self {
        Self {
            campaign: coupon.campaign.clone(),
            grant: GrantRef::from(&coupon.grant),
            order_id: order.map(str::to_owned),
            redeemed_at: at,
            changed,
        }
    }
}

impl fmt::Display for Redeemed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "coupon {}/{} ", self.campaign, self.grant)?;
        f.write_str(if self.changed { "is" } else { "was" })?;
        f.write_str(" redeemed")?;
        if let Some(order) = &self.order_id {
            write!(f, " for order {order}")?;
        }
        match self.changed {
            true => Ok(()),
            false => write!(f, " already, at {}", self.redeemed_at),
        }
    }
}

/// The coupon with this code.
///
/// # Errors
/// When there is none, or several campaigns have this code.
pub(super) async fn the_coupon(database: &Database, code: &CanonicalCode) -> Result<CodedCoupon> {
    let mut coupons = database.coupons_of_code(code).await?;
    match (coupons.pop(), coupons.len()) {
        (Some(coupon), 0) => Ok(coupon),
        (None, _) => refuse!(
            NoSuchCode,
            "no coupon has this code: check how it is typed. A coupon that was won a moment ago may not be in the \
             database yet (`rushgate coupon find` shows what an applicant has)"
        ),
        (Some(_), others) => bail!("{} coupons have this code", others + 1),
    }
}

/// The coupon in words.
pub(super) fn shown(coupon: &CodedCoupon) -> String {
    let grant = &coupon.grant;
    format!(
        "coupon {}/{}/{} of {}",
        coupon.campaign, grant.round, grant.serial, grant.applicant
    )
}

/// Whether the gate has marked the coupon as redeemed.
async fn is_marked(gate: &mut Gate, coupon: &CodedCoupon) -> Result<bool> {
    let (applicant, round) = (&coupon.grant.applicant, &coupon.grant.round);
    let status = gate.application(&coupon.campaign, applicant, Some(round));
    Ok(matches!(
        status.await?,
        Status::Issued { grant, redeemed_at: Some(_) } if grant.serial == coupon.grant.serial
    ))
}

/// When the gate has marked the coupon as redeemed, by this command or by an earlier one.
fn marked_at(coupon: &CodedCoupon, outcome: RedeemOutcome) -> Result<Millis> {
    let id = &coupon.campaign;
    match outcome {
        RedeemOutcome::Redeemed { redeemed_at }
        | RedeemOutcome::AlreadyRedeemed { redeemed_at } => Ok(redeemed_at),
        RedeemOutcome::Revoked => refuse!(
            CouponRevoked,
            "{} was revoked or given back a moment ago and cannot be redeemed",
            shown(coupon)
        ),
        RedeemOutcome::NotGranted => refuse!(
            NoSuchGrant,
            "the gate does not know {}: `rushgate audit {id}` shows what is wrong",
            shown(coupon)
        ),
        RedeemOutcome::Halted => bail!(halted(id)),
        RedeemOutcome::UnknownCampaign => bail!(lost(id)),
    }
}

fn order(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        1..=128 if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err("must have 1 to 128 characters".to_owned()),
    }
}
