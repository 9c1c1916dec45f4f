//! Moves a dead letter of the bridge back to the stream.

use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `readmit.lua` for keys, arguments and reply.
pub static SCRIPT: Script<2> = script!("readmit.lua");

pub fn call(campaign: &CampaignId, entry_id: &str) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call(
        [keys.stream(), keys.dead_letters()],
        vec![entry_id.to_owned()],
    )
}

/// Decodes the reply: whether the dead letter existed.
///
/// # Errors
/// When `readmit.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<bool, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    match reply.text()? {
        "readmitted" => Ok(true),
        "not_found" => Ok(false),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
