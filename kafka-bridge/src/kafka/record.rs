//! Encodes a stream entry as a Kafka record: key, value and headers. All functions are pure.
//!
//! The headers follow CloudEvents 1.0 in Kafka's binary mode. The header `content-type` gives the format of the value.
//! If the value is only a user id, then campaign, round and serial are in the key, the kind of event is in `ce_type`,
//! and its time is in `ce_time`. A signature over key, value and these headers proves that a bridge has published the
//! record.
//!
//! The record's timestamp is the producer's clock, not the time of the grant, for two reasons. Kafka's retention goes
//! by this timestamp: a grant that waited longer than the retention, or was restored, would be removed before it was
//! read. And a broker refuses the whole batch if the timestamp of one record is an hour ahead of the broker's clock,
//! as the clock of Redis may be.

use crate::entry::Fields;
use rushgate_gate::Event;
use rushgate_gate::event::MalformedEvent;
use rushgate_gate::record::CODE_NUMBER_HEADER;
use rushgate_gate::signature::{self, SigningKeys};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ValueFormat {
    /// The event as JSON
    Json,
    /// The bare user id as 8 bytes, big-endian: what `LongDeserializer` reads
    Long,
}

/// A record without its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `campaign/round/serial`.
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Why an entry can never become a record. The message contains no user id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpublishable {
    #[error("not an event: {0}")]
    Malformed(#[from] MalformedEvent),
    #[error(
        "the user id is not a whole number from 0 to 2^63-1, which KAFKA_VALUE_FORMAT=long needs"
    )]
    NotNumeric,
    #[error("the event could not be encoded as JSON")]
    Json,
}

impl ValueFormat {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Long => "application/octet-stream",
        }
    }

    fn value(self, event: &Event) -> Result<Vec<u8>, Unpublishable> {
        match self {
            Self::Json => serde_json::to_vec(event).map_err(|_| Unpublishable::Json),
            Self::Long => {
                let user_id = event
                    .applicant
                    .as_number()
                    .ok_or(Unpublishable::NotNumeric)?;
                Ok(user_id.to_be_bytes().to_vec())
            }
        }
    }
}

