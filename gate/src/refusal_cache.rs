//! Asks the gate which refusal the caller may cache and give to unknown applicants. The reply includes the exclusion
//! list: the applicants to whom the refusal does not apply. The header of `refusal_cache.lua` proves that a cached
//! refusal never denies a winner.

use crate::apply::{Decision, TimedDecision, instant, round_id};
use crate::campaign::{CampaignId, UserIds};
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;
use std::time::Duration;

/// See the header of `refusal_cache.lua` for keys and reply.
pub static SCRIPT: Script<10> = script!(
    hashed,
    "shared/granting.lua",
    "shared/grace_period.lua",
    "refusal_cache.lua"
);

/// The grace period: how long the gate goes on to refuse unknown applicants after a change has made serials available.
/// Every refusal cached before the change has expired by then.
pub const GRACE_PERIOD: Duration = Duration::from_millis(1_000);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheableRefusal {
    /// `SoldOut`, `NotOpen` or `Closed`.
    pub decided: TimedDecision,
    /// By the clock of Redis.
    pub expires_at: Millis,
    /// The user ids that the campaign accepts. Other ones get [`Decision::UserIdNotNumeric`] instead.
    pub user_ids: UserIds,
    excluded: String,
}

impl CacheableRefusal {
    /// How long it may be cached, counted from a time before the gate was asked; at most [`GRACE_PERIOD`].
    pub fn ttl(&self) -> Duration {
        let millis = self.expires_at.get() - self.decided.now.get();
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(GRACE_PERIOD)
    }

    /// The exclusion list: user ids of applicants whom only the gate may answer.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        let entries = self.excluded.split_ascii_whitespace();
        // An entry may have a prefix that ends in a slash; a user id contains none.
        entries.map(|entry| entry.rsplit_once('/').map_or(entry, |(_, user_id)| user_id))
    }
}

pub fn call(campaign: &CampaignId) -> Call {
    SCRIPT.call(Keys::of(campaign).of_grant_scripts(), vec![])
}

/// Decodes the reply; `None` if nothing may be cached.
///
/// # Errors
/// When `refusal_cache.lua` cannot have sent this reply.
pub fn refusal(reply: &[Value]) -> Result<Option<CacheableRefusal>, ReplyError> {
    let mut reply = Reply::of(reply, 7)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let at = reply.integer()?;
    let now = instant(reply.integer()?)?;
    let decision = match word {
        "" => return Ok(None),
        "sold_out" => Decision::SoldOut {
            round: round_id(round)?,
        },
        "not_open" => Decision::NotOpen {
            round: round_id(round)?,
            opens_at: instant(at)?,
        },
        "closed" => Decision::Closed,
        other => return Err(ReplyError::new(format_args!("{other:?} is not a refusal"))),
    };
    Ok(Some(CacheableRefusal {
        decided: TimedDecision { decision, now },
        expires_at: instant(reply.integer()?)?,
        user_ids: UserIds::read(reply.text()?).map_err(ReplyError::new)?,
        excluded: reply.text()?.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_period_is_the_same_in_lua() {
        let line = format!("local GRACE_PERIOD = {}\n", GRACE_PERIOD.as_millis());
        assert!(SCRIPT.source().contains(&line));
    }

    #[test]
    fn a_reply_is_decoded() {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let reply = |word: &str, known: &str| {
            let numbers = [0, 5_000, 5_900].map(Value::Integer);
            let mut reply = vec![text(word), text("once")];
            reply.extend(numbers);
            reply.extend([text("any"), text(known)]);
            reply
        };
        let read = refusal(&reply("sold_out", "7 b@c once/9")).expect("a reply");
        let read = read.expect("a refusal");
        assert_eq!(read.ttl(), Duration::from_millis(900));
        assert_eq!(read.excluded().collect::<Vec<_>>(), ["7", "b@c", "9"]);
        assert_eq!(refusal(&reply("", "")), Ok(None));
        for bad in [reply("granted", ""), reply("closed", "")[..5].to_vec()] {
            assert!(refusal(&bad).is_err(), "{bad:?}");
        }
    }
}
