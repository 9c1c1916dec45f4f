//! Marks a grant as redeemed. From then on it can be neither revoked nor given back.

use crate::apply::instant;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::stored_grants::Assignment;
use crate::time::Millis;

/// See the header of `redeem.lua` for keys, arguments and reply.
pub static SCRIPT: Script<4> = script!(flags "allow-oom", "redeem.lua");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeemOutcome {
    Redeemed {
        redeemed_at: Millis,
    },
    /// Marked by an earlier call. Nothing was changed.
    AlreadyRedeemed {
        redeemed_at: Millis,
    },
    /// The grant was revoked or given back.
    Revoked,
    /// The gate does not know the grant.
    NotGranted,
    /// The campaign is halted. Nothing was changed.
    Halted,
    UnknownCampaign,
}

/// The call that marks exactly this grant.
pub fn call(campaign: &CampaignId, grant: &Assignment) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call(
        [
            keys.campaign(),
            keys.rounds(),
            keys.grants(),
            keys.revoked(),
        ],
        vec![
            grant.round.to_string(),
            grant.serial.to_string(),
            grant.applicant.to_string(),
        ],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `redeem.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<RedeemOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    let word = reply.text()?;
    let at = reply.integer()?;
    match word {
        "redeemed" => Ok(RedeemOutcome::Redeemed {
            redeemed_at: instant(at)?,
        }),
        "already_redeemed" => Ok(RedeemOutcome::AlreadyRedeemed {
            redeemed_at: instant(at)?,
        }),
        "revoked" => Ok(RedeemOutcome::Revoked),
        "not_granted" => Ok(RedeemOutcome::NotGranted),
        "halted" => Ok(RedeemOutcome::Halted),
        "unknown_campaign" => Ok(RedeemOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
