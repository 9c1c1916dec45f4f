//! Cancels for the applicant: they leave the waitlist, or give their coupon back. What becomes free is passed on as after
//! a [revocation](crate::revoke).

use crate::applicant::Applicant;
use crate::apply::{Grant, instant, revoked_grant, round_id};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;

/// See the header of `cancel.lua` for keys, arguments and reply.
pub static SCRIPT: Script<10> = script!(
    "shared/granting.lua",
    "shared/grace_period.lua",
    "shared/promoting.lua",
    "shared/revoking.lua",
    "cancel.lua"
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The applicant was on the waitlist, and is no longer.
    Left {
        round: RoundId,
        /// When they had joined it.
        since: Millis,
    },
    /// The applicant gave the coupon back.
    Revoked {
        grant: Grant,
        revoked_at: Millis,
    },
    /// Given back or revoked before. Nothing was changed.
    AlreadyRevoked {
        grant: Grant,
        revoked_at: Millis,
    },
    /// The campaign does not let applicants give their coupon back. Nothing was changed.
    NotAllowed,
    /// A redeemed coupon cannot be given back. Nothing was changed.
    Redeemed,
    /// The applicant has no grant and is not on the waitlist.
    NotFound,
    /// The campaign is halted. Nothing was changed.
    Halted,
    UnknownRound,
    UnknownCampaign,
}

/// The call by which `applicant` cancels in `round`.
///
/// Without a round: the round of the grant, if one grant per campaign is allowed and the applicant holds one;
/// otherwise the round that opened last. Earlier rounds are never touched then, so a call that is repeated cannot cancel
/// something else.
pub fn call(campaign: &CampaignId, applicant: &Applicant, round: Option<&RoundId>) -> Call {
    SCRIPT.call(
        Keys::of(campaign).of_grant_scripts(),
        vec![
            campaign.to_string(),
            applicant.to_string(),
            round.map_or_else(String::new, RoundId::to_string),
        ],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `cancel.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<CancelOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 6)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let revoked_at = reply.integer()?;
    match word {
        "left" => Ok(CancelOutcome::Left {
            round: round_id(round)?,
            since: instant(at)?,
        }),
        "revoked" => Ok(CancelOutcome::Revoked {
            grant: revoked_grant(round, serial, at)?,
            revoked_at: instant(revoked_at)?,
        }),
        "already_revoked" => Ok(CancelOutcome::AlreadyRevoked {
            grant: revoked_grant(round, serial, at)?,
            revoked_at: instant(revoked_at)?,
        }),
        "not_allowed" => Ok(CancelOutcome::NotAllowed),
        "redeemed" => Ok(CancelOutcome::Redeemed),
        "not_found" => Ok(CancelOutcome::NotFound),
        "halted" => Ok(CancelOutcome::Halted),
        "unknown_round" => Ok(CancelOutcome::UnknownRound),
        "unknown_campaign" => Ok(CancelOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
