//! Measures the time from a grant to its row in the database, in milliseconds. The load is steady: half of the rate
//! that the whole system could process just before.

use super::http::steady;
use super::pipeline::Pipeline;
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, Figure, interleaved};
use crate::scale::Scale;
use crate::testbed::Testbed;
use crate::topic::handed_over;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rushgate_testbed::load::{Load, LoadResult, Until};
use sqlx::Row;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

pub(super) const NAME: &str = "end-to-end";

/// How long grants gather in the bridge before it reads them, in milliseconds. In the consumer they wait for others again,
/// for 5 ms as shipped.
const GATHER: f64 = 20.0;

/// Polling interval for new rows: a row may have been there for this much longer than reported.
const LOOK: Duration = Duration::from_millis(4);

/// Transactions commit in another order than they take ids, and an id may stay unused: how long the rows after a
/// missing id are read again.
const GAP: Duration = Duration::from_secs(1);

/// When each row was first seen, by its id: milliseconds since 1970.
type Seen = HashMap<u64, u64>;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let mut pipeline = Pipeline::start(testbed)?;
    let mut sent = Sent::default();
    // The capacity: grants until all have their rows, including the requests. The first turn is not counted: Kafka's
    // JIT compiler runs meanwhile, on a core that the others need.
    let mut capacity = 0.0;
    for turns in [16, 2] {
        let begun = Instant::now();
        let load = Load {
            until: Until::Elapsed(scale.turn() * turns),
            ..pipeline.applications(testbed, sent.people)
        };
        let before = sent.grants;
        sent.all_the_way(testbed, &mut pipeline, load)?;
        capacity = (sent.grants - before) as f64 / begun.elapsed().as_secs_f64();
    }

    let rate = capacity / 2.0;
    let turn = || Turn::take(testbed, &mut pipeline, &mut sent, rate);
    let [turns] = interleaved(scale.rounds(), [Contender::new("steady", turn)])?;
    pipeline.end(testbed)?;

    let grant_to_row =
        |quantile| turns.figure(|turn| turn.delays.all.value_at_quantile(quantile) as f64);
    let (median, p99) = (grant_to_row(0.5), grant_to_row(0.99));
    let hops = turns.figure(|turn| {
        let hops = turn.delays.hops.iter();
        hops.map(|hop| hop.value_at_quantile(0.5) as f64).sum()
    });
    let answer = |quantile| turns.figure(|turn| turn.answers.quantile(quantile) / 1e3);
    let ms = Unit::Milliseconds;
    let at = format!("at {}/s", Unit::PerSecond.show(rate));
    Ok(vec![
        Finding::new(
            NAME,
            "all the way",
            Figure::known(capacity),
            Unit::PerSecond,
        ),
        Finding::new(NAME, format!("grant to row, p99 {at}"), p99.clone(), ms)
            .beside("gathering in the bridge", Figure::known(GATHER))
            .to_be(Goal::AtMost(2.5)),
        Finding::new(NAME, format!("grant to row, p99 {at}"), p99, ms)
            .beside("its p50", median.clone()),
        Finding::new(NAME, format!("grant to row, p50 {at}"), median, ms)
            .beside("p50 to the topic and p50 from there", hops),
        Finding::new(NAME, format!("answer, p99 {at}"), answer(0.99), ms)
            .beside("its p50", answer(0.5)),
        Finding::new(
            NAME,
            format!("bridge, for a grant {at}"),
            turns.figure(|turn| turn.bridge_cpu),
            Unit::CpuMicroseconds,
        ),
    ])
}

/// Applicants so far, and how many of them were granted.
#[derive(Default)]
struct Sent {
    people: u64,
    grants: u64,
}

impl Sent {
    /// Sends applications, and waits for the rows of all grants.
    fn all_the_way(
        &mut self,
        testbed: &mut Testbed,
        pipeline: &mut Pipeline,
        mut load: Load,
    ) -> Result<LoadResult> {
        let outcome = load.run()?;
        self.people += outcome.sent;
        self.grants += outcome.answers.get(&201).copied().unwrap_or(0);
        pipeline.until_issued(testbed)?;
        Ok(outcome)
    }
}

/// The figures of one turn at a steady rate.
struct Turn {
    delays: Delays,
    answers: LoadResult,
    /// The bridge's CPU microseconds for each grant.
    bridge_cpu: f64,
}

