//! Adds the latest event of an applicant in a round to the stream again.

use crate::applicant::Applicant;
use crate::apply::serial;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `resend.lua` for keys, arguments and reply.
pub static SCRIPT: Script<4> = script!("resend.lua");

/// The event that was added to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendOutcome {
    Granted(Serial),
    Revoked(Serial),
    /// None: the gate knows no grant of the applicant in this round.
    Nothing,
}

pub fn call(campaign: &CampaignId, round: &RoundId, applicant: &Applicant) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call(
        [
            keys.campaign(),
            keys.grants(),
            keys.stream(),
            keys.revoked(),
        ],
        vec![
            campaign.to_string(),
            round.to_string(),
            applicant.to_string(),
        ],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `resend.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<ResendOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    let word = reply.text()?;
    let number = reply.integer()?;
    match word {
        "granted" => Ok(ResendOutcome::Granted(serial(number)?)),
        "revoked" => Ok(ResendOutcome::Revoked(serial(number)?)),
        "nothing" => Ok(ResendOutcome::Nothing),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
