//! Where dead letters are dealt with.

use super::{Chosen, Filter, LetterId};
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Database, Letter, Resolution, Which};
use crate::gate::{Gate, Unpublished};
use crate::intention::{Deed, Taken};
use crate::kafka::Kafka;
use crate::operation::Operation;
use crate::unknown::Unknown;
use anyhow::{Context, Result, ensure};
use rushgate_gate::application::Status;
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::{CampaignId, Event, EventType};
use std::fmt::Write;

/// The most of a record that is kept, and so can be sent again: what the column holds.
const LONGEST_VALUE: usize = 65_535;

/// The servers that know of them.
pub(super) struct Desk<'a> {
    pub(super) config: &'a Config,
    pub(super) database: Database,
    pub(super) gate: Gate,
    pub(super) kafka: Kafka,
}

impl Desk<'_> {
    pub(super) async fn list(&mut self, filter: &Filter, all: bool, limit: u32) -> Result<String> {
        let mut text = format!(
            "{:<32} {:<20} {:<14} {:<32} {:>8}  RESOLUTION",
            "ID", "SINCE", "REASON", "RECORD", "ATTEMPTS"
        );
        let which = Which {
            campaign: filter.campaign.clone(),
            reason: filter.reason.clone(),
            resolved: all,
            limit: Some(limit),
            ..Which::default()
        };
        for letter in self.database.letters(&which).await? {
            let resolution = letter
                .resolution
                .as_ref()
                .map_or("open", |(word, _)| word.as_str());
            write!(
                text,
                "\n{:<32} {:<20} {:<14} {:<32} {:>8}  {resolution}",
                letter.id,
                letter.at,
                letter.reason,
                shown(letter.key.as_deref()),
                letter.attempts
            )?;
        }
        for (campaign, unpublished) in self.unpublished(filter).await? {
            let id = LetterId::Bridge(campaign, unpublished.entry_id.clone());
            write!(
                text,
                "\n{id:<32} {:<20} {UNPUBLISHED:<14} {:<32} {:>8}  open",
                since(&unpublished.entry_id),
                unpublished
                    .event()
                    .map_or_else(|_| "no event".to_owned(), |event| event.key().to_string()),
                1
            )?;
        }
        Ok(text)
    }

    /// The bridge's dead letters.
    async fn unpublished(&mut self, filter: &Filter) -> Result<Vec<(CampaignId, Unpublished)>> {
        if filter
            .reason
            .as_ref()
            .is_some_and(|reason| reason != UNPUBLISHED)
        {
            return Ok(vec![]);
        }
        let campaigns = match &filter.campaign {
            Some(campaign) => vec![existing(&self.database, campaign).await?.id],
            None => self.database.campaigns().await?,
        };
        let mut letters = vec![];
        for campaign in campaigns {
            for unpublished in self.gate.unpublished(&campaign).await? {
                letters.push((campaign.clone(), unpublished));
            }
        }
        Ok(letters)
    }

    pub(super) async fn show(&mut self, id: &LetterId) -> Result<String> {
        let mut text = format!("dead letter {id}");
        let mut line = |what: &str, value: &str| write!(text, "\n  {what:<12} {value}");
        match id {
            LetterId::Consumer(id) => {
                let letter = self.database.letter(*id).await?;
                line("since", &letter.at)?;
                line("reason", &format!("{}: {}", letter.reason, letter.detail))?;
                let place = format!(
                    "{} partition {} offset {}",
                    letter.topic, letter.partition, letter.offset
                );
                line("record", &place)?;
                line("key", &shown(letter.key.as_deref()))?;
                line("value", &shown(letter.value.as_deref()))?;
                for (name, value) in &letter.headers {
                    line("header", &format!("{name}: {value}"))?;
                }
                line("attempts", &letter.attempts.to_string())?;
                match &letter.resolution {
                    None => line("resolution", "open")?,
                    Some((word, at)) => line("resolution", &format!("{word} at {at}"))?,
                }
                if let Some(note) = &letter.note {
                    line("note", note)?;
                }
            }
            LetterId::Bridge(campaign, entry_id) => {
                let letter = self.of_bridge(campaign, entry_id).await?;
                line("since", &since(entry_id))?;
                line("reason", &letter.reason())?;
                for (name, value) in &letter.fields {
                    if name != "reason" {
                        line("field", &format!("{name}: {}", shown(Some(value))))?;
                    }
                }
            }
        }
        Ok(text)
    }

    /// The dead letter of the bridge of that name.
    async fn of_bridge(&mut self, campaign: &CampaignId, entry_id: &str) -> Result<Unpublished> {
        existing(&self.database, campaign).await?;
        let mut letters = self.gate.unpublished(campaign).await?.into_iter();
        let letter = letters.find(|letter| letter.entry_id == entry_id);
        letter.with_context(|| no_such(campaign))
    }

    pub(super) async fn chosen(&mut self, chosen: &Chosen) -> Result<Vec<LetterId>> {
        if !chosen.all {
            return Ok(chosen.ids.clone());
        }
        let which = Which {
            campaign: chosen.filter.campaign.clone(),
            reason: chosen.filter.reason.clone(),
            ..Which::default()
        };
        let letters = self.database.letters(&which).await?;
        let mut ids: Vec<LetterId> = letters
            .into_iter()
            .map(|letter| LetterId::Consumer(letter.id))
            .collect();
        for (campaign, unpublished) in self.unpublished(&chosen.filter).await? {
            ids.push(LetterId::Bridge(campaign, unpublished.entry_id));
        }
        Ok(ids)
    }

    /// Published first and noted second: interrupted in between, it is replayed twice, which is harmless.
    pub(super) async fn replay(&mut self, id: &LetterId) -> Result<String> {
        match id {
            LetterId::Consumer(number) => {
                let letter = self.database.letter(*number).await?;
                if let Some(before) = resolved(&letter) {
                    return Ok(before);
                }
                let value = letter.value.as_deref();
                ensure!(
                    value.is_none_or(|value| value.len() < LONGEST_VALUE),
                    "the record was longer than what is kept of it, so it cannot be sent again: discard it"
                );
                let mut headers = letter.headers.clone();
                let attempt = letter.attempts.saturating_add(1);
                headers.insert(ATTEMPT_HEADER.to_owned(), attempt.to_string());
                let key = letter.key.as_deref();
                let published = self.kafka.publish(key, value, &headers).await;
                published.map_err(|error| unknown("the replay", error))?;
                let note = format!("attempt {attempt}");
                let written = self.database.resolve(*number, Resolution::Replayed, &note);
                written
                    .await
                    .map_err(|error| unknown("the replay", error))?;
                Ok(format!(
                    "sent again, as {note}; if it fails again it is a dead letter again"
                ))
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                if operation.has_finished() && self.is_gone(campaign, entry_id).await? {
                    return Ok(operation.report(""));
                }
                self.of_bridge(campaign, entry_id).await?;
                let entry_id = entry_id.clone();
                operation.perform(Deed::Replay { entry_id }, None).await?;
                Ok(operation
                    .report("on the stream again; if it fails again it is a dead letter again"))
            }
        }
    }

    pub(super) async fn discard(
        &mut self,
        id: &LetterId,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<String> {
        match id {
            LetterId::Consumer(number) => {
                let letter = self.database.letter(*number).await?;
                if let Some(before) = resolved(&letter) {
                    return Ok(before);
                }
                if return_serial {
                    return self.take_back(id, letter.event(), None, note).await;
                }
                let note = note.unwrap_or_default();
                let written = self.database.resolve(*number, Resolution::Discarded, note);
                written
                    .await
                    .map_err(|error| unknown("the discard", error))?;
                Ok("discarded".to_owned())
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                if operation.has_finished() && self.is_gone(campaign, entry_id).await? {
                    return Ok(operation.report(""));
                }
                let letter = self.of_bridge(campaign, entry_id).await?;
                // The log keeps what the entry said, because nothing else does.
                let fields: Vec<String> = letter
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", shown(Some(value))))
                    .collect();
                let content = Some(fields.join(" "));
                if return_serial {
                    drop(operation);
                    return self.take_back(id, letter.event(), content, note).await;
                }
                let deed = Deed::discard(id, content, None);
                let text = operation.perform(deed, note).await?;
                Ok(operation.report(&text))
            }
        }
    }

    async fn is_gone(&mut self, campaign: &CampaignId, entry_id: &str) -> Result<bool> {
        let letters = self.gate.unpublished(campaign).await?;
        Ok(!letters.iter().any(|letter| letter.entry_id == entry_id))
    }

    /// Discards a dead letter, and takes its grant back if the gate still has it just so and it has no coupon.
    async fn take_back<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        id: &LetterId,
        event: Result<Event, E>,
        content: Option<String>,
        note: Option<&str>,
    ) -> Result<String> {
        let event = event.context(NOBODYS)?;
        let (campaign, round, applicant) = (&event.campaign, &event.round, &event.applicant);
        ensure!(
            event.event_type == EventType::Granted,
            "it is not about a grant, so there is no serial to return"
        );
        let mut operation = Operation::begin(self.config, campaign).await?;
        if let LetterId::Consumer(number) = id
            && let Some(before) = resolved(&self.database.letter(*number).await?)
        {
            return Ok(operation.report(&before));
        }
        let status = self
            .gate
            .application(campaign, applicant, Some(round))
            .await?;
        let (grant, remark) = match status {
            Status::Granted(held) | Status::Issued(held) if held.serial == event.serial => {
                let coupons = self.database.coupons(campaign, applicant).await?;
                let has_coupon = coupons.iter().any(|coupon| {
                    coupon.round == round.as_str()
                        && coupon.serial == event.serial.get()
                        && coupon.state == "active"
                });
                ensure!(
                    !has_coupon,
                    "the person has the coupon of this very grant: `rushgate revoke` takes it back, \
                     `rushgate failed discard` without --return-serial leaves it"
                );
                let grant = Taken::new(round.clone(), held.serial, applicant.clone());
                (Some(grant), String::new())
            }
            Status::Granted(held) | Status::Issued(held) => (
                None,
                format!(", the person holds serial {} and keeps it", held.serial),
            ),
            Status::Revoked { .. } => (
                None,
                ", the gate had taken the grant back before".to_owned(),
            ),
            Status::Waitlisted(_) | Status::NotFound | Status::UnknownCampaign => {
                (None, ", the gate knows of no such grant".to_owned())
            }
        };
        let deed = Deed::discard(id, content, grant);
        let text = operation.perform(deed, note).await?;
        Ok(operation.report(&format!("{text}{remark}")))
    }
}

