//! Reads and changes the table `failed_events`: the consumer's dead letters, which are records that could not become a
//! coupon.

use super::connection::{ARE_THE_TABLES_THERE, Database, answered};
use super::log::cut;
use crate::refusal::refuse;
use anyhow::{Context, Result};
use rushgate_gate::dead_letter::Header;
use rushgate_gate::record::{self, RecordError};
use rushgate_gate::{Assignment, CampaignId, Event, dead_letter, signature};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{QueryBuilder, Row};
use std::collections::BTreeMap;

/// A dead letter of the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEvent {
    pub id: u64,
    /// When it failed, in UTC by the clock of the database.
    pub at: String,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub key: Option<Vec<u8>>,
    /// The record's value, or its first 65,535 bytes.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// The record had more headers, or longer ones, than are stored.
    pub has_lost_headers: bool,
    pub reason: String,
    pub detail: String,
    /// How often the consumer has tried it.
    pub attempts: u32,
    /// What was done with it, and when; `None` while it is open.
    pub resolution: Option<(String, String)>,
    pub note: Option<String>,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct FailedEventFilter {
    /// Only these; empty: no restriction.
    pub ids: Vec<u64>,
    pub campaign: Option<CampaignId>,
    pub reason: Option<String>,
    /// Include resolved ones.
    pub resolved: bool,
    /// Most rows to return.
    pub limit: Option<u32>,
}

/// What was done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Sent again, or the applicant got another serial.
    Replayed,
    /// Given up.
    Discarded,
}

impl FailedEvent {
    /// The event that the record carries.
    ///
    /// # Errors
    /// When the record is not an event.
    pub fn event(&self) -> Result<Event, RecordError> {
        let key = self.key.as_deref().unwrap_or_default();
        let value = self.value.as_deref().unwrap_or_default();
        record::event(key, value, |name| {
            let mut headers = self.headers.iter();
            let (_, value) = headers.find(|(header, _)| header.eq_ignore_ascii_case(name))?;
            value.as_deref()
        })
    }

    /// What was done with it: `open`, `replayed` or `discarded`.
    pub fn resolution_word(&self) -> &str {
        let resolution = self.resolution.as_ref();
        resolution.map_or("open", |(word, _)| word)
    }

    /// The grant that it is about. A record that the bridge has not signed is about none, whatever it contains.
    pub fn place(&self) -> Option<Assignment> {
        let event = self.event().ok()?;
        (self.reason != signature::REASON).then_some(Assignment {
            round: event.round,
            serial: event.serial,
            applicant: event.applicant,
        })
    }
}

impl Resolution {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl Database {
    /// Dead letters, oldest first.
    pub async fn failed_events(&self, which: &FailedEventFilter) -> Result<Vec<FailedEvent>> {
        let mut query = QueryBuilder::new(
            "SELECT id, DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%sZ') AS at, topic, kafka_partition, kafka_offset, \
             record_key, payload, headers, all_headers, reason, detail, attempts, resolution, \
             DATE_FORMAT(resolved_at, '%Y-%m-%dT%H:%i:%sZ') AS resolved_at, resolution_note FROM failed_events WHERE ",
        );
        query.push(if which.resolved {
            "TRUE"
        } else {
            "resolution IS NULL"
        });
        if !which.ids.is_empty() {
            query.push(" AND id IN (");
            let mut ids = query.separated(", ");
            for id in &which.ids {
                ids.push_bind(*id);
            }
            query.push(")");
        }
        if let Some(campaign) = &which.campaign {
            query.push(" AND record_key LIKE CONCAT(");
            query.push_bind(super::coupons::pattern(campaign));
            query.push(", '/%')");
        }
        if let Some(reason) = &which.reason {
            query.push(" AND reason = ");
            query.push_bind(reason);
        }
        query.push(" ORDER BY id");
        if let Some(limit) = which.limit {
            query.push(" LIMIT ");
            query.push_bind(limit);
        }
        let mut connection = self.connection.lock().await;
        let rows = answered(query.build().fetch_all(&mut *connection)).await;
        rows.context(ARE_THE_TABLES_THERE)?
            .iter()
            .map(failed_event)
            .collect()
    }

    /// The dead letter with this number.
    ///
    /// # Errors
    /// When there is none, or the database refuses.
    pub async fn failed_event(&self, id: u64) -> Result<FailedEvent> {
        let which = FailedEventFilter {
            ids: vec![id],
            resolved: true,
            ..FailedEventFilter::default()
        };
        match self.failed_events(&which).await?.pop() {
            Some(failed_event) => Ok(failed_event),
            None => refuse!(
                NoSuchDeadLetter,
                "there is no such dead letter: `rushgate failed list --all` lists all"
            ),
        }
    }
}

/// Records what was done with a dead letter, unless it is already resolved.
pub(super) async fn resolve(
    connection: &mut MySqlConnection,
    id: u64,
    resolution: Resolution,
    note: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE failed_events SET resolution = ?, resolved_at = UTC_TIMESTAMP(3), resolution_note = ? \
         WHERE id = ? AND resolution IS NULL",
    )
    .bind(resolution.as_str())
    .bind(cut(note))
    .bind(id)
    .execute(connection)
    .await
    .context("updating the row of the dead letter")?;
    Ok(())
}

/// Context for headers that cannot be parsed.
const HEADERS: &str = "reading the headers of a dead letter";

/// The headers in readable form; earlier versions stored no others.
fn some_headers(row: &MySqlRow) -> Result<Vec<Header>> {
    let headers: String = row.try_get("headers")?;
    let headers: BTreeMap<String, String> = serde_json::from_str(&headers).context(HEADERS)?;
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, Some(value.into_bytes())));
    Ok(headers.collect())
}

fn failed_event(row: &MySqlRow) -> Result<FailedEvent> {
    let all_headers: Option<String> = row.try_get("all_headers")?;
    let (headers, has_lost_headers) = match all_headers.as_deref() {
        Some("null") => (some_headers(row)?, true),
        Some(kept) => (dead_letter::decode_headers(kept).context(HEADERS)?, false),
        None => (some_headers(row)?, false),
    };
    let resolution: Option<String> = row.try_get("resolution")?;
    let resolved_at: Option<String> = row.try_get("resolved_at")?;
    Ok(FailedEvent {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("kafka_partition")?,
        offset: row.try_get("kafka_offset")?,
        key: row.try_get("record_key")?,
        value: row.try_get("payload")?,
        headers,
        has_lost_headers,
        reason: row.try_get("reason")?,
        detail: row.try_get("detail")?,
        attempts: row.try_get("attempts")?,
        resolution: resolution.zip(resolved_at),
        note: row.try_get("resolution_note")?,
    })
}
