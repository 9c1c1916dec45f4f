//! Reads the terms of a campaign from the gate, as [`project`](crate::project) wrote them.

use crate::apply::{count, instant, round_id};
use crate::campaign::{
    CampaignId, CampaignState, Codes, OnePer, PromoteUntil, ShowRemaining, Terms, UserIds, Waitlist,
};
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{Quota, Round};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};

/// See the header of `projection.lua` for keys and reply.
pub static SCRIPT: Script<3> = script!("projection.lua");

/// The terms that the gate has of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    pub state: CampaignState,
    /// `None` if Redis has lost the rules and knows only that the campaign is halted.
    pub terms: Option<Terms>,
    /// The highest fencing token that the gate has seen.
    pub fence: FencingToken,
    /// The rounds in the order of opening, each with the highest serial granted.
    pub rounds: Vec<(Round, u32)>,
}

pub fn call(campaign: &CampaignId) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call([keys.campaign(), keys.schedule(), keys.rounds()], vec![])
}

/// Decodes the reply; `None` if the gate does not know the campaign.
///
/// # Errors
/// When `projection.lua` cannot have sent this reply.
pub fn projection(reply: &[Value]) -> Result<Option<Projection>, ReplyError> {
    const HEAD: usize = 9;
    const ROUND: usize = 5;
    let rounds = reply.len().saturating_sub(HEAD) / ROUND;
    let mut reply = Reply::of(reply, HEAD + ROUND * rounds)?;
    let state = reply.text()?;
    if state == "unknown_campaign" {
        return Ok(None);
    }
    let state = state.parse().map_err(ReplyError::new)?;
    let one_per = reply.text()?;
    let waitlist = Waitlist::try_from(count(reply.integer()?)?).map_err(ReplyError::new)?;
    let fence = u64::try_from(reply.integer()?).map_err(ReplyError::new)?;
    let user_ids = UserIds::read(reply.text()?).map_err(ReplyError::new)?;
    let codes = Codes::read(reply.text()?).map_err(ReplyError::new)?;
    let self_cancel = reply.text()? == "1";
    let promote_until = match reply.text()? {
        "" => PromoteUntil::Forever,
        word => word.parse().map_err(ReplyError::new)?,
    };
    let show_remaining = ShowRemaining::read(reply.text()?).map_err(ReplyError::new)?;
    let terms = match one_per {
        "" => None,
        word => Some(Terms {
            one_per: word.parse::<OnePer>().map_err(ReplyError::new)?,
            waitlist,
            user_ids,
            codes,
            self_cancel,
            promote_until,
            show_remaining,
        }),
    };
    let mut read = || -> Result<Option<(Round, u32)>, ReplyError> {
        let id = round_id(reply.text()?)?;
        let opens_at = match reply.integer()? {
            0 => None,
            millis => Some(instant(millis)?),
        };
        let closes_at = match reply.text()? {
            "" => None,
            millis => Some(instant(millis.parse().map_err(ReplyError::new)?)?),
        };
        let quota = reply.integer()?;
        let granted = count(reply.integer()?)?;
        // Without its quota, which Redis has lost, the round cannot grant: the same as an unknown round.
        let quota = match quota {
            0 => return Ok(None),
            quota => Quota::try_from(quota).map_err(ReplyError::new)?,
        };
        let round = Round {
            id,
            opens_at,
            closes_at,
            quota,
        };
        Ok(Some((round, granted)))
    };
    let rounds: Result<_, ReplyError> = (0..rounds).filter_map(|_| read().transpose()).collect();
    Ok(Some(Projection {
        state,
        terms,
        fence: fence.into(),
        rounds: rounds?,
    }))
}
