//! The event loop of the bridge. It carries out the decisions of [`Flow`] on [Redis](crate::stream) and
//! [Kafka](crate::sink).
//!
//! The loop is one task. It waits for whichever comes first: the reply to the current read, the reply to the current
//! Redis acks, an event of the Kafka producer, or a timer. At shutdown it stops reading, and waits for delivery
//! reports and for Redis to confirm the acks, for at most `BRIDGE_DRAIN_TIMEOUT`.

use crate::config::Config;
use crate::entry::{EntryRef, Fields, StreamNo};
use crate::flow::{Flow, Read};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::overdue::watch;
use crate::read_plan::Step;
use crate::record::{Record, ValueFormat};
use crate::sink::{ProbeError, ProducerEvent, SendError, Sink, client_config};
use crate::slot::Slot;
use crate::stream::{Completed, Completer, KeysOf, Reader, StepReply, StreamError};
use crate::timers::Timers;
use rdkafka::error::KafkaError;
use rushgate_gate::Keys;
use rushgate_gate::failpoint::{failpoint, is_active};
use rushgate_gate::signature::SigningKeys;
use rushgate_startup::{BadSetting, ExposeSecret, SecretString};
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

/// How long deliveries must succeed before Kafka counts as recovered. One failure among many successful
/// deliveries is not a change of state.
const DELIVERY_RECOVERY: Duration = Duration::from_secs(10);

/// The largest number of entries that are acked in one pipeline. Redis serves no other client while it works on
/// it.
const MAX_COMPLETIONS: usize = 1_000;

/// The largest number of producer events that are handled before other events get their turn.
const MAX_EVENTS: usize = 1_000;

/// Why the bridge could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error("creating the Kafka producer: {0}. Check the KAFKA_* settings")]
    Kafka(#[from] KafkaError),
}

/// Moves entries from Redis to Kafka until `shutdown` completes. Then it finishes the entries that are in
/// flight.
///
/// # Errors
/// Only at the start, if a setting cannot be used. If a server is not available, the bridge waits for it.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let drain_timeout = config.drain_timeout;
    let (client, every) = (config.redis.client()?, config.overdue_every);
    let mut bridge = Bridge::new(config)?;
    let mut shutdown = pin!(shutdown);
    // The task ends when the set is dropped.
    let gauge = bridge.metrics.oldest_without_row.clone();
    let mut watching = JoinSet::new();
    watching.spawn(watch(client, every, gauge));
    loop {
        bridge.start_due_work(Instant::now());
        tokio::select! {
            () = &mut shutdown => break,
            event = bridge.next_event() => bridge.handle(event, Instant::now()),
        }
    }
    bridge.drain(drain_timeout).await;
    Ok(())
}

struct Bridge {
    flow: Flow,
    reader: Slot<Reader, (Step, Result<StepReply, StreamError>)>,
    completer: Slot<Completer, (Vec<Completed>, Option<StreamError>)>,
    sink: Sink,
    producer_events: UnboundedReceiver<ProducerEvent>,
    probe: Slot<(), Result<Option<i32>, ProbeError>>,
    value_format: ValueFormat,
    keys: Option<SigningKeys>,
    metrics: Metrics,

    reading: Health,
    completing: Health,
    kafka: Health,
    delivering: Health,
    /// The streams whose acks Redis has refused. The refusal is logged once for each.
    refused: BTreeSet<StreamNo>,

    timers: Timers,
}

enum Event {
    Read(Step, Result<StepReply, StreamError>),
    Completed(Vec<Completed>, Option<StreamError>),
    Producer(Vec<ProducerEvent>),
    Probed(Result<Option<i32>, ProbeError>),
    Timer,
}

