//! Where dead letters are dealt with.

use super::{Chosen, Filter, LetterId};
use crate::campaign::{existing, halted};
use crate::database::{Action, Database, Letter, Resolution, Which};
use crate::gate::{Gate, Unpublished};
use crate::kafka::Kafka;
use anyhow::{Context, Result, bail, ensure};
use rushgate_gate::application::Status;
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::revoke::Outcome;
use rushgate_gate::{CampaignId, Event, EventType};
use std::fmt::Write;

/// The most of a record that is kept, and so can be sent again: what the column holds.
const LONGEST_VALUE: usize = 65_535;

/// The servers that know of them.
pub(super) struct Desk {
    pub(super) database: Database,
    pub(super) gate: Gate,
    pub(super) kafka: Kafka,
}

impl Desk {
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

    /// Published first and noted second: who dies in between replays it twice, which is harmless.
    pub(super) async fn replay(&mut self, id: &LetterId) -> Result<String> {
        match id {
            LetterId::Consumer(id) => {
                let letter = self.database.letter(*id).await?;
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
                self.kafka.publish(key, value, &headers).await?;
                let note = format!("attempt {attempt}");
                self.database
                    .resolve(*id, Resolution::Replayed, &note)
                    .await?;
                Ok(format!(
                    "sent again, as {note}; if it fails again it is a dead letter again"
                ))
            }
            LetterId::Bridge(campaign, entry_id) => {
                self.of_bridge(campaign, entry_id).await?;
                ensure!(
                    self.gate.readmit(campaign, entry_id).await?,
                    no_such(campaign)
                );
                let text = format!("{id} is on the stream again");
                self.database
                    .note(campaign, Action::Replayed, &text, None)
                    .await?;
                Ok("on the stream again; if it fails again it is a dead letter again".to_owned())
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
                let event = letter.event().context(NOBODYS);
                let returned = self.returned(return_serial, event).await?;
                self.database
                    .resolve(*number, Resolution::Discarded, note.unwrap_or_default())
                    .await?;
                Ok(format!("discarded{returned}"))
            }
            LetterId::Bridge(campaign, entry_id) => {
                let letter = self.of_bridge(campaign, entry_id).await?;
                let event = letter.event().context(NOBODYS);
                let returned = self.returned(return_serial, event).await?;
                // The log keeps what the entry said, because nothing else does.
                let fields: Vec<String> = letter
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", shown(Some(value))))
                    .collect();
                let text = format!("{id}{returned}: {}", fields.join(" "));
                self.database
                    .note(campaign, Action::Discarded, &text, note)
                    .await?;
                self.gate.discard(campaign, entry_id).await?;
                Ok(format!("discarded{returned}"))
            }
        }
    }

    /// What becomes of the serial, if it is to be returned.
    async fn returned(&mut self, return_serial: bool, event: Result<Event>) -> Result<String> {
        match return_serial {
            true => self.take_back(&event?).await,
            false => Ok(String::new()),
        }
    }

    /// Takes the grant back at the gate, if the gate still has it just so and it has no coupon.
    async fn take_back(&mut self, event: &Event) -> Result<String> {
        let (campaign, round, applicant) = (&event.campaign, &event.round, &event.applicant);
        ensure!(
            event.event_type == EventType::Granted,
            "it is not about a grant, so there is no serial to return"
        );
        self.database.reserve(campaign).await?;
        let status = self
            .gate
            .application(campaign, applicant, Some(round))
            .await?;
        let held = match status {
            Status::Granted(held) | Status::Issued(held) => held,
            Status::Revoked { .. } => {
                return Ok(", the gate had taken the grant back before".to_owned());
            }
            Status::Waitlisted(_) | Status::NotFound | Status::UnknownCampaign => {
                return Ok(", the gate knows of no such grant".to_owned());
            }
        };
        if held.serial != event.serial {
            return Ok(format!(
                ", the person holds serial {} and keeps it",
                held.serial
            ));
        }
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
        match self.gate.revoke(campaign, applicant, Some(round)).await? {
            Outcome::Revoked { grant, promoted } => {
                let text = format!(
                    "{campaign}/{round}/{} of a dead letter is taken back",
                    grant.serial
                );
                self.database
                    .note(campaign, Action::Revoked, &text, None)
                    .await?;
                Ok(match promoted {
                    Some(next) => format!(", its serial {} is {next}'s now", grant.serial),
                    None => format!(", its serial {} is free again", grant.serial),
                })
            }
            Outcome::Halted => bail!("{}", halted(campaign)),
            other => bail!("the gate declined to take the grant back: {other:?}"),
        }
    }
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
