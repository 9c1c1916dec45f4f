//! Calls `apply.lua`, which decides one application atomically, and parses its reply into a decision.

use crate::applicant::Applicant;
use crate::campaign::CampaignId;
use crate::event::Ordinal;
use crate::key_fingerprint::KeyFingerprint;
use crate::keys::Keys;
use crate::pool_code::PoolCode;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value, script};
use crate::time::Millis;

/// See the header of `apply.lua` for keys, arguments and reply.
pub static SCRIPT: Script<11> = script!(
    hashed,
    "shared/granting.lua",
    "shared/pool_code.lua",
    "apply.lua"
);

/// A serial that an applicant was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub round: RoundId,
    pub serial: Serial,
    /// When it was granted.
    pub at: Millis,
    /// How often the serial has been granted, including this time. It is 1 in a campaign without codes, where only
    /// events need it.
    pub turn: Ordinal,
    pub code: GrantCode,
}

/// Where the code of a grant comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantCode {
    /// The campaign has no codes, or the grant was revoked.
    None,
    /// It is computed with the key of this fingerprint.
    Signed(KeyFingerprint),
    /// It is in the pool of the campaign; `None` if it is not loaded yet.
    Pool(Option<PoolCode>),
}

/// A place on the waitlist of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub round: RoundId,
    /// 1 is the next applicant to be promoted. It never grows.
    pub position: u32,
    pub since: Millis,
}

/// The possible decisions on an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A new grant.
    Granted(Grant),
    /// The applicant holds this grant already.
    AlreadyGranted(Grant),
    /// All coupons of the round are granted. The applicant gets a coupon that is revoked or added later, in the order
    /// of the waitlist.
    Waitlisted(Waiting),
    /// The applicant's grant of this round was revoked. They cannot win this round again.
    Revoked {
        round: RoundId,
    },
    /// All coupons of the round are granted.
    SoldOut {
        round: RoundId,
    },
    /// No round is open; the next one opens at `opens_at`.
    NotOpen {
        round: RoundId,
        opens_at: Millis,
    },
    /// The last round has ended, or the operator has closed the campaign.
    Closed,
    Paused,
    /// Redis has lost grants of the campaign; `rushgate restore` ends this state.
    Halted,
    UnknownCampaign,
    /// The campaign accepts only numeric user ids.
    UserIdNotNumeric,
}

impl Decision {
    /// The name in the API, in logs and in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::AlreadyGranted(_) => "already_granted",
            Self::Waitlisted(_) => "waitlisted",
            Self::Revoked { .. } => "revoked",
            Self::SoldOut { .. } => "sold_out",
            Self::NotOpen { .. } => "not_open",
            Self::Closed => "closed",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::UnknownCampaign => "unknown_campaign",
            Self::UserIdNotNumeric => "user_id_not_numeric",
        }
    }
}

/// A decision and its time by the clock of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedDecision {
    pub decision: Decision,
    pub now: Millis,
}

/// The call for an application of `applicant` to `campaign`.
pub fn call(campaign: &CampaignId, applicant: &Applicant) -> Call {
    SCRIPT.call(
        Keys::of(campaign).of_apply(),
        vec![campaign.as_str().to_owned(), applicant.as_str().to_owned()],
    )
}

/// Reads the script's reply.
///
/// # Errors
/// When `apply.lua` cannot have sent this reply.
pub fn decision(reply: &[Value]) -> Result<TimedDecision, ReplyError> {
    let mut reply = Reply::of(reply, 7)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let (turn, code) = (reply.integer()?, reply.text()?);
    let now = instant(reply.integer()?)?;
    let grant = || grant(round, serial, at, turn, code);
    let decision = match word {
        "granted" => Decision::Granted(grant()?),
        "already_granted" => Decision::AlreadyGranted(grant()?),
        "waitlisted" => Decision::Waitlisted(waiting(round, serial, at)?),
        "revoked" => Decision::Revoked {
            round: round_id(round)?,
        },
        "sold_out" => Decision::SoldOut {
            round: round_id(round)?,
        },
        "not_open" => Decision::NotOpen {
            round: round_id(round)?,
            opens_at: instant(at)?,
        },
        "closed" => Decision::Closed,
        "paused" => Decision::Paused,
        "halted" => Decision::Halted,
        "unknown_campaign" => Decision::UnknownCampaign,
        "user_id_not_numeric" => Decision::UserIdNotNumeric,
        other => {
            return Err(ReplyError::new(format_args!("{other:?} is not a decision")));
        }
    };
    Ok(TimedDecision { decision, now })
}

/// A grant that was revoked.
pub(crate) fn revoked_grant(round: &str, serial: i64, at: i64) -> Result<Grant, ReplyError> {
    grant(round, serial, at, 1, "")
}

