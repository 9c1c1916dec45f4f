//! Asks the gate which refusal the caller may cache and give to unknown applicants. The reply says to whom the refusal does
//! not apply: in the exclusion list, or in a filter if that would be too long. The header of `refusal_cache.lua` proves that a
//! cached refusal never denies a winner.

use crate::applicant::Applicant;
use crate::apply::{Decision, TimedDecision, instant, round_id};
use crate::campaign::{CampaignId, UserIds};
use crate::keys::Keys;
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use std::time::Duration;

/// See the header of `refusal_cache.lua` for keys and reply.
pub static SCRIPT: Script<11> = script!(
    hashed,
    "shared/granting.lua",
    "shared/grace_period.lua",
    "shared/filter.lua",
    "refusal_cache.lua"
);

/// The grace period: how long the gate goes on to refuse unknown applicants after a change has made serials available.
/// Every refusal cached before the change has expired by then.
pub const GRACE_PERIOD: Duration = Duration::from_millis(1_000);

/// What may be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// `None` if nothing may be cached.
    pub refusal: Option<CacheableRefusal>,
    /// How long that holds, counted from a time before the gate was asked; at most [`GRACE_PERIOD`].
    pub ttl: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheableRefusal {
    /// `SoldOut`, `NotOpen` or `Closed`.
    pub decided: TimedDecision,
    /// The user ids that the campaign accepts. Other ones get [`Decision::UserIdNotNumeric`] instead.
    pub user_ids: UserIds,
    pub excluded: Excluded,
}

/// The applicants to whom a refusal does not apply: only the gate may answer them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excluded {
    List(ExclusionList),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExclusionList(String);

impl ExclusionList {
    pub fn user_ids(&self) -> impl Iterator<Item = &str> {
        let entries = self.0.split_ascii_whitespace();
        // An entry may have a prefix that ends in a slash; a user id contains none.
        entries.map(|entry| entry.rsplit_once('/').map_or(entry, |(_, user_id)| user_id))
    }
}

/// A Bloom filter of user ids. `filter.lua` builds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// Whether the applicant is excluded: `true` for all who are, and for about one in a hundred others.
    pub fn contains(&self, applicant: &Applicant) -> bool {
        let bits = self.0.len() * 8;
        let digest = sha1_smol::Sha1::from(applicant.as_str()).digest().bytes();
        let (words, _) = digest.as_chunks::<4>();
        let is_set = |word: &[u8; 4]| {
            let bit = (u32::from_be_bytes(*word) as usize).checked_rem(bits)?;
            // Redis counts the bits of a byte from the highest.
            Some(self.0.get(bit / 8)? & (0x80 >> (bit % 8)) != 0)
        };
        words
            .iter()
            .take(BITS_OF_APPLICANT)
            .all(|word| is_set(word).unwrap_or(true))
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

const BITS_OF_APPLICANT: usize = 4;

pub fn call(campaign: &CampaignId) -> Call {
    SCRIPT.call(Keys::of(campaign).of_refusal_cache(), vec![])
}

/// Decodes the reply.
///
/// # Errors
/// When `refusal_cache.lua` cannot have sent this reply.
pub fn cacheable(reply: &[Value]) -> Result<Cacheable, ReplyError> {
    let mut reply = Reply::of(reply, 8)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let at = reply.integer()?;
    let now = instant(reply.integer()?)?;
    let expires_at = instant(reply.integer()?)?;
    let millis = expires_at.get() - now.get();
    let ttl = Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(GRACE_PERIOD);
    let decision = match word {
        "" => return Ok(Cacheable { refusal: None, ttl }),
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
    let user_ids = UserIds::read(reply.text()?).map_err(ReplyError::new)?;
    let list = reply.text()?.to_owned();
    let excluded = match reply.bytes()? {
        [] => Excluded::List(ExclusionList(list)),
        filter => Excluded::Filter(Filter(filter.to_vec())),
    };
    let refusal = CacheableRefusal {
        decided: TimedDecision { decision, now },
        user_ids,
        excluded,
    };
    Ok(Cacheable {
        refusal: Some(refusal),
        ttl,
    })
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
    fn an_applicant_has_as_many_bits_as_in_lua() {
        let line = format!("local BITS_OF_APPLICANT = {BITS_OF_APPLICANT}\n");
        assert!(SCRIPT.source().contains(&line));
    }

    #[test]
    fn a_reply_is_decoded() {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let reply = |word: &str, known: &str, filter: &[u8]| {
            let numbers = [0, 5_000, 5_900].map(Value::Integer);
            let mut reply = vec![text(word), text("once")];
            reply.extend(numbers);
            reply.extend([text("any"), text(known), Value::Bytes(filter.to_vec())]);
            reply
        };
        let excluded = |reply: &[Value]| {
            let read = cacheable(reply).expect("a reply");
            assert_eq!(read.ttl, Duration::from_millis(900));
            read.refusal.map(|refusal| refusal.excluded)
        };
        let list = excluded(&reply("sold_out", "7 b@c once/9", &[]));
        let Some(Excluded::List(list)) = list else {
            panic!("{list:?}");
        };
        assert_eq!(list.user_ids().collect::<Vec<_>>(), ["7", "b@c", "9"]);
        let filter = excluded(&reply("sold_out", "", &[0xff, 0]));
        assert_eq!(filter, Some(Excluded::Filter(Filter(vec![0xff, 0]))));
        assert_eq!(excluded(&reply("", "", &[])), None);
        for bad in [
            reply("granted", "", &[]),
            reply("closed", "", &[])[..5].to_vec(),
        ] {
            assert!(cacheable(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_applicant_matches_a_filter_if_all_bits_are_set() {
        // The SHA-1 of "42" begins with 92cfceb3 9d57d914 ed8b14d0 e37643de.
        let applicant: Applicant = "42".parse().expect("a user id");
        let bits = [0x92cf_ceb3_u32, 0x9d57_d914, 0xed8b_14d0, 0xe376_43de];
        let mut bytes = vec![0; 1_000];
        for bit in bits.map(|word| word as usize % 8_000) {
            assert!(!Filter(bytes.clone()).contains(&applicant));
            bytes[bit / 8] |= 0x80 >> (bit % 8);
        }
        assert!(Filter(bytes).contains(&applicant));
        assert!(Filter(vec![]).contains(&applicant), "nothing rules it out");
    }
}
