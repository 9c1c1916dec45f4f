//! The command `rushgate failed show`.

use super::since::since;
use crate::config::Config;
use crate::database::{Database, FailedEvent};
use crate::dead_letter::{DeadLetterId, UNPUBLISHED, no_such, shown};
use crate::gate::{Gate, Unpublished};
use anyhow::Result;
use rushgate_gate::record::PARKED;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// A dead letter, with the record or the entry that it is made of.
pub(super) enum Shown {
    Consumer(FailedEvent),
    Bridge(DeadLetterId, Unpublished),
}

/// Asks only the server that stores this kind.
pub(super) async fn show(config: &Config, id: &DeadLetterId) -> Result<Shown> {
    let database = Database::connect(config).await?;
    match id {
        DeadLetterId::Consumer(number) => {
            Ok(Shown::Consumer(database.failed_event(*number).await?))
        }
        DeadLetterId::Bridge(campaign, entry_id) => {
            let mut gate = Gate::connect(config).await?;
            database.existing(campaign).await?;
            let mut dead_letters = gate.unpublished(campaign).await?.into_iter();
            let found = dead_letters.find(|dead_letter| dead_letter.entry_id == *entry_id);
            let found = found.ok_or_else(|| no_such(campaign))?;
            Ok(Shown::Bridge(id.clone(), found))
        }
    }
}

/// Bytes that are not text are in hexadecimal, after `0x`.
#[derive(Serialize)]
struct Fields<'a> {
    id: String,
    since: String,
    reason: &'a str,
    detail: String,
    topic: Option<&'a str>,
    partition: Option<u32>,
    offset: Option<u64>,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<HeaderFields<'a>>,
    has_lost_headers: bool,
    /// The fields of an entry of the stream.
    fields: Option<BTreeMap<&'a str, String>>,
    attempts: u32,
    /// What the consumer waits for before it replays the dead letter by itself.
    parked_until: Option<&'static str>,
    resolution: &'a str,
    resolved_at: Option<&'a str>,
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct HeaderFields<'a> {
    name: &'a str,
    value: Option<String>,
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| shown(Some(bytes)))
}

/// The fields of an entry, without the reason of its dead letter.
fn fields(entry: &Unpublished) -> impl Iterator<Item = (&str, String)> {
    let fields = entry.fields.iter().filter(|(name, _)| *name != "reason");
    fields.map(|(name, value)| (name.as_str(), shown(Some(value))))
}

/// What an open dead letter of the consumer waits for, if it is parked.
fn parked_until(failed_event: &FailedEvent) -> Option<&'static str> {
    let is_open = failed_event.resolution.is_none();
    let mut parked = PARKED.iter();
    let parked = parked.find(|(reason, _)| is_open && *reason == failed_event.reason);
    parked.map(|(_, until)| *until)
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Consumer(failed_event) => Fields {
                id: failed_event.id.to_string(),
                since: failed_event.at.clone(),
                reason: &failed_event.reason,
                detail: failed_event.detail.clone(),
                topic: Some(&failed_event.topic),
                partition: Some(failed_event.partition),
                offset: Some(failed_event.offset),
                key: text(failed_event.key.as_deref()),
                value: text(failed_event.value.as_deref()),
                headers: failed_event
                    .headers
                    .iter()
                    .map(|(name, value)| HeaderFields {
                        name,
                        value: text(value.as_deref()),
                    })
                    .collect(),
                has_lost_headers: failed_event.has_lost_headers,
                fields: None,
                attempts: failed_event.attempts,
                parked_until: parked_until(failed_event),
                resolution: failed_event.resolution_word(),
                resolved_at: failed_event.resolution.as_ref().map(|(_, at)| at.as_str()),
                note: failed_event.note.as_deref(),
            },
            Self::Bridge(id, entry) => Fields {
                id: id.to_string(),
                since: since(&entry.entry_id),
                reason: UNPUBLISHED,
                detail: entry.reason(),
                topic: None,
                partition: None,
                offset: None,
                key: None,
                value: None,
                headers: vec![],
                has_lost_headers: false,
                fields: Some(fields(entry).collect()),
                attempts: 1,
                parked_until: None,
                resolution: "open",
                resolved_at: None,
                note: None,
            },
        }
        .serialize(to)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer(failed_event) => consumer(failed_event, f),
            Self::Bridge(id, entry) => {
                write!(f, "dead letter {id}")?;
                let mut line = |what: &str, value: &str| write!(f, "\n  {what:<12} {value}");
                line("since", &since(&entry.entry_id))?;
                line("reason", &entry.reason())?;
                for (name, value) in fields(entry) {
                    line("field", &format!("{name}: {value}"))?;
                }
                Ok(())
            }
        }
    }
}

fn consumer(failed_event: &FailedEvent, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "dead letter {}", failed_event.id)?;
    let mut line = |what: &str, value: &str| write!(f, "\n  {what:<12} {value}");
    line("since", &failed_event.at)?;
    line(
        "reason",
        &format!("{}: {}", failed_event.reason, failed_event.detail),
    )?;
    let place = format!(
        "{} partition {} offset {}",
        failed_event.topic, failed_event.partition, failed_event.offset
    );
    line("record", &place)?;
    line("key", &shown(failed_event.key.as_deref()))?;
    line("value", &shown(failed_event.value.as_deref()))?;
    for (name, value) in &failed_event.headers {
        line("header", &format!("{name}: {}", shown(value.as_deref())))?;
    }
    if failed_event.has_lost_headers {
        line("header", "… and more, which are not stored")?;
    }
    line("attempts", &failed_event.attempts.to_string())?;
    if let Some(until) = parked_until(failed_event) {
        line(
            "parked",
            &format!("until {until}; then the consumer replays it"),
        )?;
    }
    match &failed_event.resolution {
        None => line("resolution", "open")?,
        Some((word, at)) => line("resolution", &format!("{word} at {at}"))?,
    }
    match &failed_event.note {
        Some(note) => line("note", note),
        None => Ok(()),
    }
}
