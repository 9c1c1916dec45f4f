//! Measures applications that are all granted, through the component: by POST and by PUT, with and without a response
//! body.
//!
//! There are three baselines: a hello-world component on the same host, a native service with the same API, and the script
//! `apply.lua` called directly. The floor component is beside them, too.

use super::gate::by_the_shortest_script;
use super::http::{applications, generator, on_a_campaign, quantile, steady, throughput};
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, interleaved};
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::Result;
use rushgate_gate::Quota;
use rushgate_testbed::load::{Template, Until};
use std::cell::RefCell;

pub(super) const NAME: &str = "granted";

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let (handler, hello) = (testbed.handler()?, testbed.hello()?);
    let (native, constant) = (testbed.service("native")?, testbed.service("constant")?);
    let floor = testbed.floor("")?;
    let gate = RefCell::new(&mut testbed.gate);
    let by = |request: fn(&str, bool) -> Template, server: &Server, minimal, kind| {
        let (gate, address) = (&gate, server.address);
        move || {
            on_a_campaign(gate, kind, |campaign| {
                let template = request(campaign.as_str(), minimal);
                applications(scale, address, vec![template])
            })
        }
    };
    let turn = |server, minimal, kind| by(Template::application, server, minimal, kind);
    let put = |minimal| by(Template::put, &handler, minimal, 201);
    let floor_turn = || {
        let template = Template::application("floor", false);
        let load = applications(scale, floor.address, vec![template]);
        by_the_shortest_script(&mut gate.borrow_mut(), load, 201)
    };
    let script = || {
        let campaign = gate.borrow_mut().open(Quota::MAX)?;
        let mut load = gate.borrow().decisions(
            std::slice::from_ref(&campaign),
            1,
            Until::Elapsed(scale.turn()),
        );
        let outcome = load.run()?.all(0)?;
        gate.borrow_mut().remove(&campaign)?;
        Ok(outcome)
    };
    let [
        full,
        minimal,
        put_full,
        put_minimal,
        floor_,
        hello_,
        native_full,
        native_minimal,
        script,
        constant_,
    ] = interleaved(
        scale.rounds(),
        [
            Contender::new("component", turn(&handler, false, 201)),
            Contender::new("component, minimal", turn(&handler, true, 201)),
            Contender::new("component, PUT", put(false)),
            Contender::new("component, PUT, minimal", put(true)),
            Contender::new("floor", floor_turn),
            Contender::new("hello", turn(&hello, false, 200)),
            Contender::new("native", turn(&native, false, 201)),
            Contender::new("native, minimal", turn(&native, true, 201)),
            Contender::new("script", script),
            Contender::new("constant", turn(&constant, false, 200)),
        ],
    )?;

    // One rate for all, at most half of what the slower one of our two can serve.
    let rate = throughput(&full).median.min(throughput(&minimal).median) / 2.0;
    let paced = |server: &Server, minimal, kind| {
        let (gate, address) = (&gate, server.address);
        move || {
            on_a_campaign(gate, kind, |campaign| {
                let template = Template::application(campaign.as_str(), minimal);
                steady(applications(scale, address, vec![template]), rate)
            })
        }
    };
    let [paced_full, paced_minimal, paced_hello, paced_native] = interleaved(
        scale.rounds(),
        [
            Contender::new("component", paced(&handler, false, 201)),
            Contender::new("component, minimal", paced(&handler, true, 201)),
            Contender::new("hello", paced(&hello, false, 200)),
            Contender::new("native", paced(&native, false, 201)),
        ],
    )?;

    let fastest = [
        ("hello", &hello_),
        ("native", &native_full),
        ("component, minimal", &minimal),
        ("component, PUT, minimal", &put_minimal),
    ]
    .into_iter()
    .max_by(|(_, a), (_, b)| throughput(a).median.total_cmp(&throughput(b).median))
    .unwrap_or(("hello", &hello_));
    let rates = |what: &str, turns| Finding::new(NAME, what, throughput(turns), Unit::PerSecond);
    let mut findings = generator(NAME, &constant_, fastest).to_vec();
    // Without goals: the first line shows what of them the platform leaves.
    for (what, turns, native) in [
        ("floor", &floor_, &native_full),
        ("component", &full, &native_full),
        ("component, minimal", &minimal, &native_minimal),
    ] {
        findings.extend([
            rates(what, turns).beside("hello", throughput(&hello_)),
            rates(what, turns).beside("native", throughput(native)),
            rates(what, turns).beside("script alone", throughput(&script)),
        ]);
    }
    for (what, put, post) in [
        ("component, PUT", &put_full, &full),
        ("component, PUT, minimal", &put_minimal, &minimal),
    ] {
        let beside = rates(what, put).beside("POST", throughput(post));
        findings.push(beside.to_be(Goal::AtLeast(1.2)));
    }
    for (what, turns, goal) in [
        ("component", &paced_full, None),
        (
            "component, minimal",
            &paced_minimal,
            Some(Goal::AtMost(3.0)),
        ),
        ("hello", &paced_hello, None),
        ("native", &paced_native, None),
    ] {
        let what = format!("{what}, p99 at {}/s", Unit::PerSecond.show(rate));
        let finding = Finding::new(NAME, what, quantile(turns, 0.99), Unit::Milliseconds)
            .beside("its p50", quantile(turns, 0.5));
        findings.push(match goal {
            Some(goal) => finding.to_be(goal),
            None => finding,
        });
    }
    Ok(findings)
}
