//! Taking a grant back.

use crate::applicant::Applicant;
use crate::apply::{Grant, grant, instant};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;

/// `revoke.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/grace_period.lua"),
    include_str!("lua/revoke.lua")
));

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// The grant was taken back just now.
    Revoked {
        /// What had been won.
        grant: Grant,
        /// Who has the serial now, if somebody waited.
        promoted: Option<Applicant>,
    },
    /// It had been taken back before; nothing was changed.
    AlreadyRevoked {
        /// What had been won.
        grant: Grant,
        /// When it was taken back.
        revoked_at: Millis,
    },
    /// Nobody of that name holds, or held, a grant of that round.
    NotGranted,
    /// The campaign waits to be restored; nothing was changed.
    Halted,
    /// The gate knows no such campaign.
    UnknownCampaign,
}

/// The call that takes back `applicant`'s grant of `round`; without a round, the one that he holds, or (where
/// one may win in every round) that of the round that opened last.
pub fn call(campaign: &CampaignId, applicant: &Applicant, round: Option<&RoundId>) -> Call {
    Call {
        script: &SCRIPT,
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args: vec![
            campaign.to_string(),
            applicant.to_string(),
            round.map_or_else(String::new, RoundId::to_string),
        ],
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `revoke.lua` gives.
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
            grant: grant(round, serial, at)?,
            promoted: match promoted {
                "" => None,
                user_id => Some(user_id.parse().map_err(ReplyError::new)?),
            },
        }),
        "already_revoked" => Ok(RevokeOutcome::AlreadyRevoked {
            grant: grant(round, serial, at)?,
            revoked_at: instant(revoked_at)?,
        }),
        "not_granted" => Ok(RevokeOutcome::NotGranted),
        "halted" => Ok(RevokeOutcome::Halted),
        "unknown_campaign" => Ok(RevokeOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
