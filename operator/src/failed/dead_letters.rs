//! Replays and discards dead letters, both those of the consumer and those of the bridge.

use super::show::{UNPUBLISHED, shown};
use super::{Chosen, DeadLetterId, Filter};
use crate::campaign::existing;
use crate::config::Config;
use crate::database::{Action, Database, Entry, FailedEvent, FailedEventFilter, Resolution, Write};
use crate::gate::{Gate, Unpublished};
use crate::intention::{GrantRef, Task};
use crate::kafka::Kafka;
use crate::operation::{Operation, halted};
use crate::servers::is_away;
use crate::unknown::Unknown;
use anyhow::{Context, Error, Result, bail, ensure};
use rushgate_gate::record::ATTEMPT_HEADER;
use rushgate_gate::status::Status;
use rushgate_gate::{CampaignId, CampaignState, Event, EventType, signature};

/// Width of the column for values. A value that fills it may have been cut, so it cannot be sent again.
const LONGEST_VALUE: usize = 65_535;

/// Connections to the servers that store dead letters or take them back.
pub(super) struct DeadLetters<'a> {
    pub(super) config: &'a Config,
    pub(super) database: Database,
    pub(super) gate: Gate,
    pub(super) kafka: Kafka,
}

impl DeadLetters<'_> {
    /// The bridge's dead letters, and an error for each campaign whose dead letters cannot be read.
    async fn unpublished(&mut self, filter: &Filter) -> Result<(Vec<DeadLetterId>, Vec<Error>)> {
        if filter
            .reason
            .as_ref()
            .is_some_and(|reason| reason != UNPUBLISHED)
        {
            return Ok((vec![], vec![]));
        }
        let campaigns = match &filter.campaign {
            Some(campaign) => vec![existing(&self.database, campaign).await?.id],
            None => self.database.campaigns().await?,
        };
        let (mut ids, mut errors) = (vec![], vec![]);
        for campaign in campaigns {
            match self.gate.unpublished(&campaign).await {
                Ok(unpublished) => ids.extend(unpublished.into_iter().map(|dead_letter| {
                    DeadLetterId::Bridge(campaign.clone(), dead_letter.entry_id)
                })),
                Err(error) if is_away(&error) => return Err(error),
                Err(error) => errors.push(error.context(format!("campaign {campaign}"))),
            }
        }
        Ok((ids, errors))
    }

    /// The bridge's dead letter with this entry id.
    async fn of_bridge(
        &mut self,
        campaign: &CampaignId,
        entry_id: &str,
    ) -> Result<Option<Unpublished>> {
        let mut dead_letters = self.gate.unpublished(campaign).await?.into_iter();
        Ok(dead_letters.find(|dead_letter| dead_letter.entry_id == entry_id))
    }

    /// The dead letters to replay or discard, and an error for each campaign whose dead letters cannot be read.
    pub(super) async fn chosen(
        &mut self,
        chosen: &Chosen,
    ) -> Result<(Vec<DeadLetterId>, Vec<Error>)> {
        if !chosen.all {
            return Ok((chosen.ids.clone(), vec![]));
        }
        let which = FailedEventFilter {
            campaign: chosen.filter.campaign.clone(),
            reason: chosen.filter.reason.clone(),
            ..FailedEventFilter::default()
        };
        let failed_events = self.database.failed_events(&which).await?;
        let mut ids: Vec<DeadLetterId> = failed_events
            .into_iter()
            .map(|failed_event| DeadLetterId::Consumer(failed_event.id))
            .collect();
        let (unpublished, errors) = self.unpublished(&chosen.filter).await?;
        ids.extend(unpublished);
        Ok((ids, errors))
    }

    /// Publishes first and records that second: interrupted in between, the dead letter is replayed twice, which is
    /// harmless.
    pub(super) async fn replay(&mut self, id: &DeadLetterId) -> Result<String> {
        match id {
            DeadLetterId::Consumer(number) => {
                let failed_event = self.database.failed_event(*number).await?;
                if let Some(before) = before(&failed_event, Resolution::Replayed)? {
                    return Ok(before);
                }
                // Finishes what an interrupted command was about to do with it.
                let operation = self.operation_on(&failed_event).await?;
                let done = self.send_again(operation.as_ref(), *number).await;
                report(operation.as_ref(), done)
            }
            DeadLetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let done = self.readmit(&mut operation, id, entry_id).await;
                operation.with_report(done)
            }
        }
    }

    async fn send_again(&mut self, operation: Option<&Operation>, number: u64) -> Result<String> {
        // Read again: finishing an interrupted command may have changed it.
        let failed_event = self.database.failed_event(number).await?;
        if let Some(before) = before(&failed_event, Resolution::Replayed)? {
            return Ok(before);
        }
        let value = failed_event.value.as_deref();
        ensure!(
            value.is_none_or(|value| value.len() < LONGEST_VALUE),
            "the record was longer than the part that is stored, so it cannot be sent again: discard it"
        );
        ensure!(
            !failed_event.has_lost_headers,
            "not all of the record's headers are stored, or one has a name that is not text, so it cannot be sent again: discard it"
        );
        let mut headers = failed_event.headers.clone();
        let attempt = failed_event.attempts.saturating_add(1);
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(ATTEMPT_HEADER));
        let text = attempt.to_string().into_bytes();
        headers.push((ATTEMPT_HEADER.to_owned(), Some(text)));
        let key = failed_event.key.as_deref();
        self.kafka.connect().await?;
        let published = self.kafka.publish(key, value, &headers).await;
        published.map_err(|error| unknown("the replay", number, error))?;
        let note = format!("attempt {attempt}");
        self.resolve(operation, number, Resolution::Replayed, &note)
            .await?;
        Ok(format!(
            "sent again, as {note}; if it fails again, it becomes a dead letter again"
        ))
    }

    async fn readmit(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        entry_id: &str,
    ) -> Result<String> {
        if matches!(operation.finished_task(), Some(Task::Replay { entry_id: finished }) if finished == entry_id)
        {
            return Ok(String::new());
        }
        let campaign = operation.campaign.id.clone();
        let Some(dead_letter) = self.of_bridge(&campaign, entry_id).await? else {
            return gone(operation, id, Action::Replayed).await;
        };
        ensure!(
            dead_letter
                .fields
                .keys()
                .any(|name| !["reason", "entry_id"].contains(&name.as_str())),
            "the entry has no fields, so it cannot be sent again: discard it"
        );
        let entry_id = entry_id.to_owned();
        operation.perform(Task::Replay { entry_id }, None).await?;
        Ok("on the stream again; if it fails again, it becomes a dead letter again".to_owned())
    }

    pub(super) async fn discard(
        &mut self,
        id: &DeadLetterId,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<String> {
        match id {
            DeadLetterId::Consumer(number) => {
                let failed_event = self.database.failed_event(*number).await?;
                if let Some(before) = before(&failed_event, Resolution::Discarded)? {
                    return Ok(before);
                }
                if return_serial {
                    ensure!(failed_event.reason != signature::REASON, NOBODYS);
                    let event = failed_event.event().context(NOBODYS)?;
                    let mut operation = Operation::begin(self.config, &event.campaign).await?;
                    let done = match before(
                        &self.database.failed_event(*number).await?,
                        Resolution::Discarded,
                    ) {
                        Ok(Some(before)) => Ok(before),
                        Ok(None) => self.take_back(&mut operation, id, &event, None, note).await,
                        Err(error) => Err(error),
                    };
                    return operation.with_report(done);
                }
                let operation = self.operation_on(&failed_event).await?;
                let done = self.give_up(operation.as_ref(), *number, note).await;
                report(operation.as_ref(), done)
            }
            DeadLetterId::Bridge(campaign, entry_id) => {
                let mut operation = Operation::begin(self.config, campaign).await?;
                let done = self
                    .discard_entry(&mut operation, id, entry_id, return_serial, note)
                    .await;
                operation.with_report(done)
            }
        }
    }

    async fn give_up(
        &self,
        operation: Option<&Operation>,
        number: u64,
        note: Option<&str>,
    ) -> Result<String> {
        // Read again: finishing an interrupted command may have changed it.
        let failed_event = self.database.failed_event(number).await?;
        if let Some(before) = before(&failed_event, Resolution::Discarded)? {
            return Ok(before);
        }
        let note = note.unwrap_or_default();
        self.resolve(operation, number, Resolution::Discarded, note)
            .await?;
        Ok("discarded".to_owned())
    }

    async fn discard_entry(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        entry_id: &str,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<String> {
        if matches!(operation.finished_task(), Some(Task::Discard { dead_letter, .. }) if *dead_letter == id.to_string())
        {
            return Ok(String::new());
        }
        let campaign = operation.campaign.id.clone();
        let Some(dead_letter) = self.of_bridge(&campaign, entry_id).await? else {
            return gone(operation, id, Action::Discarded).await;
        };
        // The log keeps the entry's fields; nothing else does.
        let fields: Vec<String> = dead_letter
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={}", shown(Some(value))))
            .collect();
        let content = Some(fields.join(" "));
        if return_serial {
            let event = dead_letter.event().context(NOBODYS)?;
            return self.take_back(operation, id, &event, content, note).await;
        }
        let about = dead_letter.event().ok().map(|event| about(&event));
        let task = Task::discard(id, content, about, None);
        operation.perform(task, note).await
    }

    /// An operation on the campaign that the dead letter is about, if that campaign is known and not halted.
    async fn operation_on(&self, failed_event: &FailedEvent) -> Result<Option<Operation>> {
        let Ok(event) = failed_event.event() else {
            return Ok(None);
        };
        match self.database.campaign(&event.campaign).await? {
            Some(campaign) if campaign.state != CampaignState::Halted => {
                Ok(Some(Operation::begin(self.config, &campaign.id).await?))
            }
            _ => Ok(None),
        }
    }

    /// Records what was done with a dead letter of the consumer, also in the log of its campaign.
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
                    about: None,
                };
                let writes = [Write::Resolved(number, resolution, note), Write::Log(entry)];
                let id = &operation.campaign.id;
                operation.database.write(id, &writes).await
            }
        };
        written.map_err(|error| {
            unknown(
                "recording what was done with the dead letter",
                number,
                error,
            )
        })
    }

    /// Discards a dead letter, and revokes its grant if the gate still holds exactly that grant and it has no coupon.
    async fn take_back(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        event: &Event,
        content: Option<String>,
        note: Option<&str>,
    ) -> Result<String> {
        let (campaign, round, applicant) = (&event.campaign, &event.round, &event.applicant);
        ensure!(
            event.event_type == EventType::Granted,
            "it is not about a grant, so there is no serial to return: discard it without --return-serial"
        );
        let status = self
            .gate
            .application(campaign, applicant, Some(round))
            .await?;
        let (grant, remark) = match status {
            Status::Granted(held) | Status::Issued(held) if held.serial == event.serial => {
                let grant = GrantRef::new(round.clone(), held.serial, applicant.clone());
                ensure!(
                    !operation.has_coupon(&grant).await?,
                    "the applicant has the coupon of this grant: `rushgate revoke` revokes it, `rushgate failed \
                     discard` without --return-serial keeps it"
                );
                (Some(grant), String::new())
            }
            Status::Granted(held) | Status::Issued(held) => (
                None,
                format!(", the applicant holds serial {} and keeps it", held.serial),
            ),
            Status::Revoked { .. } => (None, ", the gate had already revoked the grant".to_owned()),
            Status::Halted => bail!("{}", halted(campaign)),
            Status::Waitlisted(_)
            | Status::NotFound
            | Status::UnknownRound
            | Status::UnknownCampaign => (None, ", the gate has no such grant".to_owned()),
        };
        let task = Task::discard(id, content, Some(about(event)), grant);
        let text = operation.perform(task, note).await?;
        Ok(format!("{text}{remark}"))
    }
}

