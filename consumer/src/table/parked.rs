//! The SQL for parked dead letters. A parked record may become a coupon later without an operator: when the terms
//! change, when a newer version of the consumer runs, or when the gate can confirm the grant.
//! [`replayer`](crate::replayer) decides when to replay these records.
//!
//! The records are read one campaign at a time, through the key `failed_events_by_reason`, so the parked records of
//! one campaign do not delay those of another.

use crate::kafka::decode::decode_trusted;
use crate::kafka::headers::Headers;
use crate::kafka::record::{Clipped, Delivery, LONGEST_KEY, LONGEST_VALUE, Record};
use crate::rejection::Reason;
use crate::table::outcome::RecordOutcome;
use crate::table::statement_length::{padded, placeholders};
use rushgate_gate::event::EventKey;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_gate::{CampaignId, CampaignState, dead_letter};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use std::collections::{BTreeMap, HashMap};

/// The largest number of parked records of a campaign whose keys are read in one query.
const MAX_KEYS: usize = 1_024;

/// The largest number of parked records in one transaction.
pub(crate) const MAX_PER_TRANSACTION: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) id: u64,
    pub(crate) reason: String,
}

/// How far the parked records of one campaign have been read: record key and id of the last one.
pub(crate) type Cursor = (Vec<u8>, u64);

/// Parked records of one campaign that may succeed now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) ids: Vec<u64>,
    /// Where the next page starts; `None` if this was the last one.
    pub(crate) next: Option<Cursor>,
}

/// The next campaign, after this record key, with records that are parked for this reason.
///
/// # Errors
/// When the database does not answer, or refuses.
pub(crate) async fn next_campaign(
    connection: &mut MySqlConnection,
    reason: &str,
    mut after: Vec<u8>,
) -> Result<Option<CampaignId>, sqlx::Error> {
    loop {
        let key: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT record_key FROM failed_events WHERE resolution IS NULL AND reason = ? AND record_key > ? \
             ORDER BY record_key LIMIT 1",
        )
        .bind(reason)
        .bind(&after)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(key) = key else {
            return Ok(None);
        };
        if let Some(key) = event_key(&key) {
            return Ok(Some(key.campaign));
        }
        after = key;
    }
}

/// The first record key after those of a campaign.
pub(crate) fn after(campaign: &CampaignId) -> Vec<u8> {
    // `0` is the character after `/`.
    format!("{campaign}0").into_bytes()
}

