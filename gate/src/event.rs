//! An event: a serial was granted to an applicant, or that grant was revoked. Stream entries and Kafka records carry
//! events.

use crate::applicant::Applicant;
use crate::campaign::CampaignId;
use crate::round::{RoundId, Serial};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    #[serde(rename = "coupon.granted")]
    Granted,
    #[serde(rename = "coupon.revoked")]
    Revoked,
}

/// A count that starts at 1: the first time, the second time, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(NonZeroU32);

/// A grant or a revocation of one serial.
///
/// Kafka can deliver events out of order, and the events of one applicant are on several partitions. `turn` orders the
/// grants of one serial, and `win` the grants of one applicant. Both are almost always 1, and then left out.
///
/// The JSON is the value of the Kafka record:
/// `{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"user_id":"7","at":1796086800123}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub campaign: CampaignId,
    pub round: RoundId,
    pub serial: Serial,
    /// Number of grants of this serial so far, including this one.
    #[serde(default, skip_serializing_if = "Ordinal::is_first")]
    pub turn: Ordinal,
    #[serde(rename = "user_id")]
    pub applicant: Applicant,
    /// Number of grants of the applicant so far, including this one: in the campaign, or in the round if one grant per
    /// round is allowed.
    #[serde(default, skip_serializing_if = "Ordinal::is_first")]
    pub win: Ordinal,
    /// The number of the grant's code, in a campaign with pool codes. The code itself is in no event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_number: Option<Ordinal>,
    /// Time of the grant or revocation, by the clock of Redis.
    pub at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("field {field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
}

/// Identifies a serial: `campaign/round/serial`.
///
/// It is the key of the Kafka record, so that all events of a serial are on one partition, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey {
    pub campaign: CampaignId,
    pub round: RoundId,
    pub serial: Serial,
}

impl Ordinal {
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    pub fn get(self) -> u32 {
        self.0.get()
    }

    pub fn is_first(&self) -> bool {
        *self == Self::FIRST
    }
}

impl Default for Ordinal {
    fn default() -> Self {
        Self::FIRST
    }
}

impl TryFrom<u32> for Ordinal {
    type Error = std::num::TryFromIntError;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        NonZeroU32::try_from(number).map(Self)
    }
}

impl FromStr for Ordinal {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EventType {
    /// The word in stream entries, records and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "coupon.granted",
            Self::Revoked => "coupon.revoked",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = MalformedEvent;

    fn from_str(word: &str) -> Result<Self, MalformedEvent> {
        match word {
            "coupon.granted" => Ok(Self::Granted),
            "coupon.revoked" => Ok(Self::Revoked),
            other => Err(MalformedEvent::Invalid {
                field: "type",
                problem: format!("{other:?} is not coupon.granted or coupon.revoked"),
            }),
        }
    }
}

impl Event {
    /// Decodes a stream entry. Unknown fields are ignored, so that a newer gate can add fields.
    ///
    /// # Errors
    /// When a field is missing or invalid.
    pub fn from_fields<'a>(
        field: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Self, MalformedEvent> {
        let text = |name: &'static str| {
            let bytes = field(name).ok_or(MalformedEvent::Missing(name))?;
            str::from_utf8(bytes).map_err(|error| MalformedEvent::invalid(name, error))
        };
        let number = |name| match field(name) {
            None => Ok(None),
            Some(_) => parse(name, text(name)?).map(Some),
        };
        let ordinal = |name| number(name).map(Option::unwrap_or_default);
        Ok(Self {
            event_type: text("type")?.parse()?,
            campaign: parse("campaign", text("campaign")?)?,
            round: parse("round", text("round")?)?,
            serial: parse("serial", text("serial")?)?,
            turn: ordinal("turn")?,
            applicant: parse("user_id", text("user_id")?)?,
            win: ordinal("win")?,
            code_number: number("code_number")?,
            at: parse::<i64>("at", text("at")?).and_then(|at| {
                Millis::try_from(at).map_err(|error| MalformedEvent::invalid("at", error))
            })?,
        })
    }

    pub fn is_of(&self, key: &EventKey) -> bool {
        self.serial == key.serial && self.round == key.round && self.campaign == key.campaign
    }

    pub fn key(&self) -> EventKey {
        EventKey {
            campaign: self.campaign.clone(),
            round: self.round.clone(),
            serial: self.serial,
        }
    }

