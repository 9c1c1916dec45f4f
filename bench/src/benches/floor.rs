//! Measures the component beside the floor, which is the least that a component can do with the same requests: granted by
//! POST, granted by PUT, and refused after the last coupon. On the host of the other benches, and on `wasm-host`, where
//! that is another one.

use super::gate::by_the_shortest_script;
use super::http::{applications, on_a_campaign};
use super::sold_out::sold_out;
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, Turns, interleaved};
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::Result;
use rushgate_testbed::load::{Load, LoadResult, Template};
use std::cell::RefCell;

pub(super) const NAME: &str = "floor";

/// One turn.
struct Turn {
    load: LoadResult,
    /// CPU microseconds of the host for each application.
    cpu: f64,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let mut findings = vec![];
    let spin = testbed.servers.spin.clone();
    if spin.is_some() {
        findings = on_one_host(testbed, "Spin")?;
    }
    testbed.servers.spin = None;
    let on_the_double = on_one_host(testbed, "wasm-host");
    testbed.servers.spin = spin;
    findings.extend(on_the_double?);
    Ok(findings)
}

fn on_one_host(testbed: &mut Testbed, host: &str) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let handler = testbed.handler()?;
    let over = sold_out(testbed)?;
    let refused = Template::put(over.as_str(), false);
    let refusal = Load::new(handler.address, vec![refused.clone()]).run()?;
    let floor = testbed.floor("")?;
    let floor_of_refusals = testbed.floor(&refusal.all(410)?.sample)?;

    let load = |server: &Server, template: &Template| {
        applications(scale, server.address, vec![template.clone()])
    };
    let gate = RefCell::new(&mut testbed.gate);
    let granted = |request: fn(&str, bool) -> Template| {
        let (gate, handler) = (&gate, &handler);
        move || {
            measured(handler, || {
                on_a_campaign(gate, 201, |campaign| {
                    load(handler, &request(campaign.as_str(), false))
                })
            })
        }
    };
    let least = |request: fn(&str, bool) -> Template| {
        let (gate, floor) = (&gate, &floor);
        move || {
            measured(floor, || {
                let load = load(floor, &request("floor", false));
                by_the_shortest_script(&mut gate.borrow_mut(), load, 201)
            })
        }
    };
    let refused_by = |server| {
        let refused = &refused;
        move || measured(server, || load(server, refused).run()?.all(410))
    };
    let [post, least_post, put, least_put, refused, least_refused] = interleaved(
        scale.rounds(),
        [
            Contender::new("POST", granted(Template::application)),
            Contender::new("floor, POST", least(Template::application)),
            Contender::new("PUT", granted(Template::put)),
            Contender::new("floor, PUT", least(Template::put)),
            Contender::new("sold out", refused_by(&handler)),
            Contender::new("floor, sold out", refused_by(&floor_of_refusals)),
        ],
    )?;
    testbed.gate.remove(&over)?;

    let beside = |what: &str, ours: &Turns<Turn>, least: &Turns<Turn>| {
        let rate = |turn: &Turn| turn.load.per_second();
        let cpu = |turn: &Turn| turn.cpu;
        let what = format!("{what}, {host}");
        [
            Finding::new(NAME, &what, ours.figure(rate), Unit::PerSecond)
                .beside("floor", least.figure(rate))
                .to_be(Goal::AtLeast(0.9)),
            Finding::new(NAME, what, ours.figure(cpu), Unit::CpuMicroseconds)
                .beside("floor", least.figure(cpu)),
        ]
    };
    let findings = [
        beside("granted by POST", &post, &least_post),
        beside("granted by PUT", &put, &least_put),
        beside("sold out by PUT", &refused, &least_refused),
    ];
    Ok(findings.into_iter().flatten().collect())
}

fn measured(server: &Server, turn: impl FnOnce() -> Result<LoadResult>) -> Result<Turn> {
    let before = server.process.usage()?.cpu;
    let load = turn()?;
    let used = server.process.usage()?.cpu.saturating_sub(before);
    let cpu = used.as_secs_f64() * 1e6 / load.sent as f64;
    Ok(Turn { load, cpu })
}
