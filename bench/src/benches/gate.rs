//! Measures the gate without the other programs: `apply.lua`, called by a pipelining client, for every common
//! decision. The baseline is the shortest script that could make the simplest decision.

use crate::finding::{Finding, Goal, Unit};
use crate::gate::Gate;
use crate::measure::{Contender, Turns, interleaved};
use crate::scale::Scale;
use crate::testbed::Testbed;
use anyhow::{Result, ensure};
use redis::cmd;
use rushgate_floor::{KEYS, SCRIPT};
use rushgate_gate::{CampaignId, Codes, Millis, Quota};
use rushgate_testbed::load::{Load, LoadResult, MARK, Template, Until};
use std::cell::RefCell;
use std::slice::from_ref;

pub(super) const NAME: &str = "gate";

/// Requests in flight on a connection.
const DEPTH: usize = 16;

/// Applicants with a grant, where that is what is asked about.
const HOLDERS: u64 = 10_000;

/// In the year 2100.
const FAR_AWAY: i64 = 4_102_444_800_000;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let gate = RefCell::new(&mut testbed.gate);
    let sha1 = gate.borrow_mut().load_script(SCRIPT)?;
    let shortest = || {
        let words = [&["EVALSHA", &sha1, "3"], KEYS.as_slice(), &[MARK]].concat();
        let mut gate = gate.borrow_mut();
        let load = Load {
            requests: vec![Template::command(&words)],
            ..decisions(&gate, scale, &[])
        };
        by_the_shortest_script(&mut gate, load, 0)
    };
    let granted = || {
        let mut gate = gate.borrow_mut();
        let campaign = gate.open(Quota::MAX)?;
        ended(&mut gate, scale, &campaign, None, "granted")
    };
    let already_granted = || {
        let mut gate = gate.borrow_mut();
        let campaign = gate.open(Quota::MAX)?;
        gate.grant(from_ref(&campaign), 0, HOLDERS)?;
        ended(
            &mut gate,
            scale,
            &campaign,
            Some(HOLDERS),
            "already_granted",
        )
    };
    let sold_out = || {
        let mut gate = gate.borrow_mut();
        let campaign = gate.open(1)?;
        gate.grant(from_ref(&campaign), u64::from(Quota::MAX), 1)?;
        ended(&mut gate, scale, &campaign, None, "sold_out")
    };
    let not_open = || {
        let mut gate = gate.borrow_mut();
        let campaign = gate.create(1, Some(Millis::try_from(FAR_AWAY)?), Codes::None)?;
        ended(&mut gate, scale, &campaign, None, "not_open")
    };
    let [granted, already_granted, sold_out, not_open, shortest] = interleaved(
        scale.rounds(),
        [
            Contender::new("granted", granted),
            Contender::new("already granted", already_granted),
            Contender::new("sold out", sold_out),
            Contender::new("not open", not_open),
            Contender::new("shortest script", shortest),
        ],
    )?;
    let baseline = shortest.figure(LoadResult::per_second);
    let finding = |what, turns: &Turns<LoadResult>, least| {
        Finding::new(
            NAME,
            what,
            turns.figure(LoadResult::per_second),
            Unit::PerSecond,
        )
        .beside("shortest script", baseline.clone())
        .to_be(Goal::AtLeast(least))
    };
    Ok(vec![
        finding("granted", &granted, 0.6),
        finding("already granted", &already_granted, 1.0),
        finding("sold out", &sold_out, 1.0),
        finding("not open", &not_open, 1.0),
    ])
}

fn decisions(gate: &Gate, scale: Scale, campaigns: &[CampaignId]) -> Load {
    gate.decisions(campaigns, DEPTH, Until::Elapsed(scale.turn()))
}

/// A turn of serials by [`SCRIPT`], whose keys are removed afterwards. All answers must be of this kind.
pub(super) fn by_the_shortest_script(
    gate: &mut Gate,
    mut load: Load,
    kind: u16,
) -> Result<LoadResult> {
    let outcome = load.run().and_then(|outcome| outcome.all(kind));
    gate.run::<()>(cmd("DEL").arg(&KEYS))?;
    gate.wait_until_idle()?;
    outcome
}

/// A turn on a campaign whose decisions begin with `word`, and which is removed afterwards.
fn ended(
    gate: &mut Gate,
    scale: Scale,
    campaign: &CampaignId,
    people: Option<u64>,
    word: &str,
) -> Result<LoadResult> {
    let mut load = Load {
        people,
        ..decisions(gate, scale, from_ref(campaign))
    };
    let outcome = load.run()?.all(0)?;
    let decision = outcome.sample.lines().nth(2).unwrap_or_default();
    ensure!(decision == word, "expected {word}, got {decision}");
    gate.remove(campaign)?;
    Ok(outcome)
}
