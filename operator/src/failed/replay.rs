//! Replays dead letters: each goes again the way that it took the first time.

use super::dead_letters::{DeadLetters, before, gone, not_on_campaign, report, unknown};
use crate::database::{Action, Resolution};
use crate::dead_letter::DeadLetterId;
use crate::intention::Task;
use crate::operation::{Done, Operation, Reported};
use crate::refusal::refuse;
use anyhow::Result;
use rushgate_gate::record::ATTEMPT_HEADER;

/// Width of the column for values. A value that fills it may have been cut, so it cannot be sent again.
const LONGEST_VALUE: usize = 65_535;

impl DeadLetters<'_> {
    /// Publishes first and records that second: interrupted in between, the dead letter is replayed twice, which is
    /// harmless.
    pub(super) async fn replay(&mut self, id: &DeadLetterId) -> Result<Reported<Done>> {
        match id {
            DeadLetterId::Consumer(number) => {
                let failed_event = self.database.failed_event(*number).await?;
                if let Some(before) = before(&failed_event, Resolution::Replayed)? {
                    return Ok(not_on_campaign(before));
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

    async fn send_again(&mut self, operation: Option<&Operation>, number: u64) -> Result<Done> {
        // Read again: finishing an interrupted command may have changed it.
        let failed_event = self.database.failed_event(number).await?;
        if let Some(before) = before(&failed_event, Resolution::Replayed)? {
            return Ok(before);
        }
        let value = failed_event.value.as_deref();
        if value.is_some_and(|value| value.len() >= LONGEST_VALUE) {
            refuse!(
                DeadLetterUnusable,
                "the record was longer than the part that is stored, so it cannot be sent again: discard it"
            );
        }
        if failed_event.has_lost_headers {
            refuse!(
                DeadLetterUnusable,
                "not all of the record's headers are stored, or one has a name that is not text, so it cannot be sent again: discard it"
            );
        }
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
        Ok(Done::now(format!(
            "sent again, as {note}; if it fails again, it becomes a dead letter again"
        )))
    }

    async fn readmit(
        &mut self,
        operation: &mut Operation,
        id: &DeadLetterId,
        entry_id: &str,
    ) -> Result<Done> {
        if matches!(operation.finished_task(), Some(Task::Replay { entry_id: finished }) if finished == entry_id)
        {
            return Ok(Done::now(""));
        }
        let campaign = operation.campaign.id.clone();
        let Some(dead_letter) = self.of_bridge(&campaign, entry_id).await? else {
            return gone(operation, id, Action::Replayed).await;
        };
        let mut names = dead_letter.fields.keys();
        if names.all(|name| ["reason", "entry_id"].contains(&name.as_str())) {
            refuse!(
                DeadLetterUnusable,
                "the entry has no fields, so it cannot be sent again: discard it"
            );
        }
        let entry_id = entry_id.to_owned();
        operation.perform(Task::Replay { entry_id }, None).await?;
        Ok(Done::now(
            "on the stream again; if it fails again, it becomes a dead letter again",
        ))
    }
}
