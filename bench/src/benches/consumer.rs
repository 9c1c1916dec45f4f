//! Measures how fast the real consumer turns a backlog of Kafka records into confirmed rows, in records per second,
//! and its CPU time and memory.
//!
//! The baseline is the fastest plain multi-row INSERT into the same table with the same driver, without Kafka and
//! without confirmations at the gate.

use super::bridge::MEMORY;
use super::progress::progress;
use crate::bare::{self, Rows};
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, Figure, interleaved};
use crate::testbed::Testbed;
use anyhow::{Result, bail};
use rushgate_gate::CampaignId;
use std::cell::RefCell;
use std::time::{Duration, Instant};

pub(super) const NAME: &str = "consumer";

/// Plain inserts to try; the fastest is the baseline: rows in a statement, and connections.
const WAYS: [(u64, u64); 6] = [
    (512, 1),
    (2_048, 1),
    (4_096, 1),
    (512, 2),
    (2_048, 2),
    (4_096, 2),
];

struct Inserted {
    per_second: f64,
    mebibytes: f64,
    cpu: Duration,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let records = scale.backlog();
    let route = testbed.route()?;
    let campaign = testbed.campaign(records, &route)?;
    let way = fastest(testbed, &campaign, records / 10)?;
    let testbed = RefCell::new(testbed);
    let ours = || ours(&mut testbed.borrow_mut(), records);
    let plain = || {
        let per_second = plain(&testbed.borrow(), &campaign, records, way)?;
        Ok(Inserted {
            per_second,
            mebibytes: 0.0,
            cpu: Duration::ZERO,
        })
    };
    let [ours, plain] = interleaved(
        scale.long_rounds(),
        [
            Contender::new("consumer", ours),
            Contender::new("plain insert", plain),
        ],
    )?;
    let per_second = |inserted: &Inserted| inserted.per_second;
    let cpu = |inserted: &Inserted| inserted.cpu.as_secs_f64() * 1e6 / records as f64;
    let (at_once, connections) = way;
    Ok(vec![
        Finding::new(
            NAME,
            format!("{} records", Unit::Count.show(records as f64)),
            ours.figure(per_second),
            Unit::PerSecond,
        )
        .beside(
            format!("plain insert ({connections} × {at_once} rows)"),
            plain.figure(per_second),
        )
        .to_be(Goal::AtLeast(0.6)),
        Finding::new(
            NAME,
            "for a record",
            ours.figure(cpu),
            Unit::CpuMicroseconds,
        ),
        Finding::new(
            NAME,
            "most memory",
            ours.figure(|inserted| inserted.mebibytes),
            Unit::Mebibytes,
        )
        .beside("what it may take", Figure::known(MEMORY))
        .to_be(Goal::AtMost(1.0)),
    ])
}

fn ours(testbed: &mut Testbed, records: u64) -> Result<Inserted> {
    let route = testbed.route()?;
    let campaign = testbed.published(records, &route)?;
    testbed.empty_tables()?;
    let mut consumer = testbed.starting_consumer(&route)?;
    // A row counts when the gate has its confirmation.
    let per_second = progress(records, || {
        consumer.process.check()?;
        Ok(consumer.counted("rushgate_consumer_confirmed_total"))
    })?;
    let usage = consumer.process.usage()?;
    drop(consumer);
    let stands = count(testbed, &campaign)?;
    if stands != records {
        bail!("only {stands} rows were inserted of {records} records");
    }
    testbed.gate.remove(&campaign)?;
    Ok(Inserted {
        per_second,
        mebibytes: usage.peak_memory as f64 / f64::from(1 << 20),
        cpu: usage.cpu,
    })
}

fn count(testbed: &Testbed, campaign: &CampaignId) -> Result<u64> {
    let count: i64 = testbed.with_database(async |database| {
        sqlx::query_scalar("SELECT COUNT(*) FROM coupons WHERE campaign_id = ?")
            .bind(campaign.as_str())
            .fetch_one(database)
            .await
    })?;
    Ok(count.unsigned_abs())
}

/// The fastest plain insert, tried with this many rows.
fn fastest(testbed: &Testbed, campaign: &CampaignId, rows: u64) -> Result<(u64, u64)> {
    let mut fastest = (0.0, WAYS[0]);
    for way in WAYS {
        let per_second = plain(testbed, campaign, rows, way)?;
        if per_second > fastest.0 {
            fastest = (per_second, way);
        }
    }
    Ok(fastest.1)
}

/// Rows per second.
fn plain(
    testbed: &Testbed,
    campaign: &CampaignId,
    count: u64,
    (at_once, connections): (u64, u64),
) -> Result<f64> {
    testbed.empty_tables()?;
    let begun = Instant::now();
    let share = count / connections;
    let inserts = (0..connections).map(|connection| {
        let rows = Rows {
            campaign: campaign.clone(),
            first: 1 + connection * share,
            count: share,
            quota: count,
            at_once,
        };
        Ok(bare::insert(testbed.database()?, rows))
    });
    let inserts = inserts.collect::<Result<Vec<_>>>()?;
    testbed.all_of(inserts)?;
    let took = begun.elapsed();
    Ok((share * connections) as f64 / took.as_secs_f64())
}
