//! Measures how fast the real bridge publishes a backlog of stream entries to Kafka, in entries per second, and its
//! CPU time and memory.
//!
//! There are two baselines, and both wait for Kafka's acks of all records, as the bridge does. The first reads the
//! same stream with NOACK, so without Redis XACK; the goal is at least 80% of its speed. The second reads without
//! NOACK, and acks and deletes each entry in Redis once Kafka has confirmed its record; it has no goal.

use super::progress::progress;
use crate::bare::{self, Kept};
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, Figure, interleaved};
use crate::testbed::Testbed;
use anyhow::Result;
use std::cell::RefCell;
use std::slice::from_ref;
use std::time::Duration;

pub(super) const NAME: &str = "bridge";

/// Memory goal of bridge and consumer, in MiB.
pub(super) const MEMORY: f64 = 64.0;

struct Drained {
    per_second: f64,
    mebibytes: f64,
    cpu: Duration,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let backlog = scale.backlog();
    let testbed = RefCell::new(testbed);
    let ours = || ours(&mut testbed.borrow_mut(), backlog);
    let bare = |kept| {
        let mut testbed = testbed.borrow_mut();
        let route = testbed.route()?;
        let brokers = testbed.servers.kafka_brokers.clone();
        let campaign = testbed.gate.open(u32::try_from(backlog)?)?;
        testbed.gate.grant(from_ref(&campaign), 0, backlog)?;
        let took = bare::publish(&mut testbed.gate, &campaign, &brokers, &route.topic, kept)?;
        testbed.gate.remove(&campaign)?;
        Ok(Drained {
            per_second: backlog as f64 / took.as_secs_f64(),
            mebibytes: 0.0,
            cpu: Duration::ZERO,
        })
    };
    let [ours, bare, acking] = interleaved(
        scale.long_rounds(),
        [
            Contender::new("bridge", ours),
            Contender::new("bare", || bare(Kept::Nothing)),
            Contender::new("bare, acking", || bare(Kept::Pending)),
        ],
    )?;
    let per_second = |drained: &Drained| drained.per_second;
    let cpu = |drained: &Drained| drained.cpu.as_secs_f64() * 1e6 / backlog as f64;
    let memory = Figure::known(MEMORY);
    let entries = format!("{} entries", Unit::Count.show(backlog as f64));
    let drained = || {
        Finding::new(
            NAME,
            entries.clone(),
            ours.figure(per_second),
            Unit::PerSecond,
        )
    };
    Ok(vec![
        drained()
            .beside("bare read and publish", bare.figure(per_second))
            .to_be(Goal::AtLeast(0.8)),
        drained().beside("the same with acks", acking.figure(per_second)),
        Finding::new(
            NAME,
            "for an entry",
            ours.figure(cpu),
            Unit::CpuMicroseconds,
        ),
        Finding::new(
            NAME,
            "most memory",
            ours.figure(|drained| drained.mebibytes),
            Unit::Mebibytes,
        )
        .beside("what it may take", memory)
        .to_be(Goal::AtMost(1.0)),
    ])
}

fn ours(testbed: &mut Testbed, backlog: u64) -> Result<Drained> {
    let route = testbed.route()?;
    let campaign = testbed.gate.open(u32::try_from(backlog)?)?;
    testbed.gate.announce(&campaign)?;
    testbed.gate.grant(from_ref(&campaign), 0, backlog)?;
    let mut bridge = testbed.starting_bridge(&route)?;
    let per_second = progress(backlog, || {
        bridge.process.check()?;
        Ok(backlog - testbed.gate.backlog(&campaign)?)
    })?;
    let usage = bridge.process.usage()?;
    drop(bridge);
    testbed.gate.remove(&campaign)?;
    Ok(Drained {
        per_second,
        mebibytes: usage.peak_memory as f64 / f64::from(1 << 20),
        cpu: usage.cpu,
    })
}
