//! Where dead letters are dealt with.

use super::show::{UNPUBLISHED, of_bridge, shown};
use super::{Chosen, Filter, LetterId};
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, Letter, Resolution, Which, Write};
use crate::gate::{Gate, Unpublished};
use crate::intention::{Deed, Taken};
use crate::kafka::Kafka;
use crate::operation::Operation;
use crate::unknown::Unknown;
use anyhow::{Context, Result, bail, ensure};
use rushgate_gate::application::Status;
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::{CampaignId, CampaignState, Event, EventType};

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

    /// The dead letter of the bridge of that name.
    async fn of_bridge(&mut self, campaign: &CampaignId, entry_id: &str) -> Result<Unpublished> {
        of_bridge(&self.database, &mut self.gate, campaign, entry_id).await
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
                // What an interrupted command was about to do with it comes first.
                let operation = self.operation_on(&letter).await?;
                let wanted = Resolution::Replayed;
                if let Some(finished) = self.finished(operation.as_ref(), *number, wanted).await? {
                    return Ok(finished);
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
                self.kafka.connect().await?;
                let published = self.kafka.publish(key, value, &headers).await;
                published.map_err(|error| unknown("its replay", *number, error))?;
                let note = format!("attempt {attempt}");
                self.resolve(operation.as_ref(), *number, Resolution::Replayed, &note)
                    .await?;
                Ok(format!(
                    "sent again, as {note}; if it fails again it is a dead letter again"
                ))
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let letter = match operation.finished_deed() {
                    Some(Deed::Replay { entry_id: finished }) if finished == entry_id => {
                        return Ok(operation.report(""));
                    }
                    _ => self
                        .of_bridge(campaign, entry_id)
                        .await
                        .map_err(|error| after(&operation, error))?,
                };
                ensure!(
                    letter
                        .fields
                        .keys()
                        .any(|name| !["reason", "entry_id"].contains(&name.as_str())),
                    "the entry has no fields, so it cannot be sent again: discard it"
                );
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
                let operation = self.operation_on(&letter).await?;
                let wanted = Resolution::Discarded;
                if let Some(finished) = self.finished(operation.as_ref(), *number, wanted).await? {
                    return Ok(finished);
                }
                let note = note.unwrap_or_default();
                self.resolve(operation.as_ref(), *number, Resolution::Discarded, note)
                    .await?;
                Ok("discarded".to_owned())
            }
            LetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let letter = match operation.finished_deed() {
                    Some(Deed::Discard { letter, .. }) if *letter == id.to_string() => {
                        return Ok(operation.report(""));
                    }
                    _ => self
                        .of_bridge(campaign, entry_id)
                        .await
                        .map_err(|error| after(&operation, error))?,
                };
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

    /// An operation on the campaign that the dead letter is about, where that is known and is not halted.
    async fn operation_on(&self, letter: &Letter) -> Result<Option<Operation>> {
        let Ok(event) = letter.event() else {
            return Ok(None);
        };
        match self.database.campaign(&event.campaign).await? {
            Some(campaign) if campaign.state != CampaignState::Halted => {
                Ok(Some(Operation::begin(self.config, &campaign.id).await?))
            }
            _ => Ok(None),
        }
    }

    /// What is to be said if an interrupted command, which was finished first, has resolved the dead letter.
    async fn finished(
        &self,
        operation: Option<&Operation>,
        number: u64,
        wanted: Resolution,
    ) -> Result<Option<String>> {
        let Some(operation) = operation.filter(|it| it.finished_deed().is_some()) else {
            return Ok(None);
        };
        let letter = self.database.letter(number).await?;
        match (&letter.resolution, resolved(&letter)) {
            (Some((word, _)), Some(before)) if word == wanted.as_str() => {
                Ok(Some(operation.report(&before)))
            }
            (_, Some(before)) => bail!("{}", operation.report(&before)),
            (_, None) => Ok(None),
        }
    }

    /// Notes what was done with a dead letter of the consumer, also in the log of its campaign.
    async fn resolve(
        &self,
        operation: Option<&Operation>,
        number: u64,
        resolution: Resolution,
        note: &str,
    ) -> Result<()> {
        let written = match operation {
            None => self.database.resolve(number, resolution, note).await,
            Some(operation) => {
                let (action, detail) = match resolution {
                    Resolution::Replayed => (Action::Replayed, format!("{number}: {note}")),
                    Resolution::Discarded => (Action::Discarded, number.to_string()),
                };
                let entry = Entry {
                    action,
                    detail: &detail,
                    reason: Some(note)
                        .filter(|note| !note.is_empty() && action == Action::Discarded),
                    actor: Some(operation.actor()),
                };
                let writes = [Write::Resolved(number, resolution, note), Write::Log(entry)];
                let id = &operation.campaign.id;
                operation.database.write(id, &writes).await
            }
        };
        written.map_err(|error| unknown("what was done with it", number, error))
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
                let grant = Taken::new(round.clone(), held.serial, applicant.clone());
                ensure!(
                    !operation.has_coupon(&grant).await?,
                    "the person has the coupon of this very grant: `rushgate revoke` takes it back, \
                     `rushgate failed discard` without --return-serial leaves it"
                );
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
            Status::Waitlisted(_)
            | Status::NotFound
            | Status::UnknownRound
            | Status::UnknownCampaign => (None, ", the gate knows of no such grant".to_owned()),
        };
        let deed = Deed::discard(id, content, grant);
        let text = operation.perform(deed, note).await?;
        Ok(operation.report(&format!("{text}{remark}")))
    }
}

/// Says what was finished first, which may be why there is no such dead letter any more.
fn after(operation: &Operation, error: anyhow::Error) -> anyhow::Error {
    match operation.report("") {
        finished if finished.is_empty() => error,
        finished => error.context(finished),
    }
}

/// Says that it is not known whether it was done; doing it again is harmless.
fn unknown(what: &str, number: u64, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again; `rushgate failed show {number}` tells whether it was done"
    );
    error.context(Unknown::new(what, way_out))
}

/// Why a serial cannot be returned.
const NOBODYS: &str = "nobody can say whose grant it is";

pub(super) fn no_such(campaign: &CampaignId) -> String {
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
