//! The first stage of the event loop: it runs one step of reading at a time on Redis.

use crate::config::Config;
use crate::entry::{EntryRef, Fields};
use crate::flow::ToDo;
use crate::health::Health;
use crate::loop_state::LoopState;
use crate::read_plan::Step;
use crate::slot::Slot;
use crate::stream::connection::StreamError;
use crate::stream::reader::{Reader, StepReply};
use redis::Client;
use rushgate_gate::failpoint::failpoint;
use rushgate_startup::causes;
use std::time::{Duration, Instant};

pub(crate) struct Reading {
    reader: Slot<Reader, StepDone>,
    health: Health,
}

/// A step, and the reply to it.
pub(crate) type StepDone = (Step, Result<StepReply, StreamError>);

impl Reading {
    pub(crate) fn new(client: Client, consumer: String, config: &Config) -> Self {
        Self {
            reader: Slot::free(Reader::new(client, consumer, config)),
            health: Health::of("reading from Redis", Duration::ZERO),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Whether no step is running.
    pub(crate) fn is_free(&self) -> bool {
        self.reader.is_free()
    }

    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.health.wait_until(now)
    }

    /// Starts the next step, if there is one to do. Entries are read only while `may_publish` is true.
    pub(crate) fn start(&mut self, may_publish: bool, state: &mut LoopState, now: Instant) {
        let gathered = state.timers.gathered(now);
        if gathered
            && self.is_free()
            && self.wait_until(now).is_none()
            && let Some(step) = state.flow.next_step(may_publish)
        {
            let keys = state.keys_of(step.streams().into_iter().collect());
            self.reader.fill(|mut reader| async move {
                let answer = reader.ask(&step, &keys).await;
                (reader, (step, answer))
            });
        }
    }

    /// Waits for the reply to the current step; waits forever if none is running.
    pub(crate) async fn done(&mut self) -> StepDone {
        self.reader.done().await
    }

    /// Returns the entries that are to be published.
    pub(crate) fn handle(
        &mut self,
        (step, answer): StepDone,
        state: &mut LoopState,
        now: Instant,
    ) -> Vec<(EntryRef, Fields)> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                state.metrics.read_errors.increment(1);
                self.health.failed(now, &causes(&error));
                state.flow.step_failed();
                return Vec::new();
            }
        };
        self.health.succeeded(now);
        let read = match answer {
            StepReply::Campaigns { read, unread } => {
                state.metrics.unread_campaigns.set(unread as f64);
                state.flow.discovered(read);
                return Vec::new();
            }
            StepReply::Groups(groups) => {
                state.flow.groups_answered(&groups);
                return Vec::new();
            }
            StepReply::Entries(read) => read,
        };
        if !read.entries.is_empty() {
            failpoint("bridge::read");
        }
        let gathers = match step {
            // A read that did not wait follows one that found entries.
            Step::ReadNew {
                count, steps, wait, ..
            } if !read.entries.is_empty() || !wait => {
                read.full(count).next().is_none().then_some(steps)
            }
            _ => None,
        };
        let ToDo { publish, lost } = state.flow.read(read);
        if let Some(steps) = gathers
            && !state.flow.plan().has_unfinished()
        {
            state.timers.gather(now, steps);
        }
        for entry in lost {
            state.metrics.lost_entries.increment(1);
            let campaign = state.campaign(entry.stream);
            tracing::error!(%campaign, entry_id = %entry.id, "an entry was deleted from the stream before it was delivered: its grant is lost");
        }
        if !matches!(step, Step::ReadNew { .. }) {
            state.metrics.redelivered.increment(publish.len() as u64);
        }
        publish
    }

    /// Removes the bridge's consumer name from the groups, until `deadline` at most. A name that stays is
    /// checked by every later claim.
    pub(crate) async fn leave(&mut self, state: &LoopState, deadline: Instant) {
        let keys = state.keys_of(state.flow.plan().current().collect());
        let Some(mut reader) = self.reader.take() else {
            return;
        };
        match tokio::time::timeout_at(deadline.into(), reader.leave(&keys)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error = causes(&error),
                    "the bridge's name could not be removed from the consumer groups"
                )
            }
            Err(_) => tracing::warn!(
                "the bridge's name could not be removed from the consumer groups in time"
            ),
        }
    }
}
