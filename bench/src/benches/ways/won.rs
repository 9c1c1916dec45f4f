//! A coupon for each applicant: what an application and a row cost.

use super::system::{OURS, System};
use crate::benches::http::applications;
use crate::finding::{Finding, Goal, Unit};
use crate::measure::Turns;
use crate::testbed::Testbed;
use crate::ways::Way;
use crate::ways::shown::Won;
use anyhow::{Context, Result, bail};
use rushgate_testbed::load::{Load, Template, Until};

/// Sends as many applicants as there are coupons to a campaign of its own, and waits for the rows.
pub(super) fn turn(system: &mut System, testbed: &mut Testbed) -> Result<Won> {
    let coupons = testbed.scale.winners();
    let campaign = system.open(testbed, coupons)?;
    let template = Template::application(&campaign, false);
    let mut load = Load {
        until: Until::Requests(coupons.into()),
        ..applications(testbed.scale, system.service.address, vec![template])
    };
    let before = system.costs(testbed)?;
    let outcome = load.run()?.all(201)?;
    let rows_by_then = system.rows(testbed, &campaign)?;
    system.until_at_rest(testbed, &campaign)?;
    let costs = system.costs(testbed)?.since(&before);
    let rows = system.rows(testbed, &campaign)?;
    if rows != outcome.sent {
        bail!(
            "{} applications were granted, but there are {rows} rows",
            outcome.sent
        );
    }
    system.close(testbed, &campaign)?;
    Ok(Won {
        outcome,
        rows_by_then,
        costs,
    })
}

/// Rushgate beside the Spring service.
pub(super) fn goals(bench: &str, systems: &[System], turns: &[Turns<Won>]) -> Result<[Finding; 3]> {
    let of = |name: &str| {
        let mut all = systems.iter().zip(turns);
        let found = all.find_map(|(system, turns)| (system.name == name).then_some(turns));
        found.with_context(|| format!("{name} was not measured"))
    };
    let (ours, spring) = (of(OURS)?, of(Way::Spring.title())?);
    let beside = |what: &str, of: fn(&Won) -> f64, unit, baseline: &str, most| {
        Finding::new(bench, what, ours.figure(of), unit)
            .beside(baseline, spring.figure(of))
            .to_be(Goal::AtMost(most))
    };
    Ok([
        beside(
            "handler, for an application",
            |won| won.costs.service.cpu.as_secs_f64() * 1e6 / won.outcome.sent as f64,
            Unit::CpuMicroseconds,
            "Spring's API",
            0.25,
        ),
        beside(
            "bridge and consumer, for a row",
            |won| {
                let used = won.costs.consumers.unwrap_or_default();
                used.cpu.as_secs_f64() * 1e6 / won.outcome.sent as f64
            },
            Unit::CpuMicroseconds,
            "Spring's consumer",
            0.1,
        ),
        beside(
            "bridge and consumer, most memory",
            |won| {
                let used = won.costs.consumers.unwrap_or_default();
                used.peak_memory as f64 / f64::from(1 << 20)
            },
            Unit::Mebibytes,
            "Spring's consumer",
            0.125,
        ),
    ])
}