impl Bridge {
    fn new(config: Config) -> Result<Self, StartError> {
        let client = config.redis.client()?;
        let consumer = config.consumer()?;
        let keys = config.kafka.signing.keys()?;
        let window = config.window.get();
        let (sink, producer_events) = Sink::open(client_config(&config)?, &config.kafka)?;
        tracing::info!(
            consumer,
            redis = %client.get_connection_info().addr(),
            brokers = config.kafka.brokers,
            topic = config.kafka.topic,
            "bridge started"
        );
        let claim_idle = config.claim_idle;
        Ok(Self {
            flow: Flow::new(window, config.read_count.get()),
            reader: Slot::free(Reader::new(client.clone(), consumer, &config)),
            completer: Slot::free(Completer::new(client)),
            sink,
            producer_events,
            probe: Slot::free(()),
            value_format: config.value_format,
            keys: SigningKeys::new(keys.iter().map(SecretString::expose_secret)),
            metrics: Metrics::register(),
            reading: Health::of("reading from Redis", Duration::ZERO),
            completing: Health::of("acking in Redis", Duration::ZERO),
            kafka: Health::of("asking Kafka for the topic", Duration::ZERO),
            delivering: Health::of("delivering to Kafka", DELIVERY_RECOVERY),
            refused: BTreeSet::new(),
            timers: Timers::start(Instant::now(), claim_idle),
        })
    }

    fn start_due_work(&mut self, now: Instant) {
        if self.timers.discover(now) {
            self.flow.discover();
        }
        if self.timers.claim(now) {
            self.flow.claim();
        }
        if self.timers.retry(now) {
            self.flow.retry();
        }
        self.start_reading(now);
        self.start_probing(now);
        self.start_completing(now);
        self.update_gauges();
    }

    fn start_reading(&mut self, now: Instant) {
        let gathered = self.timers.gathered(now);
        if gathered
            && self.reader.is_free()
            && self.reading.wait_until(now).is_none()
            && let Some(step) = self.flow.next_step(self.kafka.is_up())
        {
            let keys = self.keys_of(step.streams().into_iter().collect());
            self.reader.fill(|mut reader| async move {
                let answer = reader.ask(&step, &keys).await;
                (reader, (step, answer))
            });
        }
    }

    fn start_completing(&mut self, now: Instant) {
        if !self.completer.is_free() || self.completing.wait_until(now).is_some() {
            return;
        }
        let batch = self.flow.take_completions(MAX_COMPLETIONS);
        if !batch.is_empty() {
            failpoint("bridge::before_ack");
            let streams = batch.iter().map(|(entry, _)| entry.stream);
            let keys = self.keys_of(streams.collect());
            self.completer.fill(|mut completer| async move {
                let outcome = completer.complete(batch, &keys).await;
                (completer, outcome)
            });
        }
    }

    fn start_probing(&mut self, now: Instant) {
        if self.timers.probe(now) {
            let probe = self.sink.probe();
            self.probe.fill(|()| async move { ((), probe.await) });
        }
    }

    async fn next_event(&mut self) -> Event {
        let mut producer_events = Vec::new();
        let timer = self.next_timer(Instant::now());
        tokio::select! {
            (step, answer) = self.reader.done() => Event::Read(step, answer),
            (completed, error) = self.completer.done() => Event::Completed(completed, error),
            result = self.probe.done() => Event::Probed(result),
            _ = self.producer_events.recv_many(&mut producer_events, MAX_EVENTS) => Event::Producer(producer_events),
            () = tokio::time::sleep_until(timer.into()) => Event::Timer,
        }
    }

