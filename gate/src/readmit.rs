//! Putting a dead letter of the bridge back on the stream.

use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `readmit.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/readmit.lua"));

/// The call that puts the dead letter with that entry id back.
pub fn call(campaign: &CampaignId, entry_id: &str) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![keys.stream(), keys.dead_letters()],
        args: vec![entry_id.to_owned()],
    }
}

/// Reads the script's reply: whether there was such a dead letter.
///
/// # Errors
/// When it is not a reply that `readmit.lua` gives.
pub fn outcome(reply: &[Value]) -> Result<bool, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    match reply.text()? {
        "readmitted" => Ok(true),
        "not_found" => Ok(false),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
