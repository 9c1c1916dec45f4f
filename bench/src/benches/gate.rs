//! Measures the gate without the other programs: `apply.lua`, called by a pipelining client, for every common
//! decision. The baseline is the shortest script that could make the simplest decision.

use crate::finding::{Finding, Goal, Unit};
use crate::gate::Gate;
use crate::measure::{Contender, Turns, interleaved};
use crate::scale::Scale;
use crate::testbed::Testbed;
use anyhow::{Result, ensure};
use redis::cmd;
use rushgate_gate::{CampaignId, Codes, Millis, Quota};
use rushgate_testbed::load::{Load, LoadResult, MARK, Template, Until};
use std::cell::RefCell;
use std::slice::from_ref;

pub(super) const NAME: &str = "gate";

/// Requests in flight on a connection.
const DEPTH: usize = 16;

/// Applicants with a grant, where that is what is asked about.
const HOLDERS: u64 = 10_000;

/// One per person, a counter, an event: no window, no quota, no pause, no repeated answer for a retry, no revocation.
const SHORTEST: &str = "if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 0 end \
    local serial = redis.call('INCR', KEYS[2]) \
    redis.call('XADD', KEYS[3], '*', 'serial', serial, 'user_id', ARGV[1]) \
    return serial";

/// In the year 2100.
const FAR_AWAY: i64 = 4_102_444_800_000;

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let gate = RefCell::new(&mut testbed.gate);
    let sha1 = gate.borrow_mut().load_script(SHORTEST)?;
    let keys = ["{bench}:people", "{bench}:count", "{bench}:stream"];
    let shortest = || {
        let words = [&["EVALSHA", &sha1, "3"], keys.as_slice(), &[MARK]].concat();
        let mut gate = gate.borrow_mut();
        let mut load = Load {
            requests: vec![Template::command(&words)],
            ..decisions(&gate, scale, &[])
        };
        let outcome = load.run()?.all(0)?;
        gate.run::<()>(cmd("DEL").arg(&keys))?;
        gate.wait_until_idle()?;
        Ok(outcome)
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
        finding("granted", &granted, 0.7),
        finding("already granted", &already_granted, 1.0),
        finding("sold out", &sold_out, 1.0),
        finding("not open", &not_open, 1.0),
    ])
}

fn decisions(gate: &Gate, scale: Scale, campaigns: &[CampaignId]) -> Load {
    gate.decisions(campaigns, DEPTH, Until::Elapsed(scale.turn()))
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
