//! The event loop of the bridge. It carries out the decisions of [`Flow`] in three stages: `reading`, `publishing` and
//! `completing`.
//!
//! The loop is one task. It waits for whichever comes first: the reply to the current read, the reply to the current
//! Redis acks, an event of the Kafka producer, or a timer. At shutdown it stops reading, and waits for delivery
//! reports and for Redis to confirm the acks, for at most `BRIDGE_DRAIN_TIMEOUT`.

use crate::completing::{CompletedBatch, Completing};
use crate::config::Config;
use crate::flow::Flow;
use crate::kafka::sink::{Sink, client_config};
use crate::loop_state::LoopState;
use crate::metrics::Metrics;
use crate::overdue::watch;
use crate::publishing::{KafkaEvent, Publishing};
use crate::reading::{Reading, StepDone};
use crate::timers::Timers;
use rdkafka::error::KafkaError;
use rushgate_startup::BadSetting;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

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
    let gauge = bridge.state.metrics.oldest_without_row.clone();
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
    state: LoopState,
    reading: Reading,
    publishing: Publishing,
    completing: Completing,
}

enum Event {
    Read(StepDone),
    Kafka(KafkaEvent),
    Completed(CompletedBatch),
    Timer,
}

impl Bridge {
    fn new(config: Config) -> Result<Self, StartError> {
        let client = config.redis.client()?;
        let consumer = config.consumer()?;
        let keys = config.kafka.signing.keys()?;
        let (sink, producer_events) = Sink::open(client_config(&config)?, &config.kafka)?;
        tracing::info!(
            consumer,
            redis = %client.get_connection_info().addr(),
            brokers = config.kafka.brokers,
            topic = config.kafka.topic,
            "bridge started"
        );
        Ok(Self {
            state: LoopState {
                flow: Flow::new(config.window.get(), config.read_count.get()),
                timers: Timers::start(Instant::now(), config.claim_idle),
                metrics: Metrics::register(),
            },
            reading: Reading::new(client.clone(), consumer, &config),
            publishing: Publishing::new(sink, producer_events, config.value_format, &keys),
            completing: Completing::new(client),
        })
    }

    fn start_due_work(&mut self, now: Instant) {
        let LoopState { flow, timers, .. } = &mut self.state;
        if timers.discover(now) {
            flow.discover();
        }
        if timers.claim(now) {
            flow.claim();
        }
        if timers.retry(now) {
            flow.retry();
        }
        self.start_reading(now);
        self.publishing.start_probing(&mut self.state, now);
        self.completing.start(&mut self.state, now);
        self.update_gauges();
    }

    fn start_reading(&mut self, now: Instant) {
        let may_publish = self.publishing.is_kafka_up();
        self.reading.start(may_publish, &mut self.state, now);
    }

    async fn next_event(&mut self) -> Event {
        let timer = self.next_timer(Instant::now());
        tokio::select! {
            done = self.reading.done() => Event::Read(done),
            event = self.publishing.next_event() => Event::Kafka(event),
            done = self.completing.done() => Event::Completed(done),
            () = tokio::time::sleep_until(timer.into()) => Event::Timer,
        }
    }

    fn next_timer(&self, now: Instant) -> Instant {
        let waits = [
            self.reading.wait_until(now),
            self.completing.wait_until(now),
        ];
        let waits = waits.into_iter().flatten();
        waits.fold(self.state.timers.next(), Instant::min)
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Read(done) => {
                let entries = self.reading.handle(done, &mut self.state, now);
                // The next read runs while these entries are encoded.
                self.start_reading(now);
                self.publishing.publish(entries, &mut self.state, now);
            }
            Event::Kafka(event) => self.publishing.handle(event, &mut self.state, now),
            Event::Completed(done) => self.completing.handle(done, &mut self.state, now),
            Event::Timer => {}
        }
    }

    /// Finishes the current work, for at most `patience`. Entries that are not acked by then stay pending.
    async fn drain(mut self, patience: Duration) {
        let (deadline, ledger) = (Instant::now() + patience, self.state.flow.ledger());
        let (in_flight, unacked) = (ledger.in_flight(), ledger.unacked());
        tracing::info!(in_flight, unacked, "bridge is draining");
        self.state.timers.drain();
        while !self.is_drained() && Instant::now() < deadline {
            self.start_due_work(Instant::now());
            if let Ok(event) = tokio::time::timeout_at(deadline.into(), self.next_event()).await {
                self.handle(event, Instant::now());
            }
        }
        let (in_flight, unacked) = (
            self.state.flow.ledger().in_flight(),
            self.state.flow.ledger().unacked(),
        );
        if self.is_drained() {
            self.reading.leave(&self.state, deadline).await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.publishing.close(left).await;
        tracing::info!(
            in_flight,
            unacked,
            "bridge stopped; these entries stay pending"
        );
    }

    fn is_drained(&self) -> bool {
        let ledger = self.state.flow.ledger();
        self.reading.is_free() && ledger.in_flight() + ledger.unacked() == 0
    }

    fn update_gauges(&self) {
        let LoopState {
            flow,
            timers,
            metrics,
        } = &self.state;
        let is_set_up = self.reading.is_up() && flow.plan().is_set_up();
        let ready = is_set_up && self.publishing.is_kafka_up() && !timers.is_draining();
        metrics.ready.set(f64::from(u8::from(ready)));
        metrics.in_flight.set(flow.ledger().in_flight() as f64);
        metrics.unacked.set(flow.ledger().unacked() as f64);
    }
}
