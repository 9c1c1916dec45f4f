//! `rushgate failed`: dead letters, and what a human decides about them.
//!
//! There are two kinds. The consumer's are records that could not become a coupon (`failed_events`), known by their
//! number. The bridge's are stream entries that could not become a record, known by campaign and entry id.

use crate::campaign::{existing, halted};
use crate::config::Config;
use crate::database::{Action, Database, Letter, Resolution, Which};
use crate::gate::{Gate, Unpublished};
use crate::kafka::Kafka;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use rushgate_gate::application::Status;
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::revoke::Outcome;
use rushgate_gate::{CampaignId, Event, EventType};
use std::fmt::{self, Write};
use std::str::FromStr;

/// Shown below the flags of `failed`.
pub const EXAMPLES: &str = "Examples:
  rushgate failed list --campaign welcome
  rushgate failed show 17
  rushgate failed replay 17 18            after whatever was wrong has been put right
  rushgate failed replay --all --reason unknown_round
  rushgate failed discard 17 --note 'test record'
  rushgate failed discard welcome/1796086800123-0 --return-serial --note 'left the country'

Replaying is safe, also twice: whoever has his coupon keeps it, and what fails again is a dead letter again.";

/// The most of a record that is kept, and so can be sent again: what the column holds.
const LONGEST_VALUE: usize = 65_535;

/// What can be done about dead letters.
#[derive(Subcommand)]
pub enum FailedCommand {
    /// One line for each dead letter that is open
    List {
        /// Which
        #[command(flatten)]
        filter: Filter,
        /// Also those that are resolved
        #[arg(long)]
        all: bool,
        /// So many of the consumer's at most
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// All of one: the record, the reason, and what was done about it
    Show {
        /// Which
        id: LetterId,
    },
    /// Send it again, through the very path that it took
    Replay {
        /// Which
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Give it up
    Discard {
        /// Which
        #[command(flatten)]
        chosen: Chosen,
        /// Take the grant back at the gate, so that its serial goes to the next who waits, or back to the pool
        #[arg(long)]
        return_serial: bool,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// Of which campaign, with which reason.
#[derive(Args)]
pub struct Filter {
    /// Only of this campaign
    #[arg(long)]
    campaign: Option<CampaignId>,
    /// Only with this reason, such as serial_taken
    #[arg(long)]
    reason: Option<String>,
}

/// Which dead letters are to be dealt with.
#[derive(Args)]
pub struct Chosen {
    /// Which, as `failed list` names them
    #[arg(required_unless_present = "all")]
    ids: Vec<LetterId>,
    /// All that are open, of that campaign and with that reason if given
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

/// The name of a dead letter: `17`, or `welcome/1796086800123-0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterId {
    /// The consumer's, by its number.
    Consumer(u64),
    /// The bridge's, by its campaign and entry id.
    Bridge(CampaignId, String),
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || {
            format!(
                "{text:?} is no dead letter: give a number such as 17, or CAMPAIGN/ENTRY-ID, as `rushgate failed list` shows them"
            )
        };
        match text.split_once('/') {
            None => text.parse().map(Self::Consumer).map_err(|_| hint()),
            Some((campaign, entry)) => {
                let (ms, seq) = entry.split_once('-').ok_or_else(hint)?;
                ms.parse::<u64>().map_err(|_| hint())?;
                seq.parse::<u64>().map_err(|_| hint())?;
                let campaign = campaign.parse().map_err(|_| hint())?;
                Ok(Self::Bridge(campaign, entry.to_owned()))
            }
        }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer(id) => f.pad(&id.to_string()),
            Self::Bridge(campaign, entry) => f.pad(&format!("{campaign}/{entry}")),
        }
    }
}

impl FailedCommand {
    /// Does it; the text for the operator.
    ///
    /// # Errors
    /// When a server does not answer or refuses, or there is no such dead letter.
    pub async fn run(&self, config: &Config) -> Result<String> {
        let mut desk = Desk {
            database: Database::connect(config).await?,
            gate: Gate::connect(config).await?,
            kafka: Kafka::new(config)?,
        };
        match self {
            Self::List { filter, all, limit } => desk.list(filter, *all, *limit).await,
            Self::Show { id } => desk.show(id).await.with_context(|| about(id, &[])),
            Self::Replay { chosen } => {
                let mut done = vec![];
                for id in desk.chosen(chosen).await? {
                    let replayed = desk.replay(&id).await;
                    let replayed = replayed.with_context(|| about(&id, &done))?;
                    done.push(format!("{id}: {replayed}"));
                }
                Ok(all(&done))
            }
            Self::Discard {
                chosen,
                return_serial,
                note,
            } => {
                let mut done = vec![];
                for id in desk.chosen(chosen).await? {
                    let discarded = desk.discard(&id, *return_serial, note.as_deref()).await;
                    let discarded = discarded.with_context(|| about(&id, &done))?;
                    done.push(format!("{id}: {discarded}"));
                }
                Ok(all(&done))
            }
        }
    }
}

fn all(done: &[String]) -> String {
    match done {
        [] => "no dead letter is open".to_owned(),
        done => done.join("\n"),
    }
}

/// What an error is about, and what was done before it.
fn about(id: &LetterId, done: &[String]) -> String {
    match done.len() {
        0 => format!("dead letter {id}"),
        count => format!("dead letter {id}, after {count} that were dealt with"),
    }
}

/// Where dead letters are dealt with.
struct Desk {
    database: Database,
    gate: Gate,
    kafka: Kafka,
}

impl Desk {
    async fn list(&mut self, filter: &Filter, all: bool, limit: u32) -> Result<String> {
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

    async fn show(&mut self, id: &LetterId) -> Result<String> {
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

    async fn chosen(&mut self, chosen: &Chosen) -> Result<Vec<LetterId>> {
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
    async fn replay(&mut self, id: &LetterId) -> Result<String> {
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

    async fn discard(
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
                let returned = if return_serial {
                    let event = letter.event();
                    self.take_back(&event.context("nobody can say whose grant it is")?)
                        .await?
                } else {
                    String::new()
                };
                self.database
                    .resolve(*number, Resolution::Discarded, note.unwrap_or_default())
                    .await?;
                Ok(format!("discarded{returned}"))
            }
            LetterId::Bridge(campaign, entry_id) => {
                let letter = self.of_bridge(campaign, entry_id).await?;
                let returned = if return_serial {
                    let event = letter.event();
                    self.take_back(&event.context("nobody can say whose grant it is")?)
                        .await?
                } else {
                    String::new()
                };
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
    fn names_of_dead_letters_are_read_back() {
        for name in ["17", "welcome/1796086800123-0"] {
            let id: LetterId = name.parse().expect(name);
            assert_eq!(id.to_string(), name);
        }
        for name in ["", "x", "welcome/", "welcome/5", "WELCOME/5-0", "-1"] {
            let error = name.parse::<LetterId>().expect_err(name);
            assert!(error.contains("failed list"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        assert_eq!(shown(Some(b"a/b/1")), "a/b/1");
        assert_eq!(shown(Some(&[0, 0xff])), "0x00ff");
        assert_eq!(shown(None), "none");
        assert_eq!(since("1796086800123-0"), "2026-12-01T01:00:00Z");
    }
}
