//! Reads the overview of a campaign: its state, and the counts of its current round.

use crate::apply::{count, instant, round_id};
use crate::campaign::{CampaignId, CampaignState, OnePer, ShowRemaining, Waitlist};
use crate::keys::Keys;
use crate::round::{Quota, Round, RoundId};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;

/// See the header of `overview.lua` for keys and reply.
pub static SCRIPT: Script<3> = script!("overview.lua");

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    pub state: CampaignState,
    /// The round that opened last, even if it has closed; `None` before the first.
    pub round: Option<RoundOverview>,
    /// The round that opens next, and its opening time.
    pub next: Option<(RoundId, Millis)>,
    pub rules: Rules,
    /// The time of this overview, by the clock of Redis.
    pub now: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoundOverview {
    pub round: Round,
    /// Serials that an applicant holds: 0 to the quota.
    pub granted: u32,
    /// Grants whose coupon is committed to the database.
    pub issued: u32,
    pub waitlisted: u32,
}

/// The rules that an applicant has to know. Those that Redis has lost have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    pub one_per: OnePer,
    pub waitlist: Waitlist,
    pub self_cancel: bool,
    pub show_remaining: ShowRemaining,
}

impl RoundOverview {
    pub fn remaining(&self) -> u32 {
        self.round.quota.get().saturating_sub(self.granted)
    }
}

pub fn call(campaign: &CampaignId) -> Call {
    let keys = Keys::of(campaign);
    SCRIPT.call([keys.campaign(), keys.schedule(), keys.rounds()], vec![])
}

/// Decodes the reply; `None` if the gate does not know the campaign.
///
/// # Errors
/// When `overview.lua` cannot have sent this reply.
pub fn overview(reply: &[Value]) -> Result<Option<Overview>, ReplyError> {
    let mut reply = Reply::of(reply, 15)?;
    let state = reply.text()?;
    if state == "unknown_campaign" {
        return Ok(None);
    }
    let state = state.parse().map_err(ReplyError::new)?;
    let round = reply.text()?;
    let opens_at = reply.integer()?;
    let closes_at = reply.text()?;
    let quota = reply.integer()?;
    let granted = reply.integer()?;
    let issued = reply.integer()?;
    let waitlisted = reply.integer()?;
    let round = match round {
        "" => None,
        id => Some(RoundOverview {
            round: Round {
                id: round_id(id)?,
                opens_at: match opens_at {
                    0 => None,
                    millis => Some(instant(millis)?),
                },
                closes_at: match closes_at {
                    "" => None,
                    millis => Some(instant(millis.parse().map_err(ReplyError::new)?)?),
                },
                quota: Quota::try_from(quota).map_err(ReplyError::new)?,
            },
            granted: count(granted)?,
            issued: count(issued)?,
            waitlisted: count(waitlisted)?,
        }),
    };
    let next = match reply.text()? {
        "" => {
            reply.integer()?;
            None
        }
        id => Some((round_id(id)?, instant(reply.integer()?)?)),
    };
    let rules = Rules {
        one_per: match reply.text()? {
            "" => OnePer::default(),
            word => word.parse().map_err(ReplyError::new)?,
        },
        waitlist: Waitlist::try_from(count(reply.integer()?)?).map_err(ReplyError::new)?,
        self_cancel: reply.text()? == "1",
        show_remaining: ShowRemaining::read(reply.text()?).map_err(ReplyError::new)?,
    };
    Ok(Some(Overview {
        state,
        round,
        next,
        rules,
        now: instant(reply.integer()?)?,
    }))
}
