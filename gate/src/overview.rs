//! How a campaign stands.

use crate::apply::{count, instant, round_id};
use crate::campaign::{CampaignId, CampaignState};
use crate::keys::Keys;
use crate::round::{Quota, Round, RoundId};
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;

/// `overview.lua`; its header says what it reads and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/overview.lua"));

/// How a campaign stands at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Whether it takes applications.
    pub state: CampaignState,
    /// The round that opened last, whether or not it has closed; `None` before the first.
    pub round: Option<RoundOverview>,
    /// The round that opens next, and when.
    pub next: Option<(RoundId, Millis)>,
    /// The instant of all this, by the clock of Redis.
    pub now: Millis,
}

/// How a round stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoundOverview {
    /// Its window and quota.
    pub round: Round,
    /// Grants that are held: 0 to the quota.
    pub granted: u32,
    /// Of these, how many are committed to the database.
    pub issued: u32,
    /// People on the waitlist.
    pub waitlisted: u32,
}

impl RoundOverview {
    /// Coupons left.
    pub fn remaining(&self) -> u32 {
        self.round.quota.get().saturating_sub(self.granted)
    }
}

/// The call that asks how `campaign` stands.
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
/// When it is not a reply that `overview.lua` gives.
pub fn overview(reply: &[Value]) -> Result<Option<Overview>, ReplyError> {
    let mut reply = Reply::of(reply, 11)?;
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
    Ok(Some(Overview {
        state,
        round,
        next,
        now: instant(reply.integer()?)?,
    }))
}
