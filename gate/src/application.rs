//! What became of an application.

use crate::applicant::Applicant;
use crate::apply::{Grant, grant};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `application.lua`; its header says what it reads and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/application.lua"));

/// What became of somebody's application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It won.
    Granted(Grant),
    /// Nobody of that name has won.
    NotFound,
    /// The gate knows no such campaign.
    UnknownCampaign,
}

/// The call that asks for `applicant`'s application to `campaign`.
pub fn call(campaign: &CampaignId, applicant: &Applicant) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![keys.campaign(), keys.schedule(), keys.grants()],
        args: vec![applicant.to_string()],
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `application.lua` gives.
pub fn status(reply: &[Value]) -> Result<Status, ReplyError> {
    let mut reply = Reply::of(reply, 5)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    match word {
        "granted" => Ok(Status::Granted(grant(round, serial, at)?)),
        "not_found" => Ok(Status::NotFound),
        "unknown_campaign" => Ok(Status::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not a status"))),
    }
}
