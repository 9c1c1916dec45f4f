//! Helpers of the benchmarks that send HTTP requests: loads, rates and latencies.

use crate::finding::{Finding, Unit};
use crate::gate::Gate;
use crate::measure::{Figure, Turns};
use crate::scale::Scale;
use anyhow::Result;
use rushgate_gate::{CampaignId, Quota};
use rushgate_testbed::load::{Load, LoadResult, Pace, Template, Until};
use std::cell::RefCell;
use std::net::SocketAddr;

/// Upper bound of connections with an open pace: more than are used as long as nothing is overloaded.
const MOST_CONNECTIONS: usize = 256;

/// Applications over HTTP for one turn; the templates alternate.
pub(super) fn applications(scale: Scale, address: SocketAddr, templates: Vec<Template>) -> Load {
    Load {
        connections: scale.connections(),
        until: Until::Elapsed(scale.turn()),
        ..Load::new(address, templates)
    }
}

/// The same at a steady rate.
pub(super) fn steady(load: Load, per_second: f64) -> Load {
    Load {
        connections: MOST_CONNECTIONS,
        pace: Pace::Open(per_second),
        ..load
    }
}

/// A turn on a campaign of its own, which never sells out and is removed afterwards. All answers must be of this kind.
pub(super) fn on_a_campaign(
    gate: &RefCell<&mut Gate>,
    kind: u16,
    load: impl Fn(&CampaignId) -> Load,
) -> Result<LoadResult> {
    let campaign = gate.borrow_mut().open(Quota::MAX)?;
    let outcome = load(&campaign).run()?.all(kind)?;
    gate.borrow_mut().remove(&campaign)?;
    Ok(outcome)
}

/// Answers per second.
pub(super) fn throughput(turns: &Turns<LoadResult>) -> Figure {
    turns.figure(LoadResult::per_second)
}

/// The quantile of the latency, in milliseconds.
pub(super) fn quantile(turns: &Turns<LoadResult>, quantile: f64) -> Figure {
    turns.figure(|outcome| outcome.quantile(quantile) / 1e3)
}

/// Shows that the generator is not the bottleneck: its throughput against a server that does nothing, beside the
/// highest measured throughput, and its own cost.
pub(super) fn generator(
    bench: &'static str,
    constant: &Turns<LoadResult>,
    fastest: (&str, &Turns<LoadResult>),
) -> [Finding; 2] {
    let cpu = |turns: &Turns<LoadResult>| turns.figure(|outcome| outcome.cpu_per_thousand() * 1e3);
    [
        Finding::new(
            bench,
            "generator, against constant answers",
            throughput(constant),
            Unit::PerSecond,
        )
        .beside(fastest.0, throughput(fastest.1)),
        Finding::new(
            bench,
            "generator, for a request",
            cpu(fastest.1),
            Unit::CpuMicroseconds,
        ),
    ]
}
