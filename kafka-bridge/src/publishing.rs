//! The second stage of the event loop: it publishes entries, follows what becomes of them, and watches Kafka.

use crate::entry::{EntryRef, Fields};
use crate::health::Health;
use crate::kafka::producer_events::ProducerEvent;
use crate::kafka::record::{Record, ValueFormat};
use crate::kafka::sink::{ProbeError, SendError, Sink};
use crate::loop_state::LoopState;
use crate::slot::Slot;
use rdkafka::error::KafkaError;
use rushgate_gate::failpoint::{failpoint, is_active};
use rushgate_gate::signature::SigningKeys;
use rushgate_startup::{ExposeSecret, SecretString, causes};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// How long deliveries must succeed before Kafka counts as recovered. One failure among many successful
/// deliveries is not a change of state.
const DELIVERY_RECOVERY: Duration = Duration::from_secs(10);

/// The largest number of producer events that are handled before other events get their turn.
const MAX_EVENTS: usize = 1_000;

pub(crate) struct Publishing {
    sink: Sink,
    producer_events: UnboundedReceiver<ProducerEvent>,
    probe: Slot<(), ProbeResult>,
    value_format: ValueFormat,
    keys: Option<SigningKeys>,
    kafka: Health,
    delivering: Health,
}

/// The number of partitions, if it is known.
type ProbeResult = Result<Option<i32>, ProbeError>;

pub(crate) enum KafkaEvent {
    Producer(Vec<ProducerEvent>),
    Probed(ProbeResult),
}

impl Publishing {
    pub(crate) fn new(
        sink: Sink,
        producer_events: UnboundedReceiver<ProducerEvent>,
        value_format: ValueFormat,
        keys: &[SecretString],
    ) -> Self {
        Self {
            sink,
            producer_events,
            probe: Slot::free(()),
            value_format,
            keys: SigningKeys::new(keys.iter().map(SecretString::expose_secret)),
            kafka: Health::of("asking Kafka for the topic", Duration::ZERO),
            delivering: Health::of("delivering to Kafka", DELIVERY_RECOVERY),
        }
    }

    pub(crate) fn is_kafka_up(&self) -> bool {
        self.kafka.is_up()
    }

    pub(crate) fn start_probing(&mut self, state: &mut LoopState, now: Instant) {
        if state.timers.probe(now) {
            let probe = self.sink.probe();
            self.probe.fill(|()| async move { ((), probe.await) });
        }
    }

    pub(crate) async fn next_event(&mut self) -> KafkaEvent {
        let mut producer_events = Vec::new();
        tokio::select! {
            result = self.probe.done() => KafkaEvent::Probed(result),
            _ = self.producer_events.recv_many(&mut producer_events, MAX_EVENTS) => KafkaEvent::Producer(producer_events),
        }
    }

    pub(crate) fn publish(
        &mut self,
        entries: Vec<(EntryRef, Fields)>,
        state: &mut LoopState,
        now: Instant,
    ) {
        for (entry, fields) in entries {
            match Record::of(&fields, self.value_format, self.keys.as_ref()) {
                Ok(record) => self.sink.add(entry, record),
                Err(error) => state.flow.rejected(entry, error.to_string()),
            }
        }
        self.send_ready(state, now);
    }

    pub(crate) fn handle(&mut self, event: KafkaEvent, state: &mut LoopState, now: Instant) {
        match event {
            KafkaEvent::Producer(events) => self.handle_producer_events(events, state, now),
            KafkaEvent::Probed(Ok(partitions)) => {
                if let Some(partitions) = partitions {
                    self.sink.has_partitions(partitions);
                }
                self.kafka.succeeded(now);
                state.timers.probed(now, None);
            }
            KafkaEvent::Probed(Err(error)) => {
                let retry_at = self.kafka.failed(now, &causes(&error));
                state.timers.probed(now, Some(retry_at));
            }
        }
    }

    /// Closes the producer, after waiting up to `patience` for the delivery reports.
    pub(crate) async fn close(self, patience: Duration) {
        self.sink.close(patience).await;
    }

    fn send_ready(&mut self, state: &mut LoopState, now: Instant) {
        for (entry, outcome) in self.sink.send_ready() {
            match outcome {
                Ok(()) if is_active("bug::ack_before_report") => state.flow.delivered(entry),
                Ok(()) => {}
                Err(SendError::Permanent(error)) => state.flow.rejected(entry, error.to_string()),
                Err(SendError::Retryable(error)) => self.not_delivered(entry, &error, state, now),
            }
            failpoint("bridge::published");
        }
    }

    fn handle_producer_events(
        &mut self,
        events: Vec<ProducerEvent>,
        state: &mut LoopState,
        now: Instant,
    ) {
        let mut delivered = 0;
        for event in events {
            match event {
                ProducerEvent::Report { sent, outcome } => {
                    self.sink.report_received(sent);
                    match outcome {
                        Ok(()) => {
                            delivered += 1;
                            state.flow.delivered(sent.entry);
                        }
                        Err(error) => self.not_delivered(sent.entry, &error, state, now),
                    }
                }
                ProducerEvent::Error => self.check_kafka(state, now),
            }
        }
        if delivered > 0 {
            failpoint("bridge::reported");
            state.metrics.published.increment(delivered);
            self.delivering.succeeded(now);
        }
        self.send_ready(state, now);
    }

    fn not_delivered(
        &mut self,
        entry: EntryRef,
        error: &KafkaError,
        state: &mut LoopState,
        now: Instant,
    ) {
        state.metrics.delivery_failures.increment(1);
        state.flow.not_delivered(entry);
        if !state.timers.will_retry() {
            let problem = self.sink.explain(error);
            self.check_kafka(state, now);
            let retry_at = self.delivering.failed(now, &problem);
            state.timers.retry_at(retry_at);
        }
    }

    /// Called when something may be wrong with Kafka or with the producer: checks the topic soon and replaces a
    /// producer that is broken for good. A producer that lacks a right is broken again at once, so it is not
    /// replaced more often than deliveries are tried.
    fn check_kafka(&mut self, state: &mut LoopState, now: Instant) {
        if self.kafka.wait_until(now).is_none() {
            state.timers.probe_soon(now);
        }
        if self.delivering.wait_until(now).is_some() {
            return;
        }
        match self.sink.renew_if_broken() {
            Ok(None) => {}
            Ok(Some(problem)) => {
                self.delivering.failed(now, &problem);
            }
            Err(error) => {
                self.delivering.failed(now, &causes(&error));
            }
        }
    }
}
