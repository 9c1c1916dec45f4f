//! Compares Rushgate with the usual ways to give out coupons: far more people than coupons, a coupon for each, and a
//! program that is killed. All get the same applicants on the same servers.

mod crowd;
mod killed;
mod system;
mod won;

use self::system::{OURS, System};
use crate::finding::{Finding, Unit};
use crate::measure::{Contender, Turns, interleaved_all};
use crate::say;
use crate::testbed::Testbed;
use crate::ways::given::Given;
use crate::ways::shown::{CROWD, KILLED, Killed, Measure, Shown, WON};
use crate::ways::table::title;
use anyhow::{Result, bail};
use std::cell::RefCell;

pub(super) const NAME: &str = "ways";

pub(super) fn run(testbed: &mut Testbed) -> Result<Vec<Finding>> {
    let (_, quota) = testbed.scale.crowd();
    let mut systems = System::all(testbed, quota)?;
    let crowds = compared(testbed, &mut systems, crowd::turn)?;
    // Checked outside the turn, because a failed turn is repeated.
    crowds[0].0.iter().try_for_each(exact)?;
    let mut findings = findings_of(&systems, &crowds, &CROWD);
    drop(systems);

    // Services know their quota from the start.
    let mut systems = System::all(testbed, testbed.scale.winners())?;
    let won = compared(testbed, &mut systems, won::turn)?;
    findings.extend(findings_of(&systems, &won, &WON));
    findings.extend(won::goals(NAME, &systems, &won)?);

    let mut kills = vec![];
    for system in &mut systems {
        say::note(format_args!("{}: killing its programs …", system.name));
        let killed = killed::turns(system, testbed)?;
        if system.is_ours() {
            exact_when_killed(&killed)?;
        }
        kills.push(Turns(vec![killed]));
    }
    findings.extend(findings_of(&systems, &kills, &KILLED));
    Ok(findings)
}

/// Turns of all systems alternately.
fn compared<T>(
    testbed: &mut Testbed,
    systems: &mut [System],
    turn: fn(&mut System, &mut Testbed) -> Result<T>,
) -> Result<Vec<Turns<T>>> {
    let rounds = testbed.scale.long_rounds();
    let testbed = &RefCell::new(testbed);
    let contenders = systems.iter_mut().map(|system| {
        let name = system.name;
        Contender::new(name, move || turn(system, &mut testbed.borrow_mut()))
    });
    interleaved_all(rounds, contenders.collect())
}

/// All figures of one system after the other; Rushgate is the first.
fn findings_of<T>(systems: &[System], turns: &[Turns<T>], measures: &[Measure<T>]) -> Vec<Finding> {
    let mut findings = vec![];
    for (system, its) in systems.iter().zip(turns) {
        for measure in measures {
            let figure = |turns: &Turns<T>| turns.figure(measure.of);
            if figure(its).median.is_nan() {
                continue;
            }
            let what = title(system.name, measure.name);
            let finding = Finding::new(NAME, what, figure(its), measure.unit);
            let compared = !system.is_ours() && measure.unit != Unit::Count;
            findings.push(if compared {
                finding.beside(OURS, figure(&turns[0]))
            } else {
                finding
            });
        }
    }
    findings
}

/// Rushgate gives exactly the quota, one to each applicant, whatever is measured.
fn exact(shown: &Shown) -> Result<()> {
    let quota = u64::from(shown.quota);
    let expected = Given {
        rows: quota,
        people: quota,
        doubled: 0,
    };
    if shown.given != expected {
        bail!("the table has {:?}, expected {expected:?}", shown.given);
    }
    Ok(())
}

/// Rushgate neither loses nor doubles a coupon when one of its programs is killed.
fn exact_when_killed(killed: &Killed) -> Result<()> {
    if killed.lost > 0 || killed.doubled > 0 {
        bail!("after a kill of its programs, {OURS} has {killed:?}");
    }
    Ok(())
}
