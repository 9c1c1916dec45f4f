//! Telling the gate which grants are committed to the database.

use crate::applicant::Applicant;
use crate::apply::count;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `confirm.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/confirm.lua"));

/// The most grants in one call, so that it stays within the 8,000 values that Lua hands on at once and holds up
/// nobody for long.
pub const MAX_ROWS: usize = 1_000;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// The gate knows all of them.
    Confirmed {
        /// How many were not marked as issued before.
        issued: u32,
    },
    /// Redis has lost acknowledged grants or revocations. The campaign is halted now.
    Lost {
        /// How many of these.
        grants: u32,
    },
    /// Redis has lost the whole campaign. It is halted now.
    UnknownCampaign,
}

/// A grant that has its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The round.
    pub round: &'a RoundId,
    /// The serial.
    pub serial: Serial,
    /// To whom it was granted.
    pub applicant: &'a Applicant,
    /// Whether the row says that the grant was taken back since.
    pub is_revoked: bool,
}

/// The call that confirms grants of `campaign`: at least one, at most [`MAX_ROWS`].
pub fn call<'a>(campaign: &CampaignId, rows: impl IntoIterator<Item = Row<'a>>) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![
            keys.campaign(),
            keys.rounds(),
            keys.grants(),
            keys.revoked(),
        ],
        args: rows
            .into_iter()
            .flat_map(|row| {
                let mark = if row.is_revoked { "-" } else { "" };
                [
                    row.round.to_string(),
                    format!("{mark}{}", row.serial),
                    row.applicant.to_string(),
                ]
            })
            .collect(),
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `confirm.lua` gives.
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
