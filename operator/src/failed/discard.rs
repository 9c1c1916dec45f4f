//! Discards dead letters, with their grants if the operator asks for that.

use super::dead_letters::{DeadLetters, before, gone, not_on_campaign, report};
use crate::database::{Action, Resolution};
use crate::dead_letter::{DeadLetterId, shown};
use crate::intention::{GrantRef, Task};
use crate::operation::{Done, Operation, Reported, halted};
use crate::refusal::{ErrorCode, Refusal, refuse};
use anyhow::{Result, bail};
use rushgate_gate::status::Status;
use rushgate_gate::{Event, EventType, signature};

/// Why a serial cannot be returned.
fn nobodys() -> Refusal {
    Refusal::new(
        ErrorCode::DeadLetterUnusable,
        "the record does not say whose grant it is",
    )
}

impl DeadLetters<'_> {
    pub(super) async fn discard(
        &mut self,
        id: &DeadLetterId,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<Reported<Done>> {
        match id {
            DeadLetterId::Consumer(number) => {
                let failed_event = self.database.failed_event(*number).await?;
                if let Some(before) = before(&failed_event, Resolution::Discarded)? {
                    return Ok(not_on_campaign(before));
                }
                if return_serial {
                    if failed_event.reason == signature::REASON {
                        bail!(nobodys());
                    }
                    let event = failed_event.event().map_err(|_| nobodys())?;
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
    ) -> Result<Done> {
        // Read again: finishing an interrupted command may have changed it.
        let failed_event = self.database.failed_event(number).await?;
        if let Some(before) = before(&failed_event, Resolution::Discarded)? {
            return Ok(before);
        }
        let note = note.unwrap_or_default();
        self.resolve(operation, number, Resolution::Discarded, note)
            .await?;
        Ok(Done::now("discarded"))
    }

    async fn discard_entry(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        entry_id: &str,
        return_serial: bool,
        note: Option<&str>,
    ) -> Result<Done> {
        if matches!(operation.finished_task(), Some(Task::Discard { dead_letter, .. }) if *dead_letter == id.to_string())
        {
            return Ok(Done::now(""));
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
            let event = dead_letter.event().map_err(|_| nobodys())?;
            return self.take_back(operation, id, &event, content, note).await;
        }
        let about = dead_letter.event().ok().map(|event| about(&event));
        let task = Task::discard(id, content, about, None);
        operation.perform(task, note).await
    }

    /// Discards a dead letter, and revokes its grant if the gate still holds exactly that grant and it has no coupon.
    async fn take_back(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        event: &Event,
        content: Option<String>,
        note: Option<&str>,
    ) -> Result<Done> {
        let (campaign, round, applicant) = (&event.campaign, &event.round, &event.applicant);
        if event.event_type != EventType::Granted {
            refuse!(
                DeadLetterUnusable,
                "it is not about a grant, so there is no serial to return: discard it without --return-serial"
            );
        }
        let status = self
            .gate
            .application(campaign, applicant, Some(round))
            .await?;
        let (grant, remark) = match status {
            Status::Granted(held) | Status::Issued { grant: held, .. }
                if held.serial == event.serial =>
            {
                let grant = GrantRef::new(round.clone(), held.serial, applicant.clone());
                if operation.has_coupon(&grant).await? {
                    refuse!(
                        DeadLetterUnusable,
                        "the applicant has the coupon of this grant: `rushgate revoke` revokes it, `rushgate failed \
                         discard` without --return-serial keeps it"
                    );
                }
                (Some(grant), String::new())
            }
            Status::Granted(held) | Status::Issued { grant: held, .. } => (
                None,
                format!(", the applicant holds serial {} and keeps it", held.serial),
            ),
            Status::Revoked { .. } => (None, ", the gate had already revoked the grant".to_owned()),
            Status::Halted => bail!(halted(campaign)),
            Status::Waitlisted(_)
            | Status::Expired { .. }
            | Status::NotFound
            | Status::UnknownRound
            | Status::UnknownCampaign => (None, ", the gate has no such grant".to_owned()),
        };
        let task = Task::discard(id, content, Some(about(event)), grant);
        let done = operation.perform(task, note).await?;
        Ok(Done {
            message: format!("{done}{remark}"),
            ..done
        })
    }
}

fn about(event: &Event) -> GrantRef {
    GrantRef::new(event.round.clone(), event.serial, event.applicant.clone())
}
