//! Whether the gate counts what is there: free serials, people who wait, revocations.

use crate::apply::{count, round_id};
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::RoundId;
use crate::script::{Call, Reply, ReplyError, Script, Value};
use std::fmt;

/// `balance.lua`; its header says what it reads and answers.
pub static SCRIPT: Script = Script::new(include_str!("lua/balance.lua"));

/// What a count is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Serials of a round that are free to be given again.
    Free(RoundId),
    /// People on the waitlist of a round.
    Waitlisted(RoundId),
    /// People who have a place on the waitlist of some round.
    Waiting,
    /// Grants that were taken back. Of these there is nothing at all, or nothing is wrong.
    Revoked,
}

/// A count that is not right: Redis has lost a key or a field, or somebody has changed it by hand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Miscount {
    /// Of what.
    pub of: Counted,
    /// How many are counted.
    pub counted: u32,
    /// How many there are.
    pub found: u32,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counted, found) = (self.counted, self.found);
        match &self.of {
            Counted::Free(round) => write!(
                f,
                "the gate counts {counted} free serials in round {round} and has {found}"
            ),
            Counted::Waitlisted(round) => write!(
                f,
                "the gate counts {counted} people on the waitlist of round {round} and has {found}"
            ),
            Counted::Waiting => write!(
                f,
                "the gate counts {counted} people on all waitlists and has the places of {found}"
            ),
            Counted::Revoked => write!(f, "the gate counts {counted} revocations and has {found}"),
        }
    }
}

/// The call that asks for the counts of `campaign`.
pub fn call(campaign: &CampaignId) -> Call {
    Call {
        script: &SCRIPT,
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args: vec![],
    }
}

/// Reads the script's reply: every count that is not right.
///
/// # Errors
/// When it is not a reply that `balance.lua` gives.
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
