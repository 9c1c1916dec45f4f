//! Decodes a Kafka record into an event, strictly, and computes the partition of a record key.
//!
//! The header `content-type` names one of two formats. `application/json`, which is also the default, is an [`Event`]
//! as JSON. `application/octet-stream` is only the user id, as 8 bytes big-endian; the other fields are in the record
//! key and in the headers `ce_type` and `ce_time`. The header [`VERSION_HEADER`] gives the version of the layout.

use crate::applicant::Applicant;
use crate::event::{Event, EventKey, EventType, Ordinal};
use crate::time::Millis;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The header of a replayed dead letter: the number of the attempt, from 2.
pub const ATTEMPT_HEADER: &str = "ce_attempt";

/// The header with the number of the grant's code, in a campaign with pool codes.
pub const CODE_NUMBER_HEADER: &str = "ce_code_number";

/// The header with the version of the layout. Without it, the version is [`VERSION`].
pub const VERSION_HEADER: &str = "ce_version";

/// The only version of the layout that this program can decode.
pub const VERSION: &str = "1";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The key, the value or a header is invalid.
    #[error("{0}")]
    Undecodable(String),
    /// The record has an unknown version or event type. A later version of the program may be able to decode it.
    #[error("{0}")]
    UnknownVersion(String),
    /// The key and the value name different serials.
    #[error("the key names {key}, but the value names {value}")]
    KeyMismatch { key: EventKey, value: EventKey },
}

/// Decodes a record. `header` finds a header by its name, ignoring case.
///
/// # Errors
/// When the record carries no event. The error text may contain a user id.
pub fn event<'a>(
    key: &[u8],
    value: &[u8],
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Event, RecordError> {
    let key: EventKey = parse("key", key)?;
    let version = header(VERSION_HEADER).unwrap_or(VERSION.as_bytes());
    if version != VERSION.as_bytes() {
        return Err(RecordError::UnknownVersion(format!(
            "header {VERSION_HEADER} is {:?}, not {VERSION}",
            String::from_utf8_lossy(version)
        )));
    }
    match media_type(header("content-type"))?.as_str() {
        "application/json" => json(key, value),
        "application/octet-stream" => long(key, value, header),
        other => Err(undecodable(format_args!(
            "content-type is {other:?}, neither application/json nor application/octet-stream"
        ))),
    }
}

/// The format `long`, for Spring consumers with a `LongDeserializer`.
fn long<'a>(
    key: EventKey,
    value: &[u8],
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Event, RecordError> {
    let user_id = <[u8; 8]>::try_from(value)
        .map(i64::from_be_bytes)
        .map_err(|_| {
            undecodable(format_args!(
                "value has {} bytes instead of the 8 of a long",
                value.len()
            ))
        })?;
    let applicant = u64::try_from(user_id)
        .ok()
        .and_then(Applicant::from_number)
        .ok_or_else(|| undecodable("value is a negative long, which is not a user id"))?;
    let required = |name: &'static str| {
        header(name).ok_or_else(|| undecodable(format_args!("header {name} is missing")))
    };
    let number = |name: &'static str| {
        let number = header(name).map(|number| parse::<Ordinal>(&format!("header {name}"), number));
        number.transpose()
    };
    let ordinal = |name| number(name).map(Option::unwrap_or_default);
    let time: jiff::Timestamp = parse("header ce_time", required("ce_time")?)?;
    Ok(Event {
        event_type: event_type(required("ce_type")?)?,
        campaign: key.campaign,
        round: key.round,
        serial: key.serial,
        turn: ordinal("ce_turn")?,
        applicant,
        win: ordinal("ce_win")?,
        code_number: number(CODE_NUMBER_HEADER)?,
        at: Millis::try_from(time.as_millisecond())
            .map_err(|error| undecodable(format_args!("header ce_time: {error}")))?,
    })
}

