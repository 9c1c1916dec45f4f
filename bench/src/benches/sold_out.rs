//! Measures how many applications per second are refused after the last coupon is gone. Each application comes from a
//! different applicant. The baselines are components on the same Wasm host, with the same requests: the floor, which gives
//! the same response without looking at the request, and hello-world.

use super::http::{applications, generator, quantile, steady, throughput};
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, interleaved};
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::Result;
use rushgate_testbed::load::{Load, Template};

pub(super) const NAME: &str = "sold-out";

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let (handler, hello) = (testbed.handler()?, testbed.hello()?);
    let (native, constant) = (testbed.service("native")?, testbed.service("constant")?);
    let campaign = testbed.gate.open(1)?;
    testbed
        .gate
        .grant(std::slice::from_ref(&campaign), u64::MAX >> 30, 1)?;
    let post = Template::application(campaign.as_str(), false);
    let put = Template::put(campaign.as_str(), false);
    let mut refused = Load::new(handler.address, vec![put.clone()]);
    let floor = testbed.floor(&refused.run()?.all(410)?.sample)?;

    let load = |server: &Server, template: &Template| {
        applications(scale, server.address, vec![template.clone()])
    };
    let by = |template, server: &Server, kind| {
        let mut load = load(server, template);
        move || load.run()?.all(kind)
    };
    let turn = |server, kind| by(&post, server, kind);
    let [ours, put_ours, put_floor, hello_, native_, constant_] = interleaved(
        scale.rounds(),
        [
            Contender::new("component", turn(&handler, 410)),
            Contender::new("component, PUT", by(&put, &handler, 410)),
            Contender::new("floor, PUT", by(&put, &floor, 410)),
            Contender::new("hello", turn(&hello, 200)),
            Contender::new("native", turn(&native, 410)),
            Contender::new("constant", turn(&constant, 200)),
        ],
    )?;
    let rate = throughput(&ours).median / 2.0;
    let paced = |server: &Server, kind| {
        let mut load = steady(load(server, &post), rate);
        move || load.run()?.all(kind)
    };
    let [paced_ours, paced_hello] = interleaved(
        scale.rounds(),
        [
            Contender::new("component", paced(&handler, 410)),
            Contender::new("hello", paced(&hello, 200)),
        ],
    )?;
    testbed.gate.remove(&campaign)?;

    let fastest = [("hello", &hello_), ("floor, PUT", &put_floor)]
        .into_iter()
        .max_by(|(_, a), (_, b)| throughput(a).median.total_cmp(&throughput(b).median))
        .unwrap_or(("hello", &hello_));
    let rates = Finding::new(NAME, "component", throughput(&ours), Unit::PerSecond);
    let mut findings = generator(NAME, &constant_, fastest).to_vec();
    findings.extend([
        Finding::new(
            NAME,
            "component, PUT",
            throughput(&put_ours),
            Unit::PerSecond,
        )
        .beside("floor, PUT", throughput(&put_floor))
        .to_be(Goal::AtLeast(0.9)),
        rates.clone().beside("hello", throughput(&hello_)),
        rates.beside("native", throughput(&native_)),
    ]);
    for (what, turns) in [("component", &paced_ours), ("hello", &paced_hello)] {
        let what = format!("{what}, p99 at {}/s", Unit::PerSecond.show(rate));
        findings.push(
            Finding::new(NAME, what, quantile(turns, 0.99), Unit::Milliseconds)
                .beside("its p50", quantile(turns, 0.5)),
        );
    }
    Ok(findings)
}