fn about(event: &Event) -> GrantRef {
    GrantRef::new(event.round.clone(), event.serial, event.applicant.clone())
}

/// The text for the operator, with what was finished first on the campaign.
fn report(operation: Option<&Operation>, done: Result<String>) -> Result<String> {
    match operation {
        Some(operation) => operation.with_report(done),
        None => done,
    }
}

/// The answer for a dead letter of the bridge that no longer exists: what the log says was done with it.
///
/// # Errors
/// When something else was done with it, or the log has no line about it.
async fn gone(operation: &Operation, id: &DeadLetterId, wanted: Action) -> Result<String> {
    let campaign = &operation.campaign.id;
    let dealt_with = operation.database.dealt_with(campaign, id).await?;
    match dealt_with {
        Some((action, at)) if action == wanted.as_str() => {
            Ok(format!("was {action} already, at {at}"))
        }
        Some((action, at)) => bail!("was {action} already, at {at}"),
        None => bail!("{}", no_such(campaign)),
    }
}

/// The error of an attempt that may have taken effect; running it again is harmless.
fn unknown(what: &str, number: u64, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again; `rushgate failed show {number}` shows whether it was done"
    );
    error.context(Unknown::new(what, way_out))
}

/// Why a serial cannot be returned.
const NOBODYS: &str = "the record does not say whose grant it is";

pub(super) fn no_such(campaign: &CampaignId) -> String {
    format!(
        "there is no such dead letter, or it was resolved: `rushgate failed list --campaign {campaign}` lists the open \
         ones, `rushgate campaign log {campaign}` shows what was done with others"
    )
}

/// The answer if it was resolved before.
///
/// # Errors
/// When something else was done with it.
fn before(failed_event: &FailedEvent, wanted: Resolution) -> Result<Option<String>> {
    let Some((word, at)) = &failed_event.resolution else {
        return Ok(None);
    };
    let before = format!("was {word} already, at {at}");
    ensure!(word == wanted.as_str(), "{before}");
    Ok(Some(before))
}
