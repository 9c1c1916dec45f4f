//! Decodes a Kafka record into its event, and checks its signature. It does no I/O, but it counts unsigned records in
//! a metric. [`rushgate_gate::record`] defines the formats.

use crate::kafka::record::{Clipped, LONGEST_KEY, LONGEST_VALUE, Record};
use crate::metrics;
use crate::rejection::{Reason, Rejection};
use rushgate_gate::Event;
use rushgate_gate::record::{RecordError, event};
use rushgate_gate::signature::SignaturePolicy;

/// Decodes the record's event.
///
/// # Errors
/// When it is not an event, or key and value name different serials.
pub(crate) fn decode(record: &Record) -> Result<Event, Rejection> {
    let value = whole("value", record.value.as_ref(), LONGEST_VALUE)?;
    // A record without a key is refused even if its value is complete: without the key, events of one serial
    // have no order.
    let key = whole("key", record.key.as_ref(), LONGEST_KEY)?;
    event(key, value, |name| record.headers.get(name)).map_err(|error| {
        let reason = match error {
            RecordError::Undecodable(_) => Reason::Undecodable,
            RecordError::UnknownVersion(_) => Reason::UnknownVersion,
            RecordError::KeyMismatch { .. } => Reason::KeyMismatch,
        };
        Rejection::new(reason, error)
    })
}

/// Checks the signature, then decodes the record. Where signatures are not required, a record without a valid
/// one is counted and decoded.
///
/// # Errors
/// As [`decode`]; and if signatures are required, when no bridge has signed the record.
pub(crate) fn decode_trusted(record: &Record, trust: &SignaturePolicy) -> Result<Event, Rejection> {
    let doubt = trust.problem(
        kept(record.key.as_ref()),
        kept(record.value.as_ref()),
        |name| record.headers.get(name),
    );
    if let Some(doubt) = doubt {
        if trust.is_strict() {
            return Err(Rejection::new(Reason::BadSignature, doubt));
        }
        metrics::unsigned();
    }
    decode(record)
}

fn kept(bytes: Option<&Clipped>) -> &[u8] {
    bytes.map_or(&[], |bytes| bytes.kept.as_slice())
}

