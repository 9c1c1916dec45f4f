//! What became of an application.

use crate::applicant::Applicant;
use crate::apply::{Grant, Waiting, grant, instant, waiting};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;

/// `status.lua`; its header says what it reads and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/status.lua"));

/// What became of somebody's application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It won; the coupon is on its way to the database.
    Granted(Grant),
    /// It won, and the coupon is committed.
    Issued(Grant),
    /// It waits.
    Waitlisted(Waiting),
    /// It had won, and the grant was taken back.
    Revoked {
        /// What it had won.
        grant: Grant,
        /// When that was taken back.
        revoked_at: Millis,
    },
    /// Nobody of that name has won or waits.
    NotFound,
    /// The gate has lost grants, and knows of none of that applicant just now.
    Halted,
    /// The campaign has no round of the name that was asked for.
    UnknownRound,
    /// The gate knows no such campaign.
    UnknownCampaign,
}

/// The call that asks for `applicant`'s application to `campaign`, in `round`.
///
/// Without a round it is about the one that was won, where one may win once in the whole campaign, and else
/// about the round that opened last.
pub fn call(campaign: &CampaignId, applicant: &Applicant, round: Option<&RoundId>) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![
            keys.campaign(),
            keys.schedule(),
            keys.grants(),
            keys.waitlist(),
            keys.waiting(),
            keys.revoked(),
        ],
        args: vec![
            applicant.to_string(),
            round.map_or_else(String::new, RoundId::to_string),
        ],
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `status.lua` gives.
pub fn status(reply: &[Value]) -> Result<Status, ReplyError> {
    let mut reply = Reply::of(reply, 6)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let revoked_at = reply.integer()?;
    match word {
        "granted" => Ok(Status::Granted(grant(round, serial, at)?)),
        "issued" => Ok(Status::Issued(grant(round, serial, at)?)),
        "waitlisted" => Ok(Status::Waitlisted(waiting(round, serial, at)?)),
        "revoked" => Ok(Status::Revoked {
            grant: grant(round, serial, at)?,
            revoked_at: instant(revoked_at)?,
        }),
        "not_found" => Ok(Status::NotFound),
        "halted" => Ok(Status::Halted),
        "unknown_round" => Ok(Status::UnknownRound),
        "unknown_campaign" => Ok(Status::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not a status"))),
    }
}
