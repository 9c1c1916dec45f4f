//! Bringing the gate in line with what the database says of a campaign.

use crate::apply::{count, round_id};
use crate::campaign::{CampaignId, CampaignState, OnePer, Terms};
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{Round, RoundId};
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `project.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/grace_period.lua"),
    include_str!("lua/project.lua")
));

/// What the gate may take the campaign for.
///
/// Serials of a campaign that the gate forgot must not start again at 1, so only a campaign that has
/// never been open, or is to be halted, may be [`Origin::New`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has never been open.
    New,
    /// It may have granted; the gate must know it.
    Known,
    /// It may have granted, and its grants have just been rebuilt: a halt ends.
    Restored,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectOutcome {
    /// The gate agrees with the database now.
    Projected {
        /// How many people who waited have a place now, because there are more.
        promoted: u32,
    },
    /// The gate has lost the campaign, with its grants.
    UnknownCampaign,
    /// The quota asked for is below what the round has granted.
    QuotaBelowGranted {
        /// The round.
        round: RoundId,
        /// The highest serial that it has given.
        granted: u32,
    },
    /// A round that is no longer listed has given serials.
    RoundHasGrants {
        /// The round.
        round: RoundId,
    },
    /// Somebody has won by another rule, which the campaign keeps; nothing was changed.
    OtherOnePer {
        /// That rule.
        rule: OnePer,
    },
    /// The campaign waits to be restored; nothing was changed.
    Halted,
    /// Somebody with a higher fencing token has changed the campaign since; nothing was changed.
    Superseded,
}

/// The call that projects a campaign with all its rounds; one that is not listed is removed.
pub fn call(
    campaign: &CampaignId,
    origin: Origin,
    state: CampaignState,
    terms: &Terms,
    rounds: &[Round],
    fence: FencingToken,
) -> Call {
    let origin = match origin {
        Origin::New => "new",
        Origin::Known => "known",
        Origin::Restored => "restored",
    };
    let mut args = vec![
        campaign.to_string(),
        origin.to_owned(),
        state.to_string(),
        terms.one_per.to_string(),
        terms.waitlist.to_string(),
        fence.to_string(),
        terms.user_ids.to_string(),
    ];
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
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args,
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `project.lua` gives.
pub fn outcome(reply: &[Value]) -> Result<ProjectOutcome, ReplyError> {
    let mut reply = Reply::of(reply, 3)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let number = reply.integer()?;
    match word {
        "projected" => Ok(ProjectOutcome::Projected {
            promoted: count(number)?,
        }),
        "unknown_campaign" => Ok(ProjectOutcome::UnknownCampaign),
        "halted" => Ok(ProjectOutcome::Halted),
        "superseded" => Ok(ProjectOutcome::Superseded),
        "quota_below_granted" => Ok(ProjectOutcome::QuotaBelowGranted {
            round: round_id(round)?,
            granted: count(number)?,
        }),
        "other_one_per" => Ok(ProjectOutcome::OtherOnePer {
            rule: round.parse().map_err(ReplyError::new)?,
        }),
        "round_has_grants" => Ok(ProjectOutcome::RoundHasGrants {
            round: round_id(round)?,
        }),
        other => Err(ReplyError::new(format_args!("{other:?} is not an outcome"))),
    }
}
