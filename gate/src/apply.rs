//! The atomic decision over one application.

use crate::applicant::Applicant;
use crate::campaign::CampaignId;
use crate::keys::Keys;
use crate::round::{RoundId, Serial};
use crate::script::{Call, Reply, ReplyError, Script, Value};
use crate::time::Millis;

/// `apply.lua`; its header says what it reads, writes and answers.
pub static SCRIPT: Script = Script::new(concat!(
    include_str!("lua/grant.lua"),
    include_str!("lua/apply.lua")
));

/// A won place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The round it was won in.
    pub round: RoundId,
    /// The place: 1 to the round's quota.
    pub serial: Serial,
    /// When it was won.
    pub at: Millis,
}

/// A place on the waitlist of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The round.
    pub round: RoundId,
    /// How many people are before the applicant, and himself: 1 is next. It never grows.
    pub position: u32,
    /// Since when.
    pub since: Millis,
}

/// What the gate says to an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The applicant has just won.
    Granted(Grant),
    /// The applicant had won before; the same grant again.
    AlreadyGranted(Grant),
    /// Every coupon of the round is given; the applicant gets the next one that is revoked, if it is his turn.
    Waitlisted(Waiting),
    /// The applicant's coupon of this round was taken back; he cannot win it again.
    Revoked {
        /// The round.
        round: RoundId,
    },
    /// Every coupon of the round is given.
    SoldOut {
        /// The round that is sold out.
        round: RoundId,
    },
    /// A round is to come.
    NotOpen {
        /// The round that opens next.
        round: RoundId,
        /// When it opens.
        opens_at: Millis,
    },
    /// The last round is over, or the operator has closed the campaign.
    Closed,
    /// The operator has paused the campaign.
    Paused,
    /// The gate has lost grants and waits to be restored.
    Halted,
    /// The gate knows no such campaign.
    UnknownCampaign,
    /// The campaign takes numbers for user ids alone, and this is none.
    UserIdNotNumeric,
}

impl Decision {
    /// The word for it in the API, in logs and in metrics.
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

/// A decision and the instant at which Redis took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedDecision {
    /// What was decided.
    pub decision: Decision,
    /// When.
    pub now: Millis,
}

/// The call that decides over `applicant`'s application to `campaign`.
pub fn call(campaign: &CampaignId, applicant: &Applicant) -> Call {
    Call {
        script: &SCRIPT,
        keys: Keys::of(campaign).of_grant_scripts().into(),
        args: vec![campaign.to_string(), applicant.to_string()],
    }
}

/// Reads the script's reply.
///
/// # Errors
/// When it is not a reply that `apply.lua` gives.
pub fn decision(reply: &[Value]) -> Result<TimedDecision, ReplyError> {
    let mut reply = Reply::of(reply, 5)?;
    let word = reply.text()?;
    let round = reply.text()?;
    let serial = reply.integer()?;
    let at = reply.integer()?;
    let now = instant(reply.integer()?)?;
    let decision = match word {
        "granted" => Decision::Granted(grant(round, serial, at)?),
        "already_granted" => Decision::AlreadyGranted(grant(round, serial, at)?),
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

pub(crate) fn grant(round: &str, serial: i64, at: i64) -> Result<Grant, ReplyError> {
    Ok(Grant {
        round: round_id(round)?,
        serial: Serial::try_from(serial).map_err(ReplyError::new)?,
        at: instant(at)?,
    })
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

    fn reply(word: &str, round: &str, numbers: [i64; 3]) -> Vec<Value> {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        [text(word), text(round)]
            .into_iter()
            .chain(numbers.map(Value::Integer))
            .collect()
    }

    #[test]
    fn reads_what_the_script_answers() {
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
    }

    #[test]
    fn refuses_what_the_script_cannot_have_answered() {
        for bad in [
            vec![],
            reply("granted", "once", [42, 1, 2])[..4].to_vec(),
            reply("granted", "", [42, 1, 2]),
            reply("granted", "once", [0, 1, 2]),
            reply("granted", "once", [42, -1, 2]),
            reply("won", "once", [42, 1, 2]),
            vec![Value::Other; 5],
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
        assert!(
            call.keys
                .iter()
                .all(|key| key.starts_with("rushgate:{welcome}:"))
        );
    }
}
