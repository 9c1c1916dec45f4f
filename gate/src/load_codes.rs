//! Writes pool codes from the database into the gate.

use crate::apply::count;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::pool_code::PoolCode;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `load_codes.lua` for keys, arguments and reply.
pub static SCRIPT: Script<2> = script!("load_codes.lua");

/// The largest number of codes in one call: at most 64 KB.
pub const MAX_CODES: usize = 1_000;

/// The pool codes of a campaign at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeCounts {
    /// Number of codes.
    pub loaded: u32,
    /// How many codes grants have taken, also codes that are not loaded yet.
    pub taken: u32,
}

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    Done(CodeCounts),
    /// The gate has codes of this length, in characters. Nothing was changed.
    Narrow(usize),
    /// The codes do not follow those that the gate has. Nothing was changed.
    Gap(CodeCounts),
    UnknownCampaign,
}

/// The call that writes codes whose numbers begin with `first`, in cells of `width` characters, to which none of them is
/// too long. Without codes, it only reports.
pub fn call(campaign: &CampaignId, width: usize, first: u32, codes: &[PoolCode]) -> Call {
    let keys = Keys::of(campaign);
    let cells = codes.iter().map(|code| format!("{:width$}", code.as_str()));
    SCRIPT.call(
        [keys.campaign(), keys.codes()],
        vec![width.to_string(), first.to_string(), cells.collect()],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `load_codes.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<LoadOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 3)?;
    let word = reply.text()?;
    let loaded = count(reply.integer()?)?;
    let taken = count(reply.integer()?)?;
    match word {
        "done" => Ok(LoadOutcome::Done(CodeCounts { loaded, taken })),
        "narrow" => Ok(LoadOutcome::Narrow(loaded as usize)),
        "gap" => Ok(LoadOutcome::Gap(CodeCounts { loaded, taken })),
        "unknown_campaign" => Ok(LoadOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
