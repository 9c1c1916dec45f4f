//! Compares the counters of a campaign with what they count: free serials, waiting applicants and revocations. A
//! difference means that Redis has lost a key or a field.

use crate::apply::{count, round_id};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use std::fmt;

/// See the header of `balance.lua` for keys and reply.
pub static SCRIPT: Script<10> = script!("balance.lua");

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Free serials of a round.
    Free(RoundId),
    /// Applicants on the waitlist of a round.
    Waitlisted(RoundId),
    /// Applicants on the waitlists of all rounds.
    Waiting,
    /// Revocations. Reported only if the hash `revoked` is empty although the counter is not 0.
    Revoked,
}

/// A wrong counter: Redis has lost a key or a field, or it was changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Miscount {
    pub of: Counted,
    /// The value of the counter.
    pub counted: u32,
    /// The number actually stored.
    pub found: u32,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counted, found) = (self.counted, self.found);
        match &self.of {
            Counted::Free(round) => write!(
                f,
                "round {round}: the counter of free serials is {counted}, but {found} are stored"
            ),
            Counted::Waitlisted(round) => write!(
                f,
                "round {round}: the counter of waiting applicants is {counted}, but {found} are on the waitlist"
            ),
            Counted::Waiting => write!(
                f,
                "the counters of waiting applicants add up to {counted}, but {found} are stored"
            ),
            Counted::Revoked => write!(
                f,
                "the counter of revocations is {counted}, but {found} are stored"
            ),
        }
    }
}

pub fn call(campaign: &CampaignId) -> Call {
    SCRIPT.call(Keys::of(campaign).of_grant_scripts(), vec![])
}

/// Decodes the reply into the wrong counters; empty if all are right.
///
/// # Errors
/// When `balance.lua` cannot have sent this reply.
pub fn miscounts(reply: &[Value]) -> Result<Vec<Miscount>, ReplyError> {
    const HEAD: usize = 3;
    const ROUND: usize = 5;
    let rounds = reply.len().saturating_sub(HEAD) / ROUND;
    let mut reply = Reply::of(reply, HEAD + ROUND * rounds)?;
    let number = |reply: &mut Reply<'_>| count(reply.integer()?);
    let (revokes, revoked, waiting) = (
        number(&mut reply)?,
        number(&mut reply)?,
        number(&mut reply)?,
    );
    let mut counts = vec![];
    let mut waiting_counted = 0;
    for _ in 0..rounds {
        let round = round_id(reply.text()?)?;
        let (free, pooled) = (number(&mut reply)?, number(&mut reply)?);
        counts.push((Counted::Free(round.clone()), free, pooled));
        let (in_round, waitlisted) = (number(&mut reply)?, number(&mut reply)?);
        counts.push((Counted::Waitlisted(round), in_round, waitlisted));
        waiting_counted += in_round;
    }
    counts.push((Counted::Waiting, waiting_counted, waiting));
    if revoked == 0 {
        counts.push((Counted::Revoked, revokes, revoked));
    }
    let wrong = counts
        .into_iter()
        .filter(|(_, counted, found)| counted != found);
    Ok(wrong
        .map(|(of, counted, found)| Miscount { of, counted, found })
        .collect())
}