pub(crate) fn grant(
    round: &str,
    serial: i64,
    at: i64,
    turn: i64,
    code: &str,
) -> Result<Grant, ReplyError> {
    Ok(Grant {
        round: round_id(round)?,
        serial: Serial::try_from(serial).map_err(ReplyError::new)?,
        at: instant(at)?,
        turn: Ordinal::try_from(count(turn)?).map_err(ReplyError::new)?,
        code: grant_code(code)?,
    })
}

/// The element that `code_in_reply` in `pool_code.lua` describes. An error does not quote a code.
fn grant_code(text: &str) -> Result<GrantCode, ReplyError> {
    let (source, rest) = text.split_once('/').unwrap_or((text, ""));
    match (source, rest) {
        ("", "") => Ok(GrantCode::None),
        ("pool", "") => Ok(GrantCode::Pool(None)),
        ("pool", code) => Ok(GrantCode::Pool(Some(
            code.parse().map_err(ReplyError::new)?,
        ))),
        ("signed", key) => Ok(GrantCode::Signed(key.parse().map_err(ReplyError::new)?)),
        (other, _) => Err(ReplyError::new(format_args!("unknown codes {other:?}"))),
    }
}

pub(crate) fn waiting(round: &str, position: i64, since: i64) -> Result<Waiting, ReplyError> {
    Ok(Waiting {
        round: round_id(round)?,
        position: count(position)?,
        since: instant(since)?,
    })
}

pub(crate) fn count(number: i64) -> Result<u32, ReplyError> {
    u32::try_from(number).map_err(ReplyError::new)
}

pub(crate) fn serial(number: i64) -> Result<Serial, ReplyError> {
    Serial::try_from(number).map_err(ReplyError::new)
}

pub(crate) fn round_id(text: &str) -> Result<RoundId, ReplyError> {
    text.parse().map_err(ReplyError::new)
}

pub(crate) fn instant(millis: i64) -> Result<Millis, ReplyError> {
    Millis::try_from(millis).map_err(ReplyError::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Eval;

    fn reply(word: &str, round: &str, [serial, at, now]: [i64; 3]) -> Vec<Value> {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let number = Value::Integer;
        let codes = text("signed/00c0ffee");
        vec![
            text(word),
            text(round),
            number(serial),
            number(at),
            number(2),
            codes,
            number(now),
        ]
    }

    #[test]
    fn a_reply_is_decoded() {
        let TimedDecision { decision, now } =
            super::decision(&reply("granted", "once", [42, 1_000, 2_000])).expect("a grant");
        assert_eq!(now.get(), 2_000);
        let Decision::Granted(grant) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(
            (grant.round.as_str(), grant.serial.get(), grant.at.get()),
            ("once", 42, 1_000)
        );
        let signed = GrantCode::Signed("00c0ffee".parse().expect("a fingerprint"));
        assert_eq!((grant.turn.get(), grant.code), (2, signed));
    }

    #[test]
    fn a_pool_code_is_told_as_it_was_loaded() {
        let code = |text: &str| grant_code(text);
        assert_eq!(code(""), Ok(GrantCode::None));
        assert_eq!(code("pool"), Ok(GrantCode::Pool(None)));
        let loaded = "a-1/x Y".parse().expect("a code");
        assert_eq!(code("pool/a-1/x Y"), Ok(GrantCode::Pool(Some(loaded))));
        for bad in ["pool/x", "signed", "signed/x", "lent"] {
            assert!(code(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_impossible_reply_is_an_error() {
        for bad in [
            vec![],
            reply("granted", "once", [42, 1, 2])[..6].to_vec(),
            reply("granted", "", [42, 1, 2]),
            reply("granted", "once", [0, 1, 2]),
            reply("granted", "once", [42, -1, 2]),
            reply("won", "once", [42, 1, 2]),
            vec![Value::Other; 7],
        ] {
            assert!(super::decision(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_share_a_hash_tag() {
        let call = call(
            &"welcome".parse().expect("id"),
            &"7".parse().expect("user id"),
        );
        let mut keys = call.arguments(Eval::BySha).skip(2).take(11);
        assert!(keys.all(|key| key.starts_with("rushgate:{welcome}:")));
    }

    #[test]
    fn arguments_that_are_moved_are_the_same() {
        let call = call(
            &"welcome".parse().expect("id"),
            &"7".parse().expect("user id"),
        );
        for eval in [Eval::BySha, Eval::BySource] {
            let moved: Vec<_> = call.clone().into_arguments(eval).collect();
            assert!(call.arguments(eval).eq(moved.iter().map(String::as_str)));
        }
    }
}