fn whole<'a>(what: &str, bytes: Option<&'a Clipped>, most: usize) -> Result<&'a [u8], Rejection> {
    let undecodable = |detail: std::fmt::Arguments<'_>| Rejection::new(Reason::Undecodable, detail);
    let bytes = bytes.ok_or_else(|| undecodable(format_args!("{what} is missing")))?;
    bytes.whole().ok_or_else(|| {
        undecodable(format_args!(
            "{what} has {} bytes, more than the limit of {most}; only the first ones are kept here",
            bytes.length
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::headers::Headers;
    use proptest::prelude::*;
    use rushgate_gate::{EventType, Millis, Ordinal, Serial};

    fn record(key: &str, value: &[u8], headers: &[(&str, &str)]) -> Record {
        Record {
            key: Some(Clipped::new(key.as_bytes(), LONGEST_KEY)),
            value: Some(Clipped::new(value, LONGEST_VALUE)),
            headers: Headers::keep(
                headers
                    .iter()
                    .map(|(name, value)| (*name, Some(value.as_bytes()))),
            ),
            ..Record::default()
        }
    }

    const JSON: &[u8] = br#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"user_id":"7","at":1796086800123}"#;
    const LONG: &[(&str, &str)] = &[
        ("content-type", "application/octet-stream"),
        ("ce_type", "coupon.granted"),
        ("ce_time", "2026-12-01T01:00:00.123Z"),
    ];

    #[test]
    fn both_formats_carry_the_same_event() {
        let plain = decode(&record("welcome/once/42", JSON, &[])).expect("an event");
        let typed = record(
            "welcome/once/42",
            JSON,
            &[("Content-Type", "Application/JSON; charset=utf-8")],
        );
        let long = record("welcome/once/42", &7i64.to_be_bytes(), LONG);
        assert_eq!(plain.id(), "welcome/once/42/coupon.granted");
        assert_eq!(decode(&typed), Ok(plain.clone()));
        assert_eq!(decode(&long), Ok(plain));
    }

    #[test]
    fn a_key_of_another_serial_is_refused() {
        let rejection = decode(&record("welcome/once/43", JSON, &[])).expect_err("mismatch");
        assert_eq!(rejection.reason, Reason::KeyMismatch);
        assert_eq!(
            rejection.detail,
            "the key names welcome/once/43, but the value names welcome/once/42"
        );
    }

    #[test]
    fn the_detail_says_what_is_wrong() {
        let eight = &7i64.to_be_bytes();
        let octets = &LONG[..1];
        let no_key = Record {
            key: None,
            ..record("", JSON, &[])
        };
        let tombstone = Record {
            value: None,
            ..record("welcome/once/42", b"", &[])
        };
        for (record, detail) in [
            (no_key, "key is missing"),
            (tombstone, "value is missing"),
            (
                record("welcome/once", JSON, &[]),
                "key: field serial is missing",
            ),
            (
                record("welcome/once/42", b"{", &[]),
                "value: EOF while parsing an object at line 1 column 1",
            ),
            (
                record("welcome/once/42", &vec![b'x'; LONGEST_VALUE + 1], &[]),
                "value has 65536 bytes, more than the limit of 65535; only the first ones are kept here",
            ),
            (
                record("welcome/once/42", eight, &[("content-type", "text/plain")]),
                r#"content-type is "text/plain", neither application/json nor application/octet-stream"#,
            ),
            (
                record("welcome/once/42", b"1234567", LONG),
                "value has 7 bytes instead of the 8 of a long",
            ),
            (
                record("welcome/once/42", &(-1i64).to_be_bytes(), LONG),
                "value is a negative long, which is not a user id",
            ),
            (
                record("welcome/once/42", eight, octets),
                "header ce_time is missing",
            ),
            (
                record(
                    "welcome/once/42",
                    eight,
                    &[LONG, &[("ce_turn", "0")]].concat(),
                ),
                "header ce_turn: number would be zero for non-zero type",
            ),
        ] {
            let rejection = decode(&record).expect_err(detail);
            assert_eq!(
                (rejection.reason, rejection.detail.as_str()),
                (Reason::Undecodable, detail)
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            kind in prop::collection::vec(any::<u8>(), 0..40),
            turn in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let record = Record {
                key: key.map(|bytes| Clipped::new(&bytes, LONGEST_KEY)),
                value: value.map(|bytes| Clipped::new(&bytes, LONGEST_VALUE)),
                headers: Headers::keep([("content-type", Some(&*kind)), ("ce_turn", Some(&*turn))].into_iter()),
                ..Record::default()
            };
            prop_assert!(decode(&record).is_err());
        }

        #[test]
        fn every_event_is_read_back_in_both_formats(
            serial in 1u32..=100_000_000, user_id in 0..=i64::MAX, at in 0i64..=253_402_207_200_000, revoked: bool,
            turn in 1u32.., win in 1u32.., code_number in prop::option::of(1u32..),
        ) {
            let event = Event {
                event_type: if revoked { EventType::Revoked } else { EventType::Granted },
                campaign: "welcome".parse().expect("an id"),
                round: "once".parse().expect("an id"),
                serial: Serial::try_from(serial).expect("in range"),
                turn: Ordinal::try_from(turn).expect("not 0"),
                win: Ordinal::try_from(win).expect("not 0"),
                code_number: code_number.map(|number| Ordinal::try_from(number).expect("not 0")),
                applicant: user_id.to_string().parse().expect("an applicant"),
                at: Millis::try_from(at).expect("an instant"),
            };
            let key = event.key().to_string();
            let json = serde_json::to_vec(&event).expect("serialises");
            prop_assert_eq!(decode(&record(&key, &json, &[])), Ok(event.clone()));
            let at = event.at.to_string();
            let (turn, win) = (event.turn.to_string(), event.win.to_string());
            let mut headers = vec![LONG[0], ("ce_type", event.event_type.as_str()), ("ce_time", &at), ("ce_turn", &turn), ("ce_win", &win)];
            let number = code_number.map(|number| number.to_string());
            headers.extend(number.iter().map(|number| ("ce_code_number", number.as_str())));
            prop_assert_eq!(decode(&record(&key, &user_id.to_be_bytes(), &headers)), Ok(event));
        }
    }
}
