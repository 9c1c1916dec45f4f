//! Measures what a second instance adds: the throughput of two handlers, gates, bridges or consumers is compared with
//! that of one. Consumers are also compared with more partitions.
//!
//! On few cores this mostly shows that no core is left for the second instance; on more cores it shows what the second
//! one adds.

use super::http::applications;
use super::progress::progress;
use crate::finding::{Finding, Unit};
use crate::gate::Gate;
use crate::measure::{Contender, interleaved_all};
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::{Context, Result, bail};
use rushgate_gate::Quota;
use rushgate_testbed::load::{Load, Template, Until};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use std::cell::RefCell;
use std::slice::from_ref;
use std::thread;

pub(super) const NAME: &str = "one-more";

/// The part of a backlog that a turn takes. These figures are compared with each other only, so a smaller one is enough.
const SHARE: u64 = 4;

/// Partitions where consumers are compared.
const PARTITIONS: usize = 8;

type Turn<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let other = OtherGate::start(testbed)?;
    let handlers = [testbed.handler()?, testbed.handler()?];
    let (rounds, long_rounds) = (testbed.scale.rounds(), testbed.scale.long_rounds());
    let testbed = &RefCell::new(testbed);
    let other = &RefCell::new(other);
    let handlers = &handlers;
    let mut findings = compared(
        rounds,
        [1, 2].map(|count| {
            let turn: Turn<'_> =
                Box::new(move || at_handlers(&mut testbed.borrow_mut(), &handlers[..count]));
            (counted(count, "handler"), turn)
        }),
    )?;
    findings.extend(compared(
        rounds,
        [1, 2].map(|count| {
            let turn: Turn<'_> = Box::new(move || {
                let (mut testbed, mut other) = (testbed.borrow_mut(), other.borrow_mut());
                let mut gates = [&mut testbed.gate, &mut other.gate];
                at_gates(&mut gates[..count])
            });
            (counted(count, "gate"), turn)
        }),
    )?);
    findings.extend(compared(
        long_rounds,
        [1, 2].map(|count| {
            let turn: Turn<'_> = Box::new(move || drained(&mut testbed.borrow_mut(), count));
            (counted(count, "bridge"), turn)
        }),
    )?);
    findings.extend(compared(
        long_rounds,
        [(1, 1), (1, 2), (1, 4), (1, PARTITIONS), (2, PARTITIONS)].map(|(count, partitions)| {
            let turn: Turn<'_> =
                Box::new(move || inserted(&mut testbed.borrow_mut(), count, partitions));
            let name = format!(
                "{}, {}",
                counted(count, "consumer"),
                counted(partitions, "partition")
            );
            (name, turn)
        }),
    )?);
    Ok(findings)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Throughput of each, beside that of the first.