    /// The unique id of the event, which is the CloudEvents `id`: `campaign/round/serial/type`, with `/turn` after it
    /// if the serial had been granted before.
    pub fn id(&self) -> String {
        if self.turn.is_first() {
            format!("{}/{}", self.key(), self.event_type)
        } else {
            format!("{}/{}/{}", self.key(), self.event_type, self.turn)
        }
    }
}

impl MalformedEvent {
    fn invalid(field: &'static str, problem: impl fmt::Display) -> Self {
        Self::Invalid {
            field,
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.campaign, self.round, self.serial)
    }
}

impl FromStr for EventKey {
    type Err = MalformedEvent;

    fn from_str(key: &str) -> Result<Self, MalformedEvent> {
        let mut parts = key.splitn(3, '/');
        let mut part = |name| parts.next().ok_or(MalformedEvent::Missing(name));
        Ok(Self {
            campaign: parse("campaign", part("campaign")?)?,
            round: parse("round", part("round")?)?,
            serial: parse("serial", part("serial")?)?,
        })
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, MalformedEvent> {
    text.parse()
        .map_err(|error| MalformedEvent::invalid(field, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn fields() -> HashMap<&'static str, Vec<u8>> {
        [
            ("type", "coupon.granted"),
            ("campaign", "welcome"),
            ("round", "once"),
            ("serial", "42"),
            ("user_id", "7"),
            ("at", "1796086800123"),
        ]
        .map(|(name, value)| (name, value.as_bytes().to_vec()))
        .into()
    }

    fn read(fields: &HashMap<&'static str, Vec<u8>>) -> Result<Event, MalformedEvent> {
        Event::from_fields(|name| fields.get(name).map(Vec::as_slice))
    }

    #[test]
    fn an_entry_becomes_the_documented_record() {
        let event = read(&fields()).expect("well formed");
        assert_eq!(event.key().to_string(), "welcome/once/42");
        assert_eq!(event.id(), "welcome/once/42/coupon.granted");
        let json = serde_json::to_string(&event).expect("serialises");
        assert_eq!(
            json,
            r#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"user_id":"7","at":1796086800123}"#
        );
        assert_eq!(
            serde_json::from_str::<Event>(&json).expect("its own JSON"),
            event
        );
        let mut fields = fields();
        fields.insert("code_number", b"17".to_vec());
        let event = read(&fields).expect("well formed");
        let json = serde_json::to_string(&event).expect("serialises");
        assert!(json.contains(r#","code_number":17,"#), "{json}");
        assert_eq!(
            serde_json::from_str::<Event>(&json).expect("its own JSON"),
            event
        );
    }

    #[test]
    fn the_error_names_the_missing_or_invalid_field() {
        for name in ["type", "campaign", "round", "serial", "user_id", "at"] {
            let mut missing = fields();
            missing.remove(name);
            assert_eq!(read(&missing), Err(MalformedEvent::Missing(name)), "{name}");
            for broken in [&b""[..], b"\xff", b"{}", b"-1"] {
                // "-1" is a valid campaign, round and user id; the other values are valid nowhere.
                if broken == b"-1" && matches!(name, "round" | "user_id" | "campaign") {
                    continue;
                }
                let mut fields = fields();
                fields.insert(name, broken.to_vec());
                let error = read(&fields).expect_err(name).to_string();
                assert!(
                    error.starts_with(&format!("field {name}: ")),
                    "{broken:?}: {error}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_formatted_key_is_parsed_again(campaign in "[a-z0-9_-]{1,48}", round in "[A-Za-z0-9._-]{1,32}", serial in 1u32..=100_000_000) {
            let key = EventKey {
                campaign: campaign.parse().expect("matches the rule"),
                round: round.parse().expect("matches the rule"),
                serial: Serial::try_from(serial).expect("in range"),
            };
            prop_assert_eq!(key.to_string().parse::<EventKey>(), Ok(key));
        }

        #[test]
        fn arbitrary_bytes_are_an_error_and_not_a_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 6)) {
            let names = ["type", "campaign", "round", "serial", "user_id", "at"];
            let fields: HashMap<_, _> = names.into_iter().zip(values).collect();
            prop_assert!(read(&fields).is_err());
        }
    }
}