/// Says that it is not known whether it was done; doing it again is harmless.
fn unknown(what: &str, error: anyhow::Error) -> anyhow::Error {
    error.context(Unknown::new(what, "Run the same command again"))
}

/// Why a serial cannot be returned.
const NOBODYS: &str = "nobody can say whose grant it is";

/// The reason of the bridge's dead letters.
const UNPUBLISHED: &str = "unpublishable";

fn no_such(campaign: &CampaignId) -> String {
    format!(
        "there is none, or no more: `rushgate failed list --campaign {campaign}` shows those there are, \
         `rushgate campaign log {campaign}` what was done with others"
    )
}

/// What was done with it before, if anything.
fn resolved(letter: &Letter) -> Option<String> {
    let (word, at) = letter.resolution.as_ref()?;
    Some(format!("was {word} already, at {at}"))
}

/// Bytes as text, or in hexadecimal where they are none.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(str::from_utf8) {
        None => "none".to_owned(),
        Some(Ok(text)) if !text.contains(char::is_control) => text.to_owned(),
        Some(_) => {
            let bytes = bytes.unwrap_or_default().iter();
            bytes.fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
    }
}

/// When Redis made the entry.
fn since(entry_id: &str) -> String {
    let millis = entry_id
        .split('-')
        .next()
        .and_then(|ms| ms.parse::<i64>().ok());
    let instant = millis.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or_else(String::new, |instant| format!("{instant:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        assert_eq!(shown(Some(b"a/b/1")), "a/b/1");
        assert_eq!(shown(Some(&[0, 0xff])), "0x00ff");
        assert_eq!(shown(None), "none");
        assert_eq!(since("1796086800123-0"), "2026-12-01T01:00:00Z");
    }
}
