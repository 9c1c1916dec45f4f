//! Measures the CPU time that each program of the whole system spends on a grant, from the request to the row. There
//! are two series: a growing number of campaigns, and a growing number of rows in the table.

use super::super::pipeline::Pipeline;
use crate::bare::{self, Rows};
use crate::finding::{Finding, Goal, Unit};
use crate::measure::{Contender, Figure, Turns, interleaved_all};
use crate::scale::Scale;
use crate::testbed::Testbed;
use anyhow::Result;
use redis::cmd;
use rushgate_gate::{CampaignId, Keys, Quota, RoundId, keys};
use rushgate_testbed::load::{Load, Until};
use sqlx::AssertSqlSafe;
use std::cell::RefCell;
use std::slice::from_ref;

pub(crate) const NAME: &str = "growth";

/// From this size on, the grants of a turn do not matter, and the campaign or its table is reused.
pub(super) const KEPT: u64 = 1_000_000;

/// The number of the first applicant, so that none of them has a row before.
const APPLICANTS: u64 = 1 << 36;

/// Rows in one statement of the preparation.
const AT_ONCE: u64 = 2_048;

/// CPU microseconds of each program for a grant.
type Costs = Vec<(&'static str, f64)>;

/// A grant, with more campaigns.
pub(super) fn over_campaigns(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let sizes = match testbed.scale {
        Scale::Full => vec![1, 30, 1_000],
        Scale::Quick => vec![1, 10],
        Scale::Smoke => vec![1, 2],
    };
    testbed.empty_tables()?;
    let most = sizes.iter().copied().max().unwrap_or(1);
    let route = testbed.route()?;
    let campaigns = (0..most).map(|_| testbed.campaign(u64::from(Quota::MAX), &route));
    let campaigns = campaigns.collect::<Result<Vec<_>>>()?;
    let rounds = testbed.scale.long_rounds();
    let applicants = RefCell::new(Applicants::new(testbed));
    let contenders = sizes.iter().map(|size| {
        let turn = || applicants.borrow_mut().apply_to(&campaigns[..*size]);
        Contender::new(campaigns_named(*size), turn)
    });
    let turns = interleaved_all(rounds, contenders.collect())?;
    for campaign in &campaigns {
        testbed.gate.remove(campaign)?;
    }
    let names = sizes.iter().map(|size| campaigns_named(*size));
    Ok(compared(&names.collect::<Vec<_>>(), &turns))
}

/// A grant, with more rows in the table. Each size has a database of its own, so that the sizes can alternate.
pub(super) fn over_rows(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let sizes: [u64; 3] = match testbed.scale {
        Scale::Full => [1_000, 100_000, 10_000_000],
        Scale::Quick => [1_000, 10_000, 100_000],
        Scale::Smoke => [10, 20, 40],
    };
    let rounds = testbed.scale.long_rounds();
    let home = testbed.servers.database_url.clone();
    let applicants = RefCell::new(Applicants::new(testbed));
    let mut tables = sizes.map(|size| Table {
        applicants: &applicants,
        size,
        campaign: None,
    });
    let contenders = tables
        .iter_mut()
        .map(|table| Contender::new(rows_named(table.size), || table.turn()));
    let turns = interleaved_all(rounds, contenders.collect())?;
    applicants.borrow_mut().testbed.servers.database_url = home;
    for table in tables {
        table.remove()?;
    }
    Ok(compared(&sizes.map(rows_named), &turns))
}

fn rows_named(size: u64) -> String {
    format!("{} rows", Unit::Count.show(size as f64))
}

fn campaigns_named(size: usize) -> String {
    match size {
        1 => "1 campaign".to_owned(),
        _ => format!("{} campaigns", Unit::Count.show(size as f64)),
    }
}

/// Lets bridges read the streams of these campaigns, and of no others. (Creating a campaign or a route announces all
/// campaigns of the database.)
fn announce_only(testbed: &mut Testbed, campaigns: &[CampaignId]) -> Result<()> {
    testbed.gate.run::<()>(cmd("DEL").arg(keys::CAMPAIGNS))?;
    for campaign in campaigns {
        testbed.gate.announce(campaign)?;
    }
    Ok(())
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

/// A database of its own with this many rows.
struct Table<'a, 'b> {
    applicants: &'a RefCell<Applicants<'b>>,
    size: u64,
    /// The campaign of the rows, while they are kept.
    campaign: Option<CampaignId>,
}

impl Table<'_, '_> {
    fn database(&self) -> String {
        format!("{NAME}_{}", self.size)
    }

    fn turn(&mut self) -> Result<Costs> {
        let mut applicants = self.applicants.borrow_mut();
        applicants.testbed.change_database(&self.database())?;
        let campaign = match self.campaign.take() {
            Some(campaign) => campaign,
            None => {
                applicants.testbed.empty_tables()?;
                applicants.laid_out(self.size)?
            }
        };
        let costs = applicants.apply_to(from_ref(&campaign))?;
        if self.size >= KEPT {
            self.campaign = Some(campaign);
        } else {
            applicants.testbed.gate.remove(&campaign)?;
        }
        Ok(costs)
    }

    fn remove(self) -> Result<()> {
        let testbed = &mut self.applicants.borrow_mut().testbed;
        if let Some(campaign) = &self.campaign {
            testbed.gate.remove(campaign)?;
        }
        let drop = AssertSqlSafe(format!("DROP DATABASE `{}`", self.database()));
        testbed.with_database(async |database| sqlx::raw_sql(drop).execute(database).await)?;
        Ok(())
    }
}

/// Applicants, each of whom applies once.
struct Applicants<'a> {
    testbed: &'a mut Testbed,
    next: u64,
}

impl<'a> Applicants<'a> {
    fn new(testbed: &'a mut Testbed) -> Self {
        Self {
            testbed,
            next: APPLICANTS,
        }
    }

    /// A turn: starts all programs; enough applicants apply to these campaigns that the resolution of the CPU clock
    /// does not matter.
    fn apply_to(&mut self, campaigns: &[CampaignId]) -> Result<Costs> {
        let count = self.testbed.scale.backlog() / 10;
        let route = self.testbed.route()?;
        announce_only(self.testbed, campaigns)?;
        let mut pipeline = Pipeline::over(self.testbed, campaigns.to_vec(), route)?;
        let before = pipeline.usage(self.testbed)?;
        let mut load = Load {
            until: Until::Requests(count),
            ..pipeline.applications(self.testbed, self.next)
        };
        self.next += load.run()?.all(201)?.sent;
        pipeline.until_issued(self.testbed)?;
        let after = pipeline.usage(self.testbed)?;
        drop(pipeline);
        let parts = before.iter().zip(&after);
        let costs = parts.map(|((name, before), (_, after))| {
            let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e6 / count as f64;
            (*name, cpu)
        });
        Ok(costs.collect())
    }

    /// A campaign with this many rows, after which the gate continues. The gate knows only their number: their cost at
    /// the gate is measured by `gate`.
    fn laid_out(&mut self, size: u64) -> Result<CampaignId> {
        let route = self.testbed.route()?;
        let campaign = self.testbed.campaign(u64::from(Quota::MAX), &route)?;
        let rows = Rows {
            campaign: campaign.clone(),
            first: 1,
            count: size,
            quota: u64::from(Quota::MAX),
            at_once: AT_ONCE,
        };
        let insert = bare::insert(self.testbed.database()?, rows);
        self.testbed.all_of(vec![insert])?;
        let mut command = cmd("HSET");
        command
            .arg(Keys::of(&campaign).rounds())
            .arg(format!("{}/granted", RoundId::once()))
            .arg(size);
        self.testbed.gate.run::<()>(&mut command)?;
        Ok(campaign)
    }
}
