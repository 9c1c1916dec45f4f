//! Dead letters: what can never become a coupon goes to `failed_events`, with all that is needed to replay it.

use crate::failure::{Verdict, number, verdict};
use crate::record::{Clipped, Delivery};
use crate::refusal::Refusal;
use crate::store::StoreError;
use sqlx::MySqlConnection;

/// Writes a dead letter. Whether it is a new one, and not one that was delivered again.
///
/// # Errors
/// When the transaction has to be tried again, or the dead letter cannot be written either.
pub async fn bury(
    connection: &mut MySqlConnection,
    topic: &str,
    delivery: &Delivery,
    refusal: &Refusal,
) -> Result<bool, StoreError> {
    let record = &delivery.record;
    let headers: serde_json::Map<String, serde_json::Value> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()))
        .collect();
    let inserted = sqlx::query(
        "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, \
         payload, headers, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(topic)
    .bind(record.partition)
    .bind(record.offset)
    .bind(record.timestamp)
    .bind(kept(record.key.as_ref()))
    .bind(kept(record.value.as_ref()))
    .bind(serde_json::Value::Object(headers).to_string())
    .bind(refusal.reason.as_str())
    .bind(&refusal.detail)
    .execute(connection)
    .await;
    let Err(error) = inserted else {
        return Ok(true);
    };
    match verdict(&error) {
        Verdict::Duplicate => Ok(false),
        Verdict::Retryable => Err(error.into()),
        Verdict::Permanent => Err(StoreError::DeadLetterRefused {
            partition: record.partition,
            offset: record.offset,
            number: number(&error),
        }),
    }
}

fn kept(bytes: Option<&Clipped>) -> Option<&[u8]> {
    bytes.map(|bytes| bytes.kept.as_slice())
}