fn json(key: EventKey, value: &[u8]) -> Result<Event, RecordError> {
    let event: Event = serde_json::from_slice(value).map_err(|error| {
        // An unknown type is reported even if the other fields do not match those of the known types.
        let typed = serde_json::from_slice::<Typed<'_>>(value).ok();
        let unknown = typed.and_then(|typed| event_type(typed.event_type.as_bytes()).err());
        unknown.unwrap_or_else(|| undecodable(format_args!("value: {error}")))
    })?;
    if event.is_of(&key) {
        Ok(event)
    } else {
        let value = event.key();
        Err(RecordError::KeyMismatch { key, value })
    }
}

/// The type of any event.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
}

/// An unknown event type counts as an unknown version.
fn event_type(word: &[u8]) -> Result<EventType, RecordError> {
    parse("type", word).map_err(|error| RecordError::UnknownVersion(error.to_string()))
}

/// Reasons of dead letters that are parked, each with the condition on which the consumer replays them by itself.
pub const PARKED: [(&str, &str); 4] = [
    ("unknown_round", "the round is in the database"),
    ("over_quota", "the quota has room for the serial"),
    ("unknown_version", "a consumer knows the version"),
    ("unconfirmed", "the gate can be told of it"),
];

/// The partition of a key, as Java's default producer chooses it. Every program that publishes records must use this
/// function, so that all records of a serial are on one partition, in order.
pub fn partition(key: &[u8], partitions: i32) -> i32 {
    let hash = murmur2::murmur2(key, murmur2::KAFKA_SEED);
    // As in Java: the sign bit is cleared, the number is not negated.
    (hash & 0x7fff_ffff).cast_signed() % partitions.max(1)
}

/// `type/subtype` in lower case, without parameters.
fn media_type(content_type: Option<&[u8]>) -> Result<String, RecordError> {
    let Some(header) = content_type else {
        return Ok("application/json".to_owned());
    };
    let text = str::from_utf8(header)
        .map_err(|error| undecodable(format_args!("header content-type: {error}")))?;
    let media_type = text.split(';').next().unwrap_or_default();
    Ok(media_type.trim().to_ascii_lowercase())
}

fn parse<T: FromStr<Err: fmt::Display>>(what: &str, bytes: &[u8]) -> Result<T, RecordError> {
    str::from_utf8(bytes)
        .map_err(|error| undecodable(format_args!("{what}: {error}")))?
        .parse()
        .map_err(|error| undecodable(format_args!("{what}: {error}")))
}

fn undecodable(detail: impl fmt::Display) -> RecordError {
    RecordError::Undecodable(detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_differs_from_an_undecodable_record() {
        let json = |event_type: &str| {
            format!(
                r#"{{"type":"{event_type}","campaign":"welcome","round":"once","serial":1,"user_id":"7","at":0}}"#
            )
        };
        let (granted, lent) = (json("coupon.granted"), json("coupon.lent"));
        let long = [
            ("content-type", "application/octet-stream"),
            ("ce_type", "coupon.lent"),
            ("ce_time", "2026-12-01T01:00:00.123Z"),
        ];
        for (value, headers, is_unknown) in [
            (granted.as_bytes(), &[("ce_version", "1")][..], false),
            (granted.as_bytes(), &[("ce_version", "2")][..], true),
            (b"{", &[("ce_version", "2")][..], true),
            (lent.as_bytes(), &[][..], true),
            (br#"{"type":"coupon.lent"}"#, &[][..], true),
            (&7i64.to_be_bytes(), &long[..], true),
        ] {
            let read = event(b"welcome/once/1", value, |name| {
                let found = headers.iter().find(|(header, _)| *header == name);
                found.map(|(_, value)| value.as_bytes())
            });
            let unknown = matches!(read, Err(RecordError::UnknownVersion(_)));
            assert_eq!(unknown, is_unknown, "{headers:?}: {read:?}");
        }
    }

    #[test]
    fn partitions_are_those_of_java() {
        // From Kafka's own tests of Utils.murmur2: the hash as a signed number.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            for partitions in [1, 3, 12] {
                assert_eq!(
                    partition(key.as_bytes(), partitions),
                    (hash & i32::MAX) % partitions,
                    "of {partitions}: {key}"
                );
            }
        }
    }
}