/// The next records of a campaign, at most `most`, that are parked for this reason and may succeed now.
///
/// # Errors
/// When the database does not answer, or refuses.
pub(crate) async fn page(
    connection: &mut MySqlConnection,
    reason: &str,
    campaign: &CampaignId,
    cursor: Option<Cursor>,
    most: usize,
) -> Result<Page, sqlx::Error> {
    let (key, id) = cursor.unwrap_or_else(|| (format!("{campaign}/").into_bytes(), 0));
    let rows = sqlx::query(
        "SELECT id, record_key FROM failed_events WHERE resolution IS NULL AND reason = ? \
         AND record_key >= ? AND record_key < ? AND (record_key > ? OR id > ?) ORDER BY record_key, id LIMIT ?",
    )
    .bind(reason)
    .bind(&key)
    .bind(after(campaign))
    .bind(&key)
    .bind(id)
    .bind(MAX_KEYS as u64)
    .fetch_all(&mut *connection)
    .await?;
    let is_about_terms = [Reason::UnknownRound, Reason::OverQuota]
        .iter()
        .any(|about_terms| about_terms.as_str() == reason);
    let quotas = match is_about_terms {
        true => Some(quotas(connection, campaign).await?),
        false => None,
    };
    let mut page = Page::default();
    for row in &rows {
        let (id, key): (u64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let may_succeed = quotas.as_ref().is_none_or(|quotas| {
            event_key(&key).is_some_and(|key| {
                let quota = quotas.get(key.round.as_str());
                quota.is_some_and(|quota| key.serial.get() <= *quota)
            })
        });
        if may_succeed {
            page.ids.push(id);
        }
        page.next = Some((key, id));
        if page.ids.len() == most {
            return Ok(page);
        }
    }
    if rows.len() < MAX_KEYS {
        page.next = None;
    }
    Ok(page)
}

async fn quotas(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
) -> Result<HashMap<String, u32>, sqlx::Error> {
    let rows = sqlx::query("SELECT round_id, quota FROM rounds WHERE campaign_id = ?")
        .bind(campaign.as_str())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Whether the campaign is halted. A shared lock keeps the answer true until the transaction ends.
///
/// # Errors
/// When the database does not answer, or refuses.
pub(crate) async fn is_halted(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
) -> Result<bool, sqlx::Error> {
    let state: Option<String> =
        sqlx::query_scalar("SELECT state FROM campaigns WHERE campaign_id = ? LOCK IN SHARE MODE")
            .bind(campaign.as_str())
            .fetch_optional(connection)
            .await?;
    Ok(state.as_deref() == Some(CampaignState::Halted.as_str()))
}

/// Reads those of these parked records that are still open, and locks them until the transaction ends.
///
/// # Errors
/// When the database does not answer, or refuses.
pub(crate) async fn read(
    connection: &mut MySqlConnection,
    ids: &[u64],
    trust: &SignaturePolicy,
) -> Result<(Vec<Parked>, Vec<Delivery>), sqlx::Error> {
    let sql = format!(
        "SELECT id, reason, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, headers, all_headers \
         FROM failed_events WHERE id IN ({}) AND resolution IS NULL ORDER BY id FOR UPDATE",
        placeholders(ids, "?", ", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in padded(ids) {
        query = query.bind(id);
    }
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| parked_record(row, trust)).collect()
}

fn parked_record(
    row: &MySqlRow,
    trust: &SignaturePolicy,
) -> Result<(Parked, Delivery), sqlx::Error> {
    let number = |column: &str| row.try_get::<u64, _>(column).map(u64::cast_signed);
    let bytes = |column: &str, most: usize| {
        let bytes = row.try_get::<Option<Vec<u8>>, _>(column);
        bytes.map(|bytes| bytes.map(|bytes| Clipped::new(&bytes, most)))
    };
    let headers = headers(row)?;
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()));
    let record = Record {
        partition: row.try_get::<u32, _>("kafka_partition")?.cast_signed(),
        offset: number("kafka_offset")?,
        timestamp: number("kafka_timestamp")?,
        key: bytes("record_key", LONGEST_KEY)?,
        value: bytes("payload", LONGEST_VALUE)?,
        headers: Headers::keep(headers),
    };
    let parked = Parked {
        id: row.try_get("id")?,
        reason: row.try_get("reason")?,
    };
    let decoded = decode_trusted(&record, trust);
    Ok((parked, Delivery::replayed(record, decoded)))
}

/// All headers of the record. A row of an older version has only the headers for display.
fn headers(row: &MySqlRow) -> Result<Vec<dead_letter::Header>, sqlx::Error> {
    let decoded = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let all: Option<&str> = row.try_get("all_headers")?;
    if let Some(all) = all.filter(|all| *all != "null") {
        return dead_letter::decode_headers(all).map_err(decoded);
    }
    let shown: BTreeMap<String, String> =
        serde_json::from_str(row.try_get("headers")?).map_err(decoded)?;
    let shown = shown.into_iter();
    Ok(shown
        .map(|(name, value)| (name, Some(value.into_bytes())))
        .collect())
}

/// Writes the outcome of replayed records: resolved, or parked or failed for another reason. Returns the number
/// of changed rows.
///
/// # Errors
/// When the database does not answer or refuses. It is safe to call it again.
pub(crate) async fn note(
    connection: &mut MySqlConnection,
    records: &[Parked],
    outcomes: &[RecordOutcome],
) -> Result<usize, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut noted = 0;
    for (record, outcome) in records.iter().zip(outcomes) {
        let update = match outcome {
            RecordOutcome::Rejected(rejection) if rejection.reason.as_str() == record.reason => {
                continue;
            }
            RecordOutcome::Rejected(rejection) => sqlx::query(
                "UPDATE failed_events SET reason = ?, detail = ?, attempts = LEAST(attempts, 4294967294) + 1 \
                 WHERE id = ? AND resolution IS NULL",
            )
            .bind(rejection.reason.as_str())
            .bind(&rejection.detail),
            _ => sqlx::query(
                "UPDATE failed_events SET resolution = 'replayed', resolved_at = UTC_TIMESTAMP(3), \
                 resolution_note = 'by the consumer' WHERE id = ? AND resolution IS NULL",
            ),
        };
        update.bind(record.id).execute(&mut *transaction).await?;
        noted += 1;
    }
    transaction.commit().await?;
    Ok(noted)
}

fn event_key(key: &[u8]) -> Option<EventKey> {
    str::from_utf8(key).ok()?.parse().ok()
}