impl Record {
    /// Encodes an entry with these fields. The record is signed if there are keys.
    ///
    /// # Errors
    /// When the fields are not an event, or the user id does not fit the format.
    pub(crate) fn of(
        fields: &Fields,
        format: ValueFormat,
        keys: Option<&SigningKeys>,
    ) -> Result<Self, Unpublishable> {
        let event = Event::from_fields(|name| {
            let field = fields.iter().find(|(field, _)| field == name.as_bytes());
            field.map(|(_, value)| value.as_slice())
        })?;
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event.id()),
            ("ce_source", format!("/rushgate/{}", event.campaign)),
            ("ce_type", event.event_type.to_string()),
            ("ce_time", event.at.to_string()),
            ("content-type", format.content_type().to_owned()),
        ];
        // Usually 1, and then left out.
        let ordinals = [("ce_turn", event.turn), ("ce_win", event.win)];
        let later = ordinals.iter().filter(|(_, ordinal)| !ordinal.is_first());
        headers.extend(later.map(|(name, ordinal)| (*name, ordinal.to_string())));
        let code_number = event.code_number;
        headers.extend(code_number.map(|number| (CODE_NUMBER_HEADER, number.to_string())));
        let (key, value) = (event.key().to_string(), format.value(&event)?);
        if let Some(keys) = keys {
            let signature = keys.sign(key.as_bytes(), &value, |name| {
                let header = headers.iter().find(|(header, _)| *header == name);
                header.map(|(_, value)| value.as_bytes())
            });
            headers.push((signature::HEADER, signature));
        }
        Ok(Self {
            key,
            value,
            headers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rushgate_gate::Ordinal;

    fn fields(user_id: &str) -> Fields {
        [
            ("type", "coupon.granted"),
            ("campaign", "welcome"),
            ("round", "once"),
            ("serial", "42"),
            ("user_id", user_id),
            ("at", "1796086800123"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }

    #[test]
    fn json_is_the_event_with_cloudevents_headers() {
        let record = Record::of(&fields("7"), ValueFormat::Json, None).expect("well formed");
        assert_eq!(record.key, "welcome/once/42");
        assert_eq!(
            str::from_utf8(&record.value),
            Ok(
                r#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"user_id":"7","at":1796086800123}"#
            )
        );
        assert_eq!(
            record
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect::<Vec<_>>(),
            [
                "ce_specversion: 1.0",
                "ce_id: welcome/once/42/coupon.granted",
                "ce_source: /rushgate/welcome",
                "ce_type: coupon.granted",
                "ce_time: 2026-12-01T01:00:00.123Z",
                "content-type: application/json",
            ]
        );
    }

    #[test]
    fn a_serial_that_is_given_again_says_so() {
        let mut fields = fields("7");
        fields
            .extend([("turn", "2"), ("win", "3")].map(|(name, value)| (name.into(), value.into())));
        for (format, value) in [
            (ValueFormat::Json, &br#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"turn":2,"user_id":"7","win":3,"at":1796086800123}"#[..]),
            (ValueFormat::Long, &7i64.to_be_bytes()),
        ] {
            let record = Record::of(&fields, format, None).expect("well formed");
            assert_eq!(record.value, value, "{format:?}");
            let header = |name| record.headers.iter().find(|(header, _)| *header == name);
            assert_eq!(header("ce_id"), Some(&("ce_id", "welcome/once/42/coupon.granted/2".to_owned())), "{format:?}");
            assert_eq!(header("ce_turn"), Some(&("ce_turn", "2".to_owned())), "{format:?}");
            assert_eq!(header("ce_win"), Some(&("ce_win", "3".to_owned())), "{format:?}");
        }
    }

    #[test]
    fn the_number_of_a_code_is_in_both_formats() {
        let mut fields = fields("7");
        fields.push((b"code_number".into(), b"17".into()));
        for format in [ValueFormat::Json, ValueFormat::Long] {
            let record = Record::of(&fields, format, None).expect("well formed");
            let (_, number) = record.headers.last().expect("headers");
            assert_eq!(number, "17", "{format:?}");
        }
        let json = Record::of(&fields, ValueFormat::Json, None).expect("well formed");
        let event: Event = serde_json::from_slice(&json.value).expect("an event");
        assert_eq!(event.code_number.map(Ordinal::get), Some(17));
    }

    #[test]
    fn a_signature_is_the_last_header_and_covers_the_others() {
        let keys = SigningKeys::new(["key"]).expect("a key");
        for format in [ValueFormat::Json, ValueFormat::Long] {
            let record = Record::of(&fields("7"), format, Some(&keys)).expect("well formed");
            let verify = |changed: &str| {
                keys.verify(record.key.as_bytes(), &record.value, |name| {
                    let header = record.headers.iter().find(|(header, _)| *header == name);
                    header.map(|(_, value)| match name == changed {
                        true => &b"coupon.revoked"[..],
                        false => value.as_bytes(),
                    })
                })
            };
            assert_eq!(record.headers[6].0, signature::HEADER, "{format:?}");
            assert_eq!(verify(""), Ok(()), "{format:?}");
            assert!(verify("ce_type").is_err(), "{format:?}");
        }
    }

    #[test]
    fn a_user_id_that_is_no_number_cannot_be_a_long() {
        for user_id in ["anna", "042", "9223372036854775808", "-1"] {
            let record = Record::of(&fields(user_id), ValueFormat::Long, None);
            assert_eq!(record, Err(Unpublishable::NotNumeric), "{user_id}");
        }
    }

    #[test]
    fn the_reason_names_the_field_and_not_the_person() {
        let mut broken = fields("anna@example.org");
        broken.retain(|(name, _)| name != b"serial");
        let error = Record::of(&broken, ValueFormat::Json, None).expect_err("no serial");
        assert_eq!(error.to_string(), "not an event: field serial is missing");
        let error =
            Record::of(&fields("anna@example.org"), ValueFormat::Long, None).expect_err("text");
        assert!(!error.to_string().contains("anna"));
    }

    proptest! {
        #[test]
        fn a_long_is_eight_bytes_big_endian(user_id in 0..=i64::MAX) {
            let record = Record::of(&fields(&user_id.to_string()), ValueFormat::Long, None).expect("a number");
            let bytes = <[u8; 8]>::try_from(record.value).expect("eight bytes");
            prop_assert_eq!(i64::from_be_bytes(bytes), user_id);
            prop_assert_eq!(&record.headers[5].1, "application/octet-stream");
        }

        #[test]
        fn arbitrary_fields_are_refused_without_a_panic(fields: Fields) {
            prop_assert!(Record::of(&fields, ValueFormat::Json, None).is_err());
        }
    }
}
