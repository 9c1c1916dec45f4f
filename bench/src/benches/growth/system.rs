//! CPU of each part of the whole system for a grant that becomes a row: spread over more campaigns, and with more rows in the
//! table before.

use super::super::pipeline::Pipeline;
use super::NAME;
use crate::bare::{self, Rows};
use crate::ground::{Ground, Route};
use crate::load::{Load, Until};
use crate::measure::{Contender, Figure, Turns, interleaved_all};
use crate::report::{Finding, Goal, Unit};
use crate::scale::Scale;
use anyhow::Result;
use redis::cmd;
use rushgate_gate::{CampaignId, Keys, Quota, RoundId, keys};
use std::cell::RefCell;
use std::slice::from_ref;

/// The number of the first applicant, so that none of them has a row before.
const APPLICANTS: u64 = 1 << 36;

/// Rows in one statement, where they are only to be there.
const AT_ONCE: u64 = 2_048;

/// CPU microseconds of each part for a grant.
type Costs = Vec<(&'static str, f64)>;

/// A grant at more campaigns.
pub(super) fn over_campaigns(ground: &mut Ground) -> Result<Vec<Finding>> {
    let sizes = match ground.scale {
        Scale::Full => vec![1, 30, 1_000],
        Scale::Quick => vec![1, 10],
        Scale::Smoke => vec![1, 2],
    };
    ground.empty_tables()?;
    let most = sizes.iter().copied().max().unwrap_or(1);
    let route = ground.route()?;
    let campaigns = (0..most).map(|_| unannounced(ground, &route));
    let campaigns = campaigns.collect::<Result<Vec<_>>>()?;
    let rounds = ground.scale.long_rounds();
    let applicants = RefCell::new(Applicants::new(ground));
    let contenders = sizes.iter().map(|size| {
        let turn = || applicants.borrow_mut().apply_to(&campaigns[..*size]);
        Contender::new(campaigns_named(*size), turn)
    });
    let turns = interleaved_all(rounds, contenders.collect())?;
    for campaign in &campaigns {
        ground.gate.remove(campaign)?;
    }
    let names = sizes.iter().map(|size| campaigns_named(*size));
    Ok(compared(&names.collect::<Vec<_>>(), &turns))
}

/// A grant with more rows in the table. They cannot take turns: rows that are there are there for all.
pub(super) fn over_rows(ground: &mut Ground) -> Result<Vec<Finding>> {
    let sizes: [u64; 3] = match ground.scale {
        Scale::Full => [1_000, 100_000, 10_000_000],
        Scale::Quick => [1_000, 10_000, 100_000],
        Scale::Smoke => [10, 20, 40],
    };
    ground.empty_tables()?;
    let route = ground.route()?;
    let campaign = unannounced(ground, &route)?;
    let rounds = ground.scale.long_rounds();
    let mut applicants = Applicants::new(ground);
    let mut turns = vec![];
    for size in sizes {
        applicants.fill(&campaign, size)?;
        let costs = (0..rounds).map(|_| applicants.apply_to(from_ref(&campaign)));
        turns.push(Turns(costs.collect::<Result<_>>()?));
    }
    ground.gate.remove(&campaign)?;
    let names = sizes.map(|size| format!("{} rows", Unit::Count.show(size as f64)));
    Ok(compared(&names, &turns))
}

fn campaigns_named(size: usize) -> String {
    format!("{} campaigns", Unit::Count.show(size as f64))
}

/// A campaign that never sells out, and that no bridge knows of.
fn unannounced(ground: &mut Ground, route: &Route) -> Result<CampaignId> {
    let campaign = ground.campaign(u64::from(Quota::MAX), route)?;
    announce(ground, &campaign, false)?;
    Ok(campaign)
}

fn announce(ground: &mut Ground, campaign: &CampaignId, known: bool) -> Result<()> {
    let mut command = cmd(if known { "SADD" } else { "SREM" });
    command.arg(keys::CAMPAIGNS).arg(campaign.as_str());
    ground.gate.run(&mut command)
}

fn compared(names: &[String], turns: &[Turns<Costs>]) -> Vec<Finding> {
    let [first, others @ ..] = turns else {
        return vec![];
    };
    let parts = first.0.first().map_or(0, Vec::len);
    let figure =
        |turns: &Turns<Costs>, part: usize| -> Figure { turns.figure(|costs| costs[part].1) };
    let mut findings = vec![];
    for (name, turns) in names[1..].iter().zip(others) {
        for part in 0..parts {
            let what = format!("{}, grant at {name}", turns.0[0][part].0);
            findings.push(
                Finding::new(NAME, what, figure(turns, part), Unit::CpuMicroseconds)
                    .beside(&names[0], figure(first, part))
                    .to_be(Goal::AtMost(1.1)),
            );
        }
    }
    findings
}

/// People who apply, everyone once.
struct Applicants<'a> {
    ground: &'a mut Ground,
    next: u64,
}

impl<'a> Applicants<'a> {
    fn new(ground: &'a mut Ground) -> Self {
        Self {
            ground,
            next: APPLICANTS,
        }
    }

    /// A turn: all parts are started, and so many apply to these campaigns that a step of the clock does not count.
    fn apply_to(&mut self, campaigns: &[CampaignId]) -> Result<Costs> {
        let count = self.ground.scale.backlog() / 10;
        for campaign in campaigns {
            announce(self.ground, campaign, true)?;
        }
        let route = self.ground.route()?;
        let mut pipeline = Pipeline::over(self.ground, campaigns.to_vec(), route)?;
        let before = pipeline.usage(self.ground)?;
        let load = Load {
            until: Until::Requests(count),
            ..pipeline.applications(self.ground, self.next)
        };
        self.next += load.run()?.all(201)?.sent;
        pipeline.until_issued(self.ground)?;
        let after = pipeline.usage(self.ground)?;
        drop(pipeline);
        for campaign in campaigns {
            announce(self.ground, campaign, false)?;
        }
        let parts = before.iter().zip(&after);
        let costs = parts.map(|((name, before), (_, after))| {
            let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e6 / count as f64;
            (*name, cpu)
        });
        Ok(costs.collect())
    }

    /// Inserts rows until there are so many, and lets the gate go on after them. It is told of no more than their number: what
    /// they cost it is measured at the gate.
    fn fill(&mut self, campaign: &CampaignId, size: u64) -> Result<()> {
        let given = self.ground.gate.grants(campaign)?.given;
        if size <= given {
            return Ok(());
        }
        let rows = Rows {
            campaign: campaign.clone(),
            first: given + 1,
            count: size - given,
            quota: u64::from(Quota::MAX),
            at_once: AT_ONCE,
        };
        let insert = bare::insert(self.ground.database()?, rows);
        self.ground.all_of(vec![insert])?;
        let mut command = cmd("HSET");
        command
            .arg(Keys::of(campaign).rounds())
            .arg(format!("{}/granted", RoundId::once()))
            .arg(size);
        self.ground.gate.run(&mut command)
    }
}
