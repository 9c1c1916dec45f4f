//! Bringing the gate in line with what the database says of a campaign.

use crate::apply::round_id;
use crate::campaign::{CampaignId, CampaignState, OnePer};
use crate::keys::Keys;
use crate::round::{Round, RoundId};
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `project.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/project.lua"));

/// Whether the gate may be told of a campaign that it does not know.
///
/// Serials of a campaign that the gate forgot must not start again at 1, so only a campaign that has
/// never been open may be [`Origin::New`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has never been open.
    New,
    /// It may have granted; the gate must know it.
    Known,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gate agrees with the database now.
    Projected,
    /// The gate has lost the campaign, with its grants.
    UnknownCampaign,
    /// The quota asked for is below what the round has granted.
    QuotaBelowGranted {
        /// The round.
        round: RoundId,
        /// What it has granted.
        granted: u32,
    },
    /// The campaign waits to be restored; nothing was changed.
    Halted,
}

/// The call that projects a campaign with all its rounds.
pub fn call(
    campaign: &CampaignId,
    origin: Origin,
    state: CampaignState,
    one_per: OnePer,
    rounds: &[Round],
) -> Call {
    let keys = Keys::of(campaign);
    let origin = match origin {
        Origin::New => "new",
        Origin::Known => "known",
    };
    let mut args = vec![origin.to_owned(), state.to_string(), one_per.to_string()];
    for round in rounds {
        args.extend([
            round.id.to_string(),
            round.opens_at.map_or(0, i64::from).to_string(),
            round
                .closes_at
                .map_or_else(String::new, |at| at.get().to_string()),
            round.quota.to_string(),
        ]);
    }
    Call {
        script: &SCRIPT,
        keys: vec![keys.campaign(), keys.schedule(), keys.rounds()],
        args,
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `project.lua` gives.
pub fn outcome(reply: &[Value]) -> Result<Outcome, ReplyError> {
    let mut reply = Reply::of(reply, 3)?;
    match reply.text()? {
        "projected" => Ok(Outcome::Projected),
        "unknown_campaign" => Ok(Outcome::UnknownCampaign),
        "halted" => Ok(Outcome::Halted),
        "quota_below_granted" => Ok(Outcome::QuotaBelowGranted {
            round: round_id(reply.text()?)?,
            granted: u32::try_from(reply.integer()?).map_err(ReplyError::new)?,
        }),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
