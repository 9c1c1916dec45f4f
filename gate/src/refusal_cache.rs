//! What all those are told of whom the gate knows nothing, and who is known.

use crate::apply::{Decision, TimedDecision, instant, round_id};
use crate::campaign::{CampaignId, UserIds};
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;
use std::time::Duration;

/// `refusal_cache.lua`; its header says what it reads and answers, and why that may be repeated.
pub static SCRIPT: Script = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/grace_period.lua"),
    include_str!("lua/refusal_cache.lua")
));

/// For how long after a change that gives strangers a place the gate refuses them as before; no refusal is repeated
/// for longer.
pub const GRACE_PERIOD: Duration = Duration::from_millis(1_000);

/// Why strangers are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheableRefusal {
    /// What each of them is told: sold out, not open or closed.
    pub decided: TimedDecision,
    /// When it must not be repeated any more.
    pub expires_at: Millis,
    /// Which user ids the campaign takes; others are told that instead.
    pub user_ids: UserIds,
    excluded: String,
}

impl CacheableRefusal {
    /// For how long it may be repeated, counted from when the gate gave it; less than [`GRACE_PERIOD`].
    pub fn ttl(&self) -> Duration {
        let millis = self.expires_at.get() - self.decided.now.get();
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(GRACE_PERIOD)
    }

    /// The user ids of all who are no strangers, and have to ask the gate.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        let entries = self.excluded.split_ascii_whitespace();
        // A user id has no slash in it.
        entries.map(|entry| entry.rsplit_once('/').map_or(entry, |(_, user_id)| user_id))
    }
}

/// The call that asks what strangers are told who apply to `campaign`.
pub fn call(campaign: &CampaignId) -> Call {
    Call {
        script: &SCRIPT,
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args: vec![],
    }
}

/// Reads the script's reply; `None` if there is nothing that may be repeated.
///
/// # Errors
/// When it is not a reply that `refusal_cache.lua` gives.
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
    fn lua_settles_for_as_long() {
        let settle = format!("local GRACE_PERIOD = {}\n", GRACE_PERIOD.as_millis());
        assert!(SCRIPT.source().contains(&settle));
    }

    #[test]
    fn reads_what_the_script_answers() {
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
