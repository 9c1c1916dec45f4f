//! Measures what signed coupon codes cost an application that is granted: the same handler, campaigns with codes and
//! without.

use super::growth::cpu;
use super::http::applications;
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, interleaved};
use crate::testbed::Testbed;
use anyhow::{Context, Result};
use rushgate_gate::{CodeKeys, Codes, Quota};
use rushgate_testbed::load::{LoadResult, Template};
use std::cell::RefCell;

pub(super) const NAME: &str = "signed";

const KEY: &str = "the key of the codes of a bench: 32 or more";

/// One turn.
struct Turn {
    load: LoadResult,
    /// CPU microseconds of handler and Redis for each application.
    cpu: f64,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let handler = testbed.handler_with(&[
        ("SPIN_VARIABLE_IDENTITIES", "upstream"),
        ("SPIN_VARIABLE_COUPON_CODE_KEYS", KEY),
    ])?;
    let key = CodeKeys::parse(KEY)?.newest().context("no key")?;
    let gate = RefCell::new(&mut testbed.gate);
    let turn = |codes| {
        let (gate, handler) = (&gate, &handler);
        move || {
            let gate = &mut gate.borrow_mut();
            let campaign = gate.create(Quota::MAX, None, codes)?;
            let template = Template::put(campaign.as_str(), false);
            let before = handler.process.usage()?.cpu.as_secs_f64() + cpu(gate)?;
            let load = applications(scale, handler.address, vec![template]).run()?;
            let load = load.all(201)?;
            let after = handler.process.usage()?.cpu.as_secs_f64() + cpu(gate)?;
            gate.remove(&campaign)?;
            let cpu = (after - before) * 1e6 / load.sent as f64;
            Ok(Turn { load, cpu })
        }
    };
    let [signed, none] = interleaved(
        scale.rounds(),
        [
            Contender::new("signed codes", turn(Codes::Signed(key))),
            Contender::new("no codes", turn(Codes::None)),
        ],
    )?;
    let rate = |turn: &Turn| turn.load.per_second();
    let cpu = |turn: &Turn| turn.cpu;
    Ok(vec![
        Finding::new(NAME, "granted by PUT", signed.figure(rate), Unit::PerSecond)
            .beside("no codes", none.figure(rate))
            .to_be(Goal::AtLeast(0.95)),
        Finding::new(
            NAME,
            "handler and Redis, a grant",
            signed.figure(cpu),
            Unit::CpuMicroseconds,
        )
        .beside("no codes", none.figure(cpu))
        .to_be(Goal::AtMost(1.05)),
    ])
}