impl Turn {
    fn take(
        testbed: &mut Testbed,
        pipeline: &mut Pipeline,
        sent: &mut Sent,
        rate: f64,
    ) -> Result<Self> {
        let turn = testbed.scale.turn();
        let before = highest(testbed)?;
        let done = Arc::new(AtomicBool::new(false));
        let watching = testbed.spawn(watch(testbed.database()?, before, done.clone()));
        let load = Load {
            until: Until::Elapsed(turn * if testbed.scale == Scale::Full { 3 } else { 4 }),
            ..pipeline.applications(testbed, sent.people)
        };
        let used = pipeline.bridge.process.usage()?.cpu;
        let answers = sent.all_the_way(testbed, pipeline, steady(load, rate));
        done.store(true, Ordering::Relaxed);
        let seen = testbed.wait_for(watching)??;
        let answers = answers?.all(201)?;
        let used = pipeline.bridge.process.usage()?.cpu - used;
        let topic = &pipeline.route.topic;
        let handed_over = handed_over(&testbed.servers.kafka_brokers, topic)?;
        Ok(Self {
            delays: Delays::of(testbed, before, &seen, &handed_over)?,
            bridge_cpu: used.as_secs_f64() * 1e6 / answers.sent as f64,
            answers,
        })
    }
}

/// Polls for rows after `before`, until it is told to stop.
async fn watch(options: MySqlConnectOptions, before: u64, done: Arc<AtomicBool>) -> Result<Seen> {
    let mut database = options.connect().await.context("the database")?;
    let mut seen = Seen::new();
    // All rows before this one have been seen.
    let mut next = before + 1;
    let mut missing_since = Instant::now();
    loop {
        let over = done.load(Ordering::Relaxed);
        if over {
            // Also rows that took longer than the gap.
            next = before + 1;
        }
        let ids: Vec<u64> = sqlx::query_scalar(
            "SELECT CAST(id AS UNSIGNED) FROM coupons WHERE id >= ? ORDER BY id",
        )
        .bind(next)
        .fetch_all(&mut database)
        .await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = u64::try_from(now.as_millis())?;
        if ids.is_empty() {
            missing_since = Instant::now();
        }
        for id in ids {
            seen.entry(id).or_insert(now);
            if id == next || missing_since.elapsed() > GAP {
                next = id + 1;
                missing_since = Instant::now();
            }
        }
        if over {
            database.close().await?;
            return Ok(seen);
        }
        sleep(LOOK).await;
    }
}

fn highest(testbed: &Testbed) -> Result<u64> {
    testbed.with_database(async |database| {
        sqlx::query_scalar("SELECT CAST(COALESCE(MAX(id), 0) AS UNSIGNED) FROM coupons")
            .fetch_one(database)
            .await
    })
}

/// Milliseconds from each grant to its row.
struct Delays {
    all: Histogram<u64>,
    /// From the grant to the topic, and from there to the row.
    hops: [Histogram<u64>; 2],
}

impl Delays {
    /// The delays of the rows after `before`, from each grant to when its row was first seen.
    fn of(
        testbed: &Testbed,
        before: u64,
        seen: &Seen,
        handed_over: &HashMap<u64, u64>,
    ) -> Result<Self> {
        let rows = testbed.with_database(async |database| {
            sqlx::query(
                "SELECT id, CAST(serial AS UNSIGNED), CAST(UNIX_TIMESTAMP(granted_at) * 1000 AS UNSIGNED) \
                 FROM coupons WHERE id > ? ORDER BY id",
            )
            .bind(before)
            .fetch_all(database)
            .await
        })?;
        let histogram = || Histogram::new_with_bounds(1, 600_000, 3);
        let mut delays = Self {
            all: histogram()?,
            hops: [histogram()?, histogram()?],
        };
        for row in rows {
            let (id, serial): (u64, u64) = (row.try_get(0)?, row.try_get(1)?);
            let granted: u64 = row.try_get(2)?;
            let at = seen.get(&id).context("a row was not observed")?;
            let published = handed_over.get(&serial).context("a row has no record")?;
            let [bridge, consumer] = &mut delays.hops;
            delays.all.saturating_record(at.saturating_sub(granted));
            bridge.saturating_record(published.saturating_sub(granted));
            consumer.saturating_record(at.saturating_sub(*published));
        }
        Ok(delays)
    }
}
