//! Writes the terms of a campaign from the database into the gate. The module [`projection`](crate::projection) reads
//! them back.

use crate::apply::{count, round_id};
use crate::campaign::{CampaignId, CampaignState, OnePer, PromoteUntil, Terms};
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{Round, RoundId};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `project.lua` for keys, arguments and reply.
pub static SCRIPT: Script<10> = script!(
    "shared/granting.lua",
    "shared/grace_period.lua",
    "shared/promoting.lua",
    "project.lua"
);

/// What the caller knows about the campaign.
///
/// If Redis has lost a campaign, its serials must not start again at 1. So only a campaign that has never been open, or
/// that this call halts, may be [`Origin::New`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The gate may not know the campaign, because it has never been open.
    New,
    /// The campaign may have grants, so the gate must know it.
    Known,
    /// The grants have just been rebuilt: the call ends a halt.
    Restored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectOutcome {
    /// The gate has the terms of the database now.
    Projected {
        /// Number of applicants promoted from waitlists, because a quota has grown.
        promoted: u32,
    },
    /// Redis has lost the campaign, with its grants.
    UnknownCampaign,
    /// The new quota is below the highest serial granted in the round.
    QuotaBelowGranted { round: RoundId, granted: u32 },
    /// A round that is not listed any more has granted serials.
    RoundHasGrants { round: RoundId },
    /// The campaign has grants under another one-per rule, which cannot change any more. Nothing was changed.
    OtherOnePer {
        /// The rule of the gate.
        rule: OnePer,
    },
    /// The campaign is halted. Nothing was changed.
    Halted,
    /// A command with a higher fencing token has taken over the campaign. Nothing was changed.
    Superseded,
}

/// The call that writes a campaign with all its rounds. A round that is not in `rounds` is removed.
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
        terms.codes.field(),
        if terms.self_cancel { "1" } else { "" }.to_owned(),
        match terms.promote_until {
            PromoteUntil::Closes => terms.promote_until.to_string(),
            PromoteUntil::Forever => String::new(),
        },
        terms.show_remaining.field().to_owned(),
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
    SCRIPT.call(Keys::of(campaign).of_grant_scripts(), args)
}

/// Reads the script's reply.
///
/// # Errors
/// When `project.lua` cannot have sent this reply.
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
