//! Measures the costs of decisions, which `SCALE.md` uses:
//! - the CPU time of Redis for a grant, for a refusal, and for a query that fills the refusal cache;
//! - the latency of a grant and of a refusal while no other request is in flight: each grant then waits for a whole
//!   sync to disk;
//! - the CPU time of the handler (with its refusal cache) and of Redis for a flood of refused applications;
//! - the same after 10,000 and 100,000 grants, when a filter takes the place of the exclusion list, and after one more, when
//!   the handler caches none.

use super::growth::cpu;
use super::http::applications;
use crate::finding::{Finding, Unit};
use crate::gate::{Gate, script};
use crate::measure::{Contender, Turns, interleaved};
use crate::scale::Scale;
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use anyhow::{Context, Result, ensure};
use rushgate_gate::{CampaignId, Quota, refusal_cache};
use rushgate_testbed::load::{Load, LoadResult, Template, Until};
use std::cell::RefCell;
use std::slice::from_ref;

pub(super) const NAME: &str = "decision";

/// Requests in flight on a connection, where many share a turn of Redis.
const DEPTH: usize = 16;

/// Grants of the round whose exclusion list is queried: nearly as many as the list has room for.
const KNOWN: u64 = 2_000;

/// Grants before a flood: few, two filters, and more than a filter has room for.
const GRANTS: [u64; 4] = [1, 10_000, 100_000, 100_001];

/// A filter is built in fewer turns.
const MOST_TURNS_TO_BUILD: usize = 10;

/// The number of the first applicant with a grant, where others are to be refused.
const HOLDERS: u64 = 1 << 36;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let handler = testbed.handler()?;
    let sold_out = testbed.gate.open(1)?;
    testbed.gate.grant(from_ref(&sold_out), HOLDERS, 1)?;
    let known = testbed.gate.open(u32::try_from(KNOWN)?)?;
    testbed.gate.grant(from_ref(&known), HOLDERS, KNOWN)?;
    let mut full = vec![];
    for grants in GRANTS {
        let campaign = testbed.gate.open(u32::try_from(grants)?)?;
        testbed.gate.grant(from_ref(&campaign), HOLDERS, grants)?;
        full.push(campaign);
    }
    testbed.gate.load_script(refusal_cache::SCRIPT.source())?;
    let gate = RefCell::new(&mut testbed.gate);

    let each = scale.backlog() / 10;
    let granted = || {
        on_a_campaign(&mut gate.borrow_mut(), |gate, campaign| {
            let load = gate.decisions(from_ref(campaign), DEPTH, Until::Requests(each));
            cpu_each(gate, load)
        })
    };
    let refused = || {
        let gate = &mut gate.borrow_mut();
        let load = gate.decisions(from_ref(&sold_out), DEPTH, Until::Requests(each));
        cpu_each(gate, load)
    };
    let asked = || {
        let gate = &mut gate.borrow_mut();
        let load = Load {
            requests: vec![script(&refusal_cache::call(&known))],
            ..gate.decisions(&[], 1, Until::Requests(each / 10))
        };
        cpu_each(gate, load)
    };
    let [granted, refused, asked] = interleaved(
        scale.rounds(),
        [
            Contender::new("granted", granted),
            Contender::new("refused", refused),
            Contender::new("asked", asked),
        ],
    )?;

    let alone = |gate: &Gate, campaign: &CampaignId| {
        let mut load = Load {
            connections: 1,
            ..gate.decisions(from_ref(campaign), 1, Until::Elapsed(scale.turn()))
        };
        load.run()?.all(0)
    };
    let granted_alone = || {
        on_a_campaign(&mut gate.borrow_mut(), |gate, campaign| {
            alone(gate, campaign)
        })
    };
    let refused_alone = || alone(&gate.borrow(), &sold_out);
    let flood = |nth: usize| {
        let (gate, handler, campaign) = (&gate, &handler, &full[nth]);
        move || flood(&mut gate.borrow_mut(), scale, handler, campaign)
    };
    let [granted_alone, refused_alone] = interleaved(
        scale.rounds(),
        [
            Contender::new("granted alone", granted_alone),
            Contender::new("refused alone", refused_alone),
        ],
    )?;
    // The filters are built first.
    for nth in [1, 2] {
        let turn = flood(nth);
        let mut is_built = false;
        for _ in 0..MOST_TURNS_TO_BUILD {
            is_built = turn()?.asked < 500_000.0;
            if is_built {
                break;
            }
        }
        ensure!(
            is_built || scale == Scale::Smoke,
            "no filter after {} grants",
            GRANTS[nth]
        );
    }
    let floods = interleaved(
        scale.rounds(),
        [
            Contender::new("flood", flood(0)),
            Contender::new("flood after 10,000 grants", flood(1)),
            Contender::new("flood after 100,000 grants", flood(2)),
            Contender::new("flood after 100,001 grants", flood(3)),
        ],
    )?;
    for campaign in [sold_out, known].iter().chain(&full) {
        testbed.gate.remove(campaign)?;
    }

    let redis = |what, turns: &Turns<f64>| {
        Finding::new(NAME, what, turns.figure(|cpu| *cpu), Unit::CpuMicroseconds)
    };
    let alone = |what, turns: &Turns<LoadResult>| {
        let figure = turns.figure(|outcome| outcome.quantile(0.5) / 1e3);
        Finding::new(NAME, what, figure, Unit::Milliseconds)
    };
    let mut findings = vec![
        redis("Redis, a grant", &granted),
        redis("Redis, a refusal", &refused),
        redis("Redis, the exclusion list", &asked),
        alone("a grant alone", &granted_alone),
        alone("a refusal alone", &refused_alone),
    ];
    for (flood, when) in floods.iter().zip([
        "",
        " after 10,000 grants",
        " after 100,000 grants",
        " after 100,001 grants",
    ]) {
        for (what, number, unit) in [
            (
                "handler, a refusal",
                (|flood| flood.handler) as fn(&Flood) -> f64,
                Unit::CpuSecondsPerMillion,
            ),
            (
                "Redis, a refusal through the handler",
                |flood| flood.redis,
                Unit::CpuSecondsPerMillion,
            ),
            (
                "asked of the gate, of a million refusals",
                |flood| flood.asked,
                Unit::Count,
            ),
        ] {
            let what = format!("{what}{when}");
            findings.push(Finding::new(NAME, what, flood.figure(number), unit));
        }
    }
    Ok(findings)
}

