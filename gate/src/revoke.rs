//! Revokes a grant. Its serial goes to the first applicant on the waitlist, or to the pool of free serials.

use crate::applicant::Applicant;
use crate::apply::{Grant, instant, revoked_grant};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;

/// See the header of `revoke.lua` for keys, arguments and reply.
pub static SCRIPT: Script<10> = script!(
    "shared/granting.lua",
    "shared/grace_period.lua",
    "shared/promoting.lua",
    "shared/revoking.lua",
    "revoke.lua"
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    Revoked {
        grant: Grant,
        /// The applicant from the waitlist who got a serial, if there was one.
        promoted: Option<Applicant>,
    },
    /// Revoked by an earlier call. Nothing was changed.
    AlreadyRevoked {
        grant: Grant,
        revoked_at: Millis,
    },
    /// A redeemed coupon cannot be revoked. Nothing was changed.
    Redeemed,
    /// The applicant has never held a grant of that round.
    NotGranted,
    /// The campaign is halted. Nothing was changed.
    Halted,
    UnknownCampaign,
}

/// The call that revokes `applicant`'s grant of `round`.
///
/// Without a round: the applicant's grant, or, with one grant per round, that of the round that opened last.
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
/// When `revoke.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<RevokeOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 6)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let revoked_at = reply.integer()?;
    let promoted = reply.text()?;
    match word {
        "revoked" => Ok(RevokeOutcome::Revoked {
            grant: revoked_grant(round, serial, at)?,
            promoted: match promoted {
                "" => None,
                user_id => Some(user_id.parse().map_err(ReplyError::new)?),
            },
        }),
        "already_revoked" => Ok(RevokeOutcome::AlreadyRevoked {
            grant: revoked_grant(round, serial, at)?,
            revoked_at: instant(revoked_at)?,
        }),
        "redeemed" => Ok(RevokeOutcome::Redeemed),
        "not_granted" => Ok(RevokeOutcome::NotGranted),
        "halted" => Ok(RevokeOutcome::Halted),
        "unknown_campaign" => Ok(RevokeOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