    fn next_timer(&self, now: Instant) -> Instant {
        let waits = [
            self.reading.wait_until(now),
            self.completing.wait_until(now),
        ];
        let waits = waits.into_iter().flatten();
        waits.fold(self.timers.next(), Instant::min)
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Read(step, answer) => self.read(&step, answer, now),
            Event::Completed(completed, error) => self.completed(completed, error, now),
            Event::Producer(producer_events) => self.handle_producer_events(producer_events, now),
            Event::Probed(Ok(partitions)) => {
                if let Some(partitions) = partitions {
                    self.sink.has_partitions(partitions);
                }
                self.kafka.succeeded(now);
                self.timers.probed(now, None);
            }
            Event::Probed(Err(error)) => {
                let retry_at = self.kafka.failed(now, &error);
                self.timers.probed(now, Some(retry_at));
            }
            Event::Timer => {}
        }
    }

    fn read(&mut self, step: &Step, answer: Result<StepReply, StreamError>, now: Instant) {
        match answer {
            Ok(answer) => {
                self.reading.succeeded(now);
                match answer {
                    StepReply::Campaigns { read, unread } => {
                        self.metrics.unread_campaigns.set(unread as f64);
                        self.flow.discovered(read);
                    }
                    StepReply::Groups(groups) => self.flow.groups_answered(&groups),
                    StepReply::Entries(read) => {
                        if !read.entries.is_empty() {
                            failpoint("bridge::read");
                        }
                        if let Step::ReadNew { count, .. } = step
                            && (1..*count).contains(&read.entries.len())
                        {
                            self.timers.gather(now);
                        }
                        self.publish(read, !matches!(step, Step::ReadNew { .. }), now);
                    }
                }
            }
            Err(error) => {
                self.metrics.read_errors.increment(1);
                self.reading.failed(now, &error);
                self.flow.step_failed();
            }
        }
    }

    fn publish(&mut self, read: Read<Fields>, given_before: bool, now: Instant) {
        let to_do = self.flow.read(read);
        // The next read runs while these entries are encoded.
        self.start_reading(now);
        for entry in to_do.lost {
            self.metrics.lost_entries.increment(1);
            let campaign = self.flow.plan().campaign(entry.stream);
            tracing::error!(%campaign, entry_id = %entry.id, "an entry was deleted from the stream before it was delivered: its grant is lost");
        }
        if given_before {
            self.metrics
                .redelivered
                .increment(to_do.publish.len() as u64);
        }
        for (entry, fields) in to_do.publish {
            match Record::of(&fields, self.value_format, self.keys.as_ref()) {
                Ok(record) => self.sink.add(entry, record),
                Err(error) => self.flow.rejected(entry, error.to_string()),
            }
        }
        self.send_ready(now);
    }

    fn send_ready(&mut self, now: Instant) {
        for (entry, outcome) in self.sink.send_ready() {
            match outcome {
                Ok(()) if is_active("bug::ack_before_report") => self.flow.delivered(entry),
                Ok(()) => {}
                Err(SendError::Permanent(error)) => self.flow.rejected(entry, error.to_string()),
                Err(SendError::Retryable(error)) => self.not_delivered(entry, &error, now),
            }
            failpoint("bridge::published");
        }
    }

    fn handle_producer_events(&mut self, producer_events: Vec<ProducerEvent>, now: Instant) {
        let mut delivered = 0;
        for event in producer_events {
            match event {
                ProducerEvent::Report { sent, outcome } => {
                    self.sink.report_received(sent);
                    match outcome {
                        Ok(()) => {
                            delivered += 1;
                            self.flow.delivered(sent.entry);
                        }
                        Err(error) => self.not_delivered(sent.entry, &error, now),
                    }
                }
                ProducerEvent::Error => self.check_kafka(now),
            }
        }
        if delivered > 0 {
            failpoint("bridge::reported");
            self.metrics.published.increment(delivered);
            self.delivering.succeeded(now);
        }
        self.send_ready(now);
    }

    fn not_delivered(&mut self, entry: EntryRef, error: &KafkaError, now: Instant) {
        self.metrics.delivery_failures.increment(1);
        self.flow.not_delivered(entry);
        if !self.timers.will_retry() {
            let retry_at = self.delivering.failed(now, error);
            self.timers.retry_at(retry_at);
            self.check_kafka(now);
        }
    }

    /// Called when something may be wrong with Kafka or with the producer: checks the topic soon and replaces a
    /// producer that is broken for good.
    fn check_kafka(&mut self, now: Instant) {
        if self.kafka.wait_until(now).is_none() {
            self.timers.probe_soon(now);
        }
        match self.sink.renew_if_broken() {
            Ok(None) => {}
            Ok(Some(error)) => tracing::error!(
                error,
                "the Kafka producer had a fatal error and was replaced"
            ),
            Err(error) => {
                tracing::error!(%error, "the Kafka producer had a fatal error and could not be replaced; trying again")
            }
        }
    }

    fn completed(&mut self, completed: Vec<Completed>, error: Option<StreamError>, now: Instant) {
        if error.is_some() {
            self.metrics.completion_errors.increment(1);
        }
        // An error that concerns one campaign only is retried without delaying the others.
        let works = completed.iter().any(|completed| completed.confirmed);
        match error {
            Some(error) if !works => {
                self.completing.failed(now, &error);
            }
            _ => self.completing.succeeded(now),
        }
        for Completed {
            entry,
            confirmed,
            moved,
            refused,
        } in completed
        {
            self.log_refusal(entry.stream, confirmed, refused);
            let confirmed = confirmed || is_active("bug::ack_not_retried");
            self.flow.completion_answered(entry, confirmed);
            if confirmed {
                failpoint("bridge::after_ack");
            }
            if moved {
                self.metrics.dead_letters.increment(1);
                let campaign = self.flow.plan().campaign(entry.stream);
                // The reason is in the dead letter itself. It is not logged here because it may contain a user
                // id.
                tracing::warn!(%campaign, entry_id = %entry.id, "moved to the dead letters");
            } else if confirmed {
                self.metrics.acked.increment(1);
            }
        }
    }

    /// Logs once for each stream whose acks or dead letters Redis refuses.
    fn log_refusal(&mut self, stream: StreamNo, confirmed: bool, refused: Option<String>) {
        if confirmed {
            self.refused.remove(&stream);
        }
        if let Some(error) = refused
            && self.refused.insert(stream)
        {
            let campaign = self.flow.plan().campaign(stream);
            tracing::error!(%campaign, error, "Redis refused to ack entries of this campaign; retrying");
        }
    }

    /// Finishes the current work, for at most `patience`. Entries that are not acked by then stay pending.
    async fn drain(mut self, patience: Duration) {
        let (deadline, ledger) = (Instant::now() + patience, self.flow.ledger());
        let (in_flight, unacked) = (ledger.in_flight(), ledger.unacked());
        tracing::info!(in_flight, unacked, "bridge is draining");
        self.timers.drain();
        while !self.is_drained() && Instant::now() < deadline {
            self.start_due_work(Instant::now());
            if let Ok(event) = tokio::time::timeout_at(deadline.into(), self.next_event()).await {
                self.handle(event, Instant::now());
            }
        }
        let (in_flight, unacked) = (self.flow.ledger().in_flight(), self.flow.ledger().unacked());
        if self.is_drained() {
            self.leave(deadline).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.sink.close(left).await;
        tracing::info!(
            in_flight,
            unacked,
            "bridge stopped; these entries stay pending"
        );
    }

    /// Removes the bridge's consumer name from the groups, until `deadline` at most. A name that stays is
    /// checked by every later claim.
    async fn leave(&mut self, deadline: Instant) {
        let keys = self.keys_of(self.flow.plan().current().collect());
        let Some(mut reader) = self.reader.take() else {
            return;
        };
        match tokio::time::timeout_at(deadline.into(), reader.leave(&keys)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the bridge's name could not be removed from the consumer groups")
            }
            Err(_) => tracing::warn!(
                "the bridge's name could not be removed from the consumer groups in time"
            ),
        }
    }

    fn is_drained(&self) -> bool {
        let ledger = self.flow.ledger();
        self.reader.is_free() && ledger.in_flight() + ledger.unacked() == 0
    }

    fn update_gauges(&self) {
        let (ledger, plan) = (self.flow.ledger(), self.flow.plan());
        let ready = self.reading.is_up() && plan.is_set_up() && self.kafka.is_up();
        self.metrics
            .ready
            .set(f64::from(u8::from(ready && !self.timers.is_draining())));
        self.metrics.in_flight.set(ledger.in_flight() as f64);
        self.metrics.unacked.set(ledger.unacked() as f64);
    }

    fn keys_of(&self, streams: BTreeSet<StreamNo>) -> KeysOf {
        let keys = |stream| Keys::of(self.flow.plan().campaign(stream));
        let streams = streams.into_iter();
        streams.map(|stream| (stream, keys(stream))).collect()
    }
}
