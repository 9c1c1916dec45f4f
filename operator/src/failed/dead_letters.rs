//! Finds the dead letters that a command is about, both those of the consumer and those of the bridge, and records what
//! was done with them.

use super::arguments::{Chosen, Filter};
use crate::config::Config;
use crate::database::{Action, Database, Entry, FailedEvent, FailedEventFilter, Resolution, Write};
use crate::dead_letter::{DeadLetterId, UNPUBLISHED, no_such};
use crate::gate::{Gate, Unpublished};
use crate::kafka::Kafka;
use crate::operation::{Done, Operation, Reported};
use crate::refusal::refuse;
use crate::servers::is_away;
use crate::unknown::Unknown;
use anyhow::{Error, Result, bail};
use rushgate_gate::{CampaignId, CampaignState};

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
            Some(campaign) => vec![self.database.existing(campaign).await?.id],
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
    pub(super) async fn of_bridge(
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

    /// An operation on the campaign that the dead letter is about, if that campaign is known and not halted.
    pub(super) async fn operation_on(
        &self,
        failed_event: &FailedEvent,
    ) -> Result<Option<Operation>> {
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
    pub(super) async fn resolve(
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
}

/// What was done, with what was finished first on the campaign.
pub(super) fn report(operation: Option<&Operation>, done: Result<Done>) -> Result<Reported<Done>> {
    match operation {
        Some(operation) => operation.with_report(done),
        None => Ok(not_on_campaign(done?)),
    }
}

/// What was done without an operation on a campaign.
pub(super) fn not_on_campaign(done: Done) -> Reported<Done> {
    Reported {
        finished_first: vec![],
        done,
    }
}

/// The answer for a dead letter of the bridge that no longer exists: what the log says was done with it.
///
/// # Errors
/// When something else was done with it, or the log has no line about it.
pub(super) async fn gone(operation: &Operation, id: &DeadLetterId, wanted: Action) -> Result<Done> {
    let campaign = &operation.campaign.id;
    let dealt_with = operation.database.dealt_with(campaign, id).await?;
    match dealt_with {
        Some((action, at)) if action == wanted.as_str() => {
            Ok(Done::before(format!("was {action} already, at {at}")))
        }
        Some((action, at)) => refuse!(DeadLetterResolved, "was {action} already, at {at}"),
        None => bail!(no_such(campaign)),
    }
}

/// The error of an attempt that may have taken effect; running it again is harmless.
pub(super) fn unknown(what: &str, number: u64, error: anyhow::Error) -> anyhow::Error {
    let way_out = format!(
        "Run the same command again; `rushgate failed show {number}` shows whether it was done"
    );
    error.context(Unknown::new(what, way_out))
}

/// The answer if it was resolved before.
///
/// # Errors
/// When something else was done with it.
pub(super) fn before(failed_event: &FailedEvent, wanted: Resolution) -> Result<Option<Done>> {
    let Some((word, at)) = &failed_event.resolution else {
        return Ok(None);
    };
    let before = format!("was {word} already, at {at}");
    if word != wanted.as_str() {
        refuse!(DeadLetterResolved, "{before}");
    }
    Ok(Some(Done::before(before)))
}