/// Figures for a million applications after the last coupon, through the handler.
struct Flood {
    /// CPU seconds of the handler.
    handler: f64,
    /// CPU seconds of Redis.
    redis: f64,
    /// Calls of scripts that reached the gate.
    asked: f64,
}

fn flood(gate: &mut Gate, scale: Scale, handler: &Server, campaign: &CampaignId) -> Result<Flood> {
    let template = Template::application(campaign.as_str(), false);
    let usage = || Ok::<_, anyhow::Error>(handler.process.usage()?.cpu.as_secs_f64());
    let before = (usage()?, cpu(gate)?, scripts(gate)?);
    let outcome = applications(scale, handler.address, vec![template])
        .run()?
        .all(410)?;
    let after = (usage()?, cpu(gate)?, scripts(gate)?);
    let million = outcome.sent as f64 / 1e6;
    Ok(Flood {
        handler: (after.0 - before.0) / million,
        redis: (after.1 - before.1) / million,
        asked: (after.2 - before.2) / million,
    })
}

/// A turn on a campaign of its own, which never sells out and is removed afterwards.
fn on_a_campaign<T>(
    gate: &mut Gate,
    turn: impl FnOnce(&mut Gate, &CampaignId) -> Result<T>,
) -> Result<T> {
    let campaign = gate.open(Quota::MAX)?;
    let done = turn(gate, &campaign)?;
    gate.remove(&campaign)?;
    Ok(done)
}

/// CPU microseconds of Redis for each request.
fn cpu_each(gate: &mut Gate, mut load: Load) -> Result<f64> {
    let before = cpu(gate)?;
    let outcome = load.run()?.all(0)?;
    Ok((cpu(gate)? - before) * 1e6 / outcome.sent as f64)
}

/// EVALSHA calls of Redis.
fn scripts(gate: &mut Gate) -> Result<f64> {
    let statistics = gate.info("cmdstat_evalsha")?;
    let calls = statistics.split(',').next();
    let calls = calls.and_then(|calls| calls.strip_prefix("calls="));
    calls
        .and_then(|calls| calls.parse().ok())
        .context("Redis returned no count of script calls")
}
