//! Measures how many applications per second are refused after the last coupon is gone. Each application comes from a
//! different applicant. The baselines are a hello-world component on the same Wasm host, and a native service.

use super::http::{applications, generator, quantile, steady, throughput};
use crate::finding::{Finding, Unit};
use crate::measure::{Contender, interleaved};
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::Result;
use rushgate_gate::CampaignId;
use rushgate_testbed::load::Template;

pub(super) const NAME: &str = "sold-out";

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let (handler, hello) = (testbed.handler()?, testbed.hello()?);
    let (native, constant) = (testbed.service("native")?, testbed.service("constant")?);
    let campaign = sold_out(testbed)?;
    let post = Template::application(campaign.as_str(), false);
    let put = Template::put(campaign.as_str(), false);

    let load = |server: &Server, template: &Template| {
        applications(scale, server.address, vec![template.clone()])
    };
    let by = |template, server: &Server, kind| {
        let mut load = load(server, template);
        move || load.run()?.all(kind)
    };
    let turn = |server, kind| by(&post, server, kind);
    let [ours, put_ours, hello_, native_, constant_] = interleaved(
        scale.rounds(),
        [
            Contender::new("component", turn(&handler, 410)),
            Contender::new("component, PUT", by(&put, &handler, 410)),
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

    let fastest = [("hello", &hello_), ("native", &native_)]
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
        .beside("native", throughput(&native_)),
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

/// A campaign whose only coupon is gone.
pub(super) fn sold_out(testbed: &mut Testbed) -> Result<CampaignId> {
    let campaign = testbed.gate.open(1)?;
    testbed
        .gate
        .grant(std::slice::from_ref(&campaign), u64::MAX >> 30, 1)?;
    Ok(campaign)
}
