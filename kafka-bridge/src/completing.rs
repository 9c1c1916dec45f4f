//! The third stage of the event loop: it acks the entries that Kafka has, and moves those that can never be published
//! to the dead letters, one batch at a time.

use crate::entry::StreamNo;
use crate::health::Health;
use crate::loop_state::LoopState;
use crate::slot::Slot;
use crate::stream::completer::{Completed, Completer};
use crate::stream::connection::StreamError;
use redis::Client;
use rushgate_gate::failpoint::{failpoint, is_active};
use rushgate_startup::{causes, is_missing_right};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The largest number of entries that are acked in one pipeline. Redis serves no other client while it works on
/// it.
const MAX_COMPLETIONS: usize = 1_000;

pub(crate) struct Completing {
    completer: Slot<Completer, CompletedBatch>,
    health: Health,
    /// The streams whose acks Redis has refused. The refusal is logged once for each.
    refused: BTreeSet<StreamNo>,
}

/// The result for each entry of a batch, and an error if any command failed.
pub(crate) type CompletedBatch = (Vec<Completed>, Option<StreamError>);

impl Completing {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            completer: Slot::free(Completer::new(client)),
            health: Health::of("acking in Redis", Duration::ZERO),
            refused: BTreeSet::new(),
        }
    }

    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.health.wait_until(now)
    }

    /// Starts to complete the next batch, if none is under way and there is something to complete. While new entries
    /// gather, the reports of all partitions do so, too: each batch is a transaction, and Redis may have to wait for its
    /// disk.
    pub(crate) fn start(&mut self, state: &mut LoopState, now: Instant) {
        let is_held_up = self.wait_until(now).is_some() || state.timers.is_gathering(now);
        if !self.completer.is_free() || is_held_up {
            return;
        }
        let batch = state.flow.take_completions(MAX_COMPLETIONS);
        if !batch.is_empty() {
            failpoint("bridge::before_ack");
            let streams = batch.iter().map(|(entry, _)| entry.stream);
            let keys = state.keys_of(streams.collect());
            self.completer.fill(|mut completer| async move {
                let outcome = completer.complete(batch, &keys).await;
                (completer, outcome)
            });
        }
    }

    /// Waits for the current batch; waits forever if there is none.
    pub(crate) async fn done(&mut self) -> CompletedBatch {
        self.completer.done().await
    }

    pub(crate) fn handle(
        &mut self,
        (completed, error): CompletedBatch,
        state: &mut LoopState,
        now: Instant,
    ) {
        if error.is_some() {
            state.metrics.completion_errors.increment(1);
        }
        // An error that concerns one campaign only is retried without delaying the others.
        let works = completed.iter().any(|completed| completed.confirmed);
        // A missing right concerns all campaigns, and is logged for all of them at once.
        let is_logged =
            !works && matches!(&error, Some(StreamError::Redis(error)) if is_missing_right(error));
        match error {
            Some(error) if !works => {
                self.health.failed(now, &causes(&error));
            }
            _ => self.health.succeeded(now),
        }
        for Completed {
            entry,
            confirmed,
            moved,
            refused,
        } in completed
        {
            let refused = refused.filter(|_| !is_logged);
            self.log_refusal(entry.stream, confirmed, refused, state);
            let confirmed = confirmed || is_active("bug::ack_not_retried");
            state.flow.completion_answered(entry, confirmed);
            if confirmed {
                failpoint("bridge::after_ack");
            }
            if moved {
                state.metrics.dead_letters.increment(1);
                let campaign = state.campaign(entry.stream);
                // The reason is in the dead letter itself. It is not logged here because it may contain a user
                // id.
                tracing::warn!(%campaign, entry_id = %entry.id, "moved to the dead letters");
            } else if confirmed {
                state.metrics.acked.increment(1);
            }
        }
    }

    /// Logs once for each stream whose acks or dead letters Redis refuses.
    fn log_refusal(
        &mut self,
        stream: StreamNo,
        confirmed: bool,
        refused: Option<String>,
        state: &LoopState,
    ) {
        if confirmed {
            self.refused.remove(&stream);
        }
        if let Some(error) = refused
            && self.refused.insert(stream)
        {
            let campaign = state.campaign(stream);
            tracing::error!(%campaign, error, "Redis refused to ack entries of this campaign; retrying");
        }
    }
}
