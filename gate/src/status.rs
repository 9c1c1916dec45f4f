//! Reads the status of one applicant: whether the gate has a grant for them, a place on the waitlist or a revocation,
//! or none of these.

use crate::applicant::Applicant;
use crate::apply::{Grant, Waiting, grant, instant, round_id, waiting};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;

/// See the header of `status.lua` for keys, arguments and reply.
pub static SCRIPT: Script<8> = script!("shared/pool_code.lua", "status.lua");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Granted; the coupon is not known to be in the database yet.
    Granted(Grant),
    /// Granted, and the coupon is committed to the database.
    Issued {
        grant: Grant,
        redeemed_at: Option<Millis>,
    },
    Waitlisted(Waiting),
    /// The applicant was on the waitlist of a round that has closed, and the campaign does not promote after that.
    Expired {
        round: RoundId,
        /// When they joined the waitlist.
        since: Millis,
    },
    /// Granted once, and revoked since.
    Revoked {
        grant: Grant,
        revoked_at: Millis,
    },
    /// The applicant has no grant and is not on the waitlist.
    NotFound,
    /// The campaign is halted, and the gate has no grant of the applicant. It may have lost one.
    Halted,
    UnknownRound,
    UnknownCampaign,
}

/// The call for `applicant`'s status in `round`.
///
/// Without a round: the round of the grant, if one grant per campaign is allowed and the applicant holds one;
/// otherwise the round that opened last.
pub fn call(campaign: &CampaignId, applicant: &Applicant, round: Option<&RoundId>) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call(
        [
            keys.campaign(),
            keys.schedule(),
            keys.grants(),
            keys.waitlist(),
            keys.waiting(),
            keys.revoked(),
            keys.rounds(),
            keys.codes(),
        ],
        vec![
            applicant.to_string(),
            round.map_or_else(String::new, RoundId::to_string),
        ],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `status.lua` cannot have sent this reply.
pub fn status(reply: &[Value]) -> Result<Status, ReplyError> {
    let mut reply = Reply::of(reply, 9)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let revoked_at = reply.integer()?;
    let (turn, codes) = (reply.integer()?, reply.text()?);
    let redeemed_at = reply.integer()?;
    let grant = |turn| grant(round, serial, at, turn, codes);
    match word {
        "granted" => Ok(Status::Granted(grant(turn)?)),
        "issued" => Ok(Status::Issued {
            grant: grant(turn)?,
            redeemed_at: match redeemed_at {
                0 => None,
                millis => Some(instant(millis)?),
            },
        }),
        "waitlisted" => Ok(Status::Waitlisted(waiting(round, serial, at)?)),
        "expired" => Ok(Status::Expired {
            round: round_id(round)?,
            since: instant(at)?,
        }),
        "revoked" => Ok(Status::Revoked {
            grant: grant(1)?,
            revoked_at: instant(revoked_at)?,
        }),
        "not_found" => Ok(Status::NotFound),
        "halted" => Ok(Status::Halted),
        "unknown_round" => Ok(Status::UnknownRound),
        "unknown_campaign" => Ok(Status::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not a status"))),
    }
}
