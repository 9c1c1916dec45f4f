//! Putting on the stream again what the gate knows of somebody's grant.

use crate::applicant::Applicant;
use crate::apply::serial;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `resend.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/resend.lua"));

/// What is on the stream again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendOutcome {
    /// That he was granted this serial.
    Granted(Serial),
    /// That this serial was taken back from him.
    Revoked(Serial),
    /// Nothing: the gate knows of no grant.
    Nothing,
}

/// The call that puts what `applicant` won in `round` on the stream again.
pub fn call(campaign: &CampaignId, round: &RoundId, applicant: &Applicant) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![
            keys.campaign(),
            keys.grants(),
            keys.stream(),
            keys.revoked(),
        ],
        args: vec![
            campaign.to_string(),
            round.to_string(),
            applicant.to_string(),
        ],
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `resend.lua` gives.
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
