//! What the gate was told of a campaign: the counterpart of [`project`](crate::project).

use crate::apply::{count, instant, round_id};
use crate::campaign::{CampaignId, CampaignState, OnePer, Terms, UserIds, Waitlist};
use crate::fence::FencingToken;
use crate::keys::Keys;
use crate::round::{Quota, Round};
use crate::script::{Call, Reply, ReplyError, Script, Value};

/// `projection.lua`; its header says what it reads and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/projection.lua"));

/// What the gate was told of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Whether it takes applications.
    pub state: CampaignState,
    /// Its rules; `None` if Redis has lost them, and only knows that the campaign is halted.
    pub terms: Option<Terms>,
    /// The highest fencing token that the gate was told.
    pub fence: FencingToken,
    /// Its rounds in the order of their opening, with the highest serial that each has given.
    pub rounds: Vec<(Round, u32)>,
}

/// The call that asks what the gate was told of `campaign`.
pub fn call(campaign: &CampaignId) -> Call {
    let keys = Keys::of(campaign);
    Call {
        script: &SCRIPT,
        keys: vec![keys.campaign(), keys.schedule(), keys.rounds()],
        args: vec![],
    }
}

/// Reads the script's reply; `None` if the gate knows no such campaign.
///
/// # Errors
/// When it is not a reply that `projection.lua` gives.
pub fn projection(reply: &[Value]) -> Result<Option<Projection>, ReplyError> {
    const HEAD: usize = 5;
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
    let terms = match one_per {
        "" => None,
        word => Some(Terms {
            one_per: word.parse::<OnePer>().map_err(ReplyError::new)?,
            waitlist,
            user_ids,
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
        // A round whose quota Redis has lost gives nothing: it is as good as unknown.
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
