//! Measures how the CPU time of a grant changes as the system grows. Each figure is compared with the one at the
//! smallest size.
//!
//! For the gate alone, three sizes grow: the grants of a campaign, the number of campaigns, and the unread entries of
//! the stream. For the whole system, program by program, [`system`] varies the number of campaigns and of rows.

mod system;

use system::KEPT;
pub(super) use system::NAME;

use crate::finding::{Finding, Goal, Unit};
use crate::gate::Gate;
use crate::measure::{Contender, interleaved_all};
use crate::scale::Scale;
use crate::testbed::Testbed;
use anyhow::Result;
use redis::cmd;
use rushgate_gate::{CampaignId, Keys, Quota};
use std::cell::RefCell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Grants of a campaign, all published.
    Grants(u64),
    /// Campaigns that grants are spread over.
    Campaigns(u64),
    /// Entries in the stream of a campaign.
    Backlog(u64),
}

struct Growing<'a> {
    gate: &'a RefCell<&'a mut Gate>,
    what: What,
    count: u64,
    campaigns: Vec<CampaignId>,
    next: u64,
}

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let mut findings = at_the_gate(testbed)?;
    findings.extend(system::over_campaigns(testbed)?);
    findings.extend(system::over_rows(testbed)?);
    Ok(findings)
}

fn at_the_gate(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let scale = testbed.scale;
    let (most, count): (u32, u64) = match scale {
        Scale::Full => (7, 50_000),
        Scale::Quick => (5, 20_000),
        Scale::Smoke => (2, 100),
    };
    let least = most.min(3) - u32::from(scale == Scale::Smoke);
    let powers = |from: u32, to: u32| (from..=to).map(|power| 10_u64.pow(power));
    let grants: Vec<_> = powers(least, most).map(What::Grants).collect();
    let campaigns: Vec<_> = powers(0, 3.min(most)).map(What::Campaigns).collect();
    let backlog = [0].into_iter().chain(powers(least, most.min(6)));
    let backlog: Vec<_> = backlog.map(What::Backlog).collect();
    let gate = RefCell::new(&mut testbed.gate);
    let mut findings = vec![];
    for sizes in [grants, campaigns, backlog] {
        let mut growing: Vec<_> = sizes
            .iter()
            .map(|what| Growing {
                gate: &gate,
                what: *what,
                count,
                campaigns: vec![],
                next: 0,
            })
            .collect();
        let contenders = growing
            .iter_mut()
            .map(|growing| Contender::new(growing.what.name(), || growing.turn()));
        let turns = interleaved_all(scale.rounds(), contenders.collect())?;
        let figures: Vec<_> = turns.iter().map(|turns| turns.figure(|cpu| *cpu)).collect();
        for (what, figure) in sizes.iter().zip(&figures).skip(1) {
            findings.push(
                Finding::new(NAME, what.name(), figure.clone(), Unit::CpuMicroseconds)
                    .beside(sizes[0].name(), figures[0].clone())
                    .to_be(Goal::AtMost(1.1)),
            );
        }
        for mut growing in growing {
            growing.remove()?;
        }
    }
    Ok(findings)
}

impl What {
    fn name(self) -> String {
        let (number, what) = match self {
            Self::Grants(number) => (number, "grants"),
            Self::Campaigns(1) => (1, "campaign"),
            Self::Campaigns(number) => (number, "campaigns"),
            Self::Backlog(number) => (number, "entries in the stream"),
        };
        let number = Unit::Count.show(number as f64);
        format!("Redis, grant at {number} {what}")
    }
}

impl Growing<'_> {
    /// CPU microseconds of Redis for a grant.
    fn turn(&mut self) -> Result<f64> {
        if self.campaigns.is_empty() {
            self.lay_out()?;
        }
        let mut gate = self.gate.borrow_mut();
        let before = cpu(&mut gate)?;
        let first = self.next;
        self.next += self.count;
        gate.grant(&self.campaigns, first, self.count)?;
        let took = cpu(&mut gate)? - before;
        for campaign in &self.campaigns {
            if !matches!(self.what, What::Backlog(_)) {
                gate.run::<()>(cmd("DEL").arg(Keys::of(campaign).stream()))?;
            }
        }
        drop(gate);
        let kept = match self.what {
            What::Grants(size) => size >= KEPT,
            What::Campaigns(_) => false,
            What::Backlog(size) => size >= KEPT,
        };
        if !kept {
            self.remove()?;
        }
        Ok(took * 1e6 / self.count as f64)
    }

    fn lay_out(&mut self) -> Result<()> {
        let mut gate = self.gate.borrow_mut();
        let (campaigns, grants) = match self.what {
            // Chosen so that a turn does not double the size.
            What::Grants(size) => (self.count.div_ceil(size), size),
            What::Campaigns(number) => (number, 0),
            What::Backlog(size) => (1, size),
        };
        for _ in 0..campaigns {
            self.campaigns.push(gate.open(Quota::MAX)?);
        }
        self.next = 0;
        if grants > 0 {
            self.next = grants * campaigns;
            gate.grant(&self.campaigns, 0, self.next)?;
        }
        for campaign in &self.campaigns {
            let keys = Keys::of(campaign);
            let done_with = match self.what {
                What::Backlog(_) => keys.grants(),
                _ => keys.stream(),
            };
            gate.run::<()>(cmd("DEL").arg(done_with))?;
        }
        gate.wait_until_idle()
    }

    fn remove(&mut self) -> Result<()> {
        let mut gate = self.gate.borrow_mut();
        for campaign in self.campaigns.drain(..) {
            gate.remove(&campaign)?;
        }
        Ok(())
    }
}

/// CPU seconds that Redis has used.
pub(super) fn cpu(gate: &mut Gate) -> Result<f64> {
    let user: f64 = gate.info("used_cpu_user")?.parse()?;
    let system: f64 = gate.info("used_cpu_sys")?.parse()?;
    Ok(user + system)
}