fn compared<const N: usize>(
    rounds: usize,
    contenders: [(String, Turn<'_>); N],
) -> Result<Vec<Finding>> {
    let names = contenders.each_ref().map(|(name, _)| name.clone());
    let contenders = contenders.map(|(name, turn)| Contender::new(name, turn));
    let turns = interleaved_all(rounds, contenders.into())?;
    let figures = turns.iter().map(|turns| turns.figure(|rate| *rate));
    let figures: Vec<_> = figures.collect();
    let findings = names.iter().zip(&figures).skip(1).map(|(name, figure)| {
        Finding::new(NAME, name, figure.clone(), Unit::PerSecond)
            .beside(&names[0], figures[0].clone())
    });
    Ok(findings.collect())
}

/// Runs all loads at once, each with its part of the connections; returns answers per second in total.
fn at_once(loads: Vec<Load>, kind: u16) -> Result<f64> {
    let count = loads.len();
    thread::scope(|scope| {
        let running: Vec<_> = loads
            .into_iter()
            .map(|load| {
                let connections = (load.connections / count).max(1);
                let mut load = Load {
                    connections,
                    ..load
                };
                scope.spawn(move || load.run()?.all(kind))
            })
            .collect();
        let mut per_second = 0.0;
        for load in running {
            match load.join() {
                Ok(outcome) => per_second += outcome?.per_second(),
                Err(_) => bail!("a generator has panicked"),
            }
        }
        Ok(per_second)
    })
}

fn at_handlers(testbed: &mut Testbed, handlers: &[Server]) -> Result<f64> {
    let campaign = testbed.gate.open(Quota::MAX)?;
    let template = Template::application(campaign.as_str(), false);
    let loads = handlers.iter().zip(0..).map(|(handler, number)| Load {
        first: number << 36,
        ..applications(testbed.scale, handler.address, vec![template.clone()])
    });
    let per_second = at_once(loads.collect(), 201)?;
    testbed.gate.remove(&campaign)?;
    Ok(per_second)
}

/// Grants; each gate grants those of a campaign of its own.
fn at_gates(gates: &mut [&mut Gate]) -> Result<f64> {
    let mut campaigns = vec![];
    let mut loads = vec![];
    for gate in &mut *gates {
        let campaign = gate.open(Quota::MAX)?;
        let turn = Until::Elapsed(gate.scale().turn());
        loads.push(gate.decisions(from_ref(&campaign), 16, turn));
        campaigns.push(campaign);
    }
    let per_second = at_once(loads, 0)?;
    for (gate, campaign) in gates.iter_mut().zip(&campaigns) {
        gate.remove(campaign)?;
    }
    Ok(per_second)
}

/// A second Redis with the same settings as the gate's.
struct OtherGate {
    gate: Gate,
    _port: Port,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl OtherGate {
    fn start(testbed: &Testbed) -> Result<Self> {
        let directory = tempfile::tempdir().context("creating a directory for Redis")?;
        let port = Port::free()?;
        let redis = Redis::on_port(port.number(), directory.path());
        let process = redis.start(&[])?;
        Ok(Self {
            gate: Gate::connect(&redis.url(), testbed.scale)?,
            _port: port,
            _process: process,
            _directory: directory,
        })
    }
}

/// Entries per second from the streams of two campaigns, which bridges discover when all entries are there.
fn drained(testbed: &mut Testbed, bridges: usize) -> Result<f64> {
    let entries = testbed.scale.backlog() / SHARE;
    let route = testbed.route()?;
    let quota = u32::try_from(entries)?;
    let campaigns = [testbed.gate.open(quota)?, testbed.gate.open(quota)?];
    testbed.gate.grant(&campaigns, 0, entries)?;
    let bridges = testbed.bridges(&route, bridges)?;
    for campaign in &campaigns {
        testbed.gate.announce(campaign)?;
    }
    let per_second = progress(entries, || {
        let mut left = 0;
        for campaign in &campaigns {
            left += testbed.gate.backlog(campaign)?;
        }
        Ok(entries - left)
    })?;
    drop(bridges);
    for campaign in &campaigns {
        testbed.gate.remove(campaign)?;
    }
    Ok(per_second)
}

/// Rows per second from a topic with this many partitions. The first consumer runs when the second one starts.
fn inserted(testbed: &mut Testbed, consumers: usize, partitions: usize) -> Result<f64> {
    let records = testbed.scale.backlog() / SHARE;
    let route = testbed.partitioned(partitions)?;
    let campaign = testbed.published(records, &route)?;
    testbed.empty_tables()?;
    let consumers = (0..consumers).map(|_| testbed.starting_consumer(&route));
    let consumers = consumers.collect::<Result<Vec<_>>>()?;
    let per_second = progress(records, || {
        let confirmed = consumers.iter();
        let confirmed = confirmed.map(|one| one.counted("rushgate_consumer_confirmed_total"));
        Ok(confirmed.sum())
    })?;
    drop(consumers);
    testbed.gate.remove(&campaign)?;
    Ok(per_second)
}
