//! Measures the CPU time and the peak memory of each program and server while applicants are granted their coupons: a
//! million of them in a full run.

use super::pipeline::Pipeline;
use crate::finding::{Finding, Goal, Unit};
use crate::gate::Gate;
use crate::measure::Figure;
use crate::testbed::Testbed;
use anyhow::Result;
use rushgate_testbed::load::{Load, Until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

pub(super) const NAME: &str = "cost";

/// Memory goal of an instance of the component, in MiB.
const INSTANCE: f64 = 8.0;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let applications = testbed.scale.backlog();
    let mut pipeline = Pipeline::start(testbed)?;
    pipeline.forget_peaks(testbed)?;
    let before = pipeline.usage(testbed)?;
    let clients = testbed.gate.info("connected_clients")?.parse::<u64>()?;
    let instances = Instances::watch(testbed)?;
    let mut load = Load {
        until: Until::Requests(applications),
        ..pipeline.applications(testbed, 0)
    };
    let outcome = load.run()?.all(201)?;
    let instances = instances.most()?.saturating_sub(clients).max(1);
    pipeline.until_issued(testbed)?;
    let after = pipeline.usage(testbed)?;

    let mut findings = vec![];
    let mut handler_grew = 0;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e6 / applications as f64;
        findings.push(Finding::new(
            NAME,
            *name,
            Figure::known(cpu),
            Unit::CpuSecondsPerMillion,
        ));
        findings.push(Finding::new(
            NAME,
            format!("{name}, most memory"),
            mebibytes(after.peak_memory),
            Unit::Mebibytes,
        ));
        if *name == "handler" {
            handler_grew = after.peak_memory.saturating_sub(before.memory);
        }
    }
    findings.push(Finding::new(
        NAME,
        "generator",
        Figure::known(outcome.cpu.as_secs_f64() * 1e6 / applications as f64),
        Unit::CpuSecondsPerMillion,
    ));
    findings.push(
        Finding::new(
            NAME,
            format!("memory for each of {instances} instances"),
            mebibytes(handler_grew / instances),
            Unit::Mebibytes,
        )
        .beside("what it may take", Figure::known(INSTANCE))
        .to_be(Goal::AtMost(1.0)),
    );
    pipeline.end(testbed)?;
    Ok(findings)
}

fn mebibytes(bytes: u64) -> Figure {
    Figure::known(bytes as f64 / f64::from(1 << 20))
}

/// Counts instances of the component from outside: each has one connection to Redis.
struct Instances {
    done: Arc<AtomicBool>,
    most: thread::JoinHandle<Result<u64>>,
}

impl Instances {
    fn watch(testbed: &Testbed) -> Result<Self> {
        let mut gate = Gate::connect(&testbed.servers.redis_url, testbed.scale)?;
        let done = Arc::new(AtomicBool::new(false));
        let over = done.clone();
        let most = thread::spawn(move || {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                // This connection is one of them.
                let clients = gate.info("connected_clients")?.parse::<u64>()?;
                most = most.max(clients.saturating_sub(1));
                sleep(Duration::from_millis(50));
            }
            Ok(most)
        });
        Ok(Self { done, most })
    }

    fn most(self) -> Result<u64> {
        self.done.store(true, Ordering::Relaxed);
        let most = self.most.join();
        most.unwrap_or_else(|_| anyhow::bail!("the number of instances was not measured"))
    }
}
