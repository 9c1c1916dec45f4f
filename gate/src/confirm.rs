//! Tells the gate that coupons are committed to the database, and detects grants that Redis has lost.

use crate::applicant::Applicant;
use crate::apply::count;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `confirm.lua` for keys, arguments and reply.
pub static SCRIPT: Script<4> = script!(flags "allow-oom", "confirm.lua");

/// Maximum number of rows in one call. It keeps the call short, and below the 8,000 values that Lua's `unpack`
/// accepts.
pub const MAX_ROWS: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// The gate knows all grants.
    Confirmed {
        /// Number of grants that this call has marked as issued.
        issued: u32,
    },
    /// Redis has lost acknowledged grants or revocations. The script has halted the campaign.
    Lost {
        /// Number of lost grants and revocations.
        grants: u32,
    },
    /// Redis has lost the whole campaign. The script has halted it.
    UnknownCampaign,
}

/// The row of a grant in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub round: &'a RoundId,
    pub serial: Serial,
    pub applicant: &'a Applicant,
    pub is_revoked: bool,
}

/// The call that confirms `rows`: at least one, at most [`MAX_ROWS`].
pub fn call<'a>(campaign: &CampaignId, rows: impl IntoIterator<Item = Row<'a>>) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call(
        [
            keys.campaign(),
            keys.rounds(),
            keys.grants(),
            keys.revoked(),
        ],
        rows.into_iter()
            .flat_map(|row| {
                let mark = if row.is_revoked { "-" } else { "" };
                [
                    row.round.to_string(),
                    format!("{mark}{}", row.serial),
                    row.applicant.to_string(),
                ]
            })
            .collect(),
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `confirm.lua` cannot have sent this reply.
pub fn outcome(reply: &[Value]) -> Result<ConfirmOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 2)?;
    let word = reply.text()?;
    let number = count(reply.integer()?)?;
    match word {
        "confirmed" => Ok(ConfirmOutcome::Confirmed { issued: number }),
        "lost" => Ok(ConfirmOutcome::Lost { grants: number }),
        "unknown_campaign" => Ok(ConfirmOutcome::UnknownCampaign),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
