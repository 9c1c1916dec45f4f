//! Writes dead letters. A record that cannot become a coupon is stored in the table `failed_events`, with everything
//! that is needed to replay it.

use crate::kafka::headers::Headers;
use crate::kafka::record::{Clipped, Delivery, Record};
use crate::rejection::Rejection;
use crate::table::error::StoreError;
use crate::table::failure::{ErrorClass, classify, number};
use rushgate_gate::dead_letter;
use rushgate_gate::record::ATTEMPT_HEADER;
use sqlx::MySqlConnection;

/// Inserts a row into `failed_events`. Returns `false` if the record has one already.
///
/// # Errors
/// When the transaction must be tried again, or the database refuses the dead letter as well.
pub(crate) async fn insert_failed_event(
    connection: &mut MySqlConnection,
    topic: &str,
    delivery: &Delivery,
    rejection: &Rejection,
) -> Result<bool, StoreError> {
    let record = &delivery.record;
    let inserted = sqlx::query(
        "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, \
         payload, headers, all_headers, reason, detail, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(record.timestamp)
    .bind(kept(record.key.as_ref()))
    .bind(kept(record.value.as_ref()))
    .bind(shown(&record.headers))
    .bind(match record.headers.is_cut() {
        true => "null".to_owned(),
        false => dead_letter::encode_headers(record.headers.iter()),
    })
    .bind(rejection.reason.as_str())
    .bind(&rejection.detail)
    .bind(attempt(record))
    .execute(connection)
    .await;
    let Err(error) = inserted else {
        return Ok(true);
    };
    match classify(&error) {
        ErrorClass::Duplicate => Ok(false),
        ErrorClass::Retryable => Err(error.into()),
        ErrorClass::Permanent => Err(StoreError::DeadLetterRefused {
            partition: record.partition,
            offset: record.offset,
            number: number(&error),
        }),
    }
}

/// The number of the attempt, which is in a header of a replayed record.
fn attempt(record: &Record) -> u32 {
    let header = record.headers.get(ATTEMPT_HEADER);
    let number = header.and_then(|number| str::from_utf8(number).ok()?.parse().ok());
    number.unwrap_or(1)
}

/// The headers for operators to read: as many of them, and as much of each, as fits a `TEXT` after escaping.
fn shown(headers: &Headers) -> String {
    const MAX_HEADERS: usize = 32;
    const LONGEST_NAME: usize = 64;
    const LONGEST_VALUE: usize = 256;
    let short = headers
        .iter()
        .filter(|(name, _)| name.len() <= LONGEST_NAME);
    let shown = short.take(MAX_HEADERS).map(|(name, value)| {
        let value = value.unwrap_or_default();
        let value = &value[..value.len().min(LONGEST_VALUE)];
        (name.to_owned(), String::from_utf8_lossy(value).into())
    });
    let shown: serde_json::Map<String, serde_json::Value> = shown.collect();
    serde_json::Value::Object(shown).to_string()
}

fn kept(bytes: Option<&Clipped>) -> Option<&[u8]> {
    bytes.map(|bytes| bytes.kept.as_slice())
}
