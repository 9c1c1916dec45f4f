//! A coupon for each applicant, and one of the programs is killed when half of them are answered. It starts again at
//! once, and applicants without an answer apply again.

use super::system::System;
use crate::scale::Scale;
use crate::testbed::Testbed;
use crate::testbed::programs::Server;
use crate::ways::shown::{DECISIONS, Killed};
use anyhow::{Result, bail};
use rushgate_testbed::load::{Ended, Load, Requests, Template, Until};
use std::time::{Duration, Instant};

/// How long a program may take to answer again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pause before an applicant applies again.
const PAUSE: Duration = Duration::from_millis(100);

/// The applicants, and the program that is killed meanwhile.
struct Applicants<'a> {
    template: Template,
    victim: &'a mut Server,
    /// Decisions until it is killed.
    left: u64,
    deadline: Instant,
}

/// Kills each program of the system, as often as the scale says.
pub(super) fn turns(system: &mut System, testbed: &mut Testbed) -> Result<Killed> {
    // After a kill, a usual consumer waits for its session timeout: too long for a smoke test.
    let victims = match testbed.scale {
        Scale::Smoke if !system.is_ours() => 1,
        _ => 1 + system.consumers.len(),
    };
    let mut killed = Killed::default();
    for _ in 0..testbed.scale.kills() {
        for victim in 0..victims {
            killed.kills += 1;
            kill(system, victim, testbed, &mut killed)?;
        }
    }
    Ok(killed)
}

/// Kills the service, or a consumer from number 1 on, and counts what is wrong then.
fn kill(
    system: &mut System,
    victim: usize,
    testbed: &mut Testbed,
    killed: &mut Killed,
) -> Result<()> {
    let people = testbed.scale.winners();
    let campaign = system.open(testbed, people)?;
    let address = system.service.address;
    let victim = match victim.checked_sub(1) {
        None => &mut system.service,
        Some(consumer) => &mut system.consumers[consumer],
    };
    let applicants = Applicants {
        template: Template::application(&campaign, false),
        victim,
        left: u64::from(people) / 2,
        deadline: Instant::now() + PATIENCE,
    };
    let mut load = Load {
        connections: testbed.scale.connections(),
        until: Until::Requests(people.into()),
        ..Load::new(address, applicants)
    };
    load.run()?;
    system.until_at_rest(testbed, &campaign)?;
    let given = system.given(testbed, &campaign)?;
    system.close(testbed, &campaign)?;
    killed.lost += u64::from(people).saturating_sub(given.people);
    killed.doubled += given.rows - given.people;
    Ok(())
}

impl Requests for Applicants<'_> {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.template.of(number));
    }

    fn ended(&mut self, ended: Ended<'_>) -> Result<Option<Duration>> {
        let decided = ended
            .answer
            .is_ok_and(|answer| DECISIONS.contains(&answer.status));
        if !decided {
            if ended.at > self.deadline {
                bail!("applications are not decided, {PATIENCE:?} after a program was killed");
            }
            return Ok(Some(PAUSE));
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            if left == 0 {
                self.victim.crash()?;
                self.deadline = Instant::now() + PATIENCE;
            }
        }
        Ok(None)
    }
}
