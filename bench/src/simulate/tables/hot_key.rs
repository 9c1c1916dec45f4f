//! The table for this question: what is the capacity of one campaign, which has one gate?

use super::{SEED, Table, percent};
use crate::report::Unit;
use crate::simulate::Costs;
use crate::simulate::agenda::{micros, seconds};
use crate::simulate::costs::KNOWN;
use crate::simulate::crowd::{Arrivals, Crowd};
use crate::simulate::memory::{MOST_KNOWN, Memory};
use crate::simulate::run::{Run, Sizing};
use crate::simulate::simulated::Simulated;

/// How long applicants come, in seconds.
const LASTS: f64 = 4.0;

/// Milliseconds within which 99 of 100 must be answered: the shipped `gate_budget_ms`, after which instances shed load.
const IN_TIME: f64 = 500.0;

/// Most seconds that the last answer may be late: beyond this the gate does not keep up.
const BEHIND: f64 = 0.1;

/// The range in which the capacity is searched, in applications per second.
const RATES: (f64, f64) = (1e3, 1e6);

/// Utilisation of the handlers: they must not be the bottleneck.
const BUSY: f64 = 0.5;

/// Applications in the life of an instance, by Spin's default.
pub(super) const LIFE: u64 = 128;

const LONG_LIFE: u64 = 10_000;

/// Concurrent applications of an instance, by Spin's default.
pub(super) const AT_ONCE: usize = 16;

/// Cores of a handler machine, where machines cache: assumed.
pub(super) const MACHINE: usize = 16;

/// Instances per core: assumed; Spin was seen to keep 18 to 44 on two cores.
pub(super) const INSTANCES: usize = 16;

/// In microseconds: after the rush.
const MUCH_LATER: f64 = 1e9;

pub(super) fn tables(costs: &Costs) -> Vec<Table> {
    let instances = |applications| {
        move |cores: usize| Memory {
            askers: cores * INSTANCES,
            applications,
            at_once: AT_ONCE,
            most_known: MOST_KNOWN,
        }
    };
    let machines = |cores: usize| Memory {
        askers: cores.div_ceil(MACHINE),
        applications: u64::MAX,
        at_once: AT_ONCE * MACHINE,
        most_known: MOST_KNOWN,
    };
    let of_grants = Kind {
        quota: u64::MAX,
        costs: costs.clone(),
    };
    let burst = Kind {
        costs: Costs {
            bridge: micros(MUCH_LATER),
            follow: 0,
            ..costs.clone()
        },
        ..of_grants.clone()
    };
    let refused = Kind {
        quota: KNOWN,
        costs: costs.clone(),
    };
    let rows = vec![
        of_grants.row("granted, and followed to the row", |_| None),
        burst.row("granted, with the stream read later", |_| None),
        refused.row("refused, no cache", |_| None),
        refused.row(
            "refused, cached by instances of 128 applications each",
            |cores| Some(instances(LIFE)(cores)),
        ),
        refused.row(
            "refused, cached by instances of 10,000 applications each",
            |cores| Some(instances(LONG_LIFE)(cores)),
        ),
        refused.row("refused, cached by machines of 16 cores", |cores| {
            Some(machines(cores))
        }),
    ];
    let titles = [
        "applications",
        "limit of one gate, per second",
        "handler cores for that",
        "reach the gate",
        "p99 at half of the limit",
    ];
    vec![Table::new("hot-key", &titles, rows)]
}

#[derive(Clone)]
struct Kind {
    quota: u64,
    costs: Costs,
}

impl Kind {
    fn row(&self, name: &str, memory: impl Fn(usize) -> Option<Memory>) -> Vec<String> {
        let end = self.end(&memory);
        let half = self.steadily(end * 0.5, &memory);
        let nearly = self.steadily(end, &memory);
        let asked = nearly.decisions as f64 / nearly.answers() as f64;
        let more = if end > RATES.1 / 1.1 {
            "more than "
        } else {
            ""
        };
        vec![
            name.to_owned(),
            format!("{more}{}", Unit::PerSecond.show(end)),
            Unit::Count.show(self.cores(end) as f64 * BUSY),
            percent(asked),
            Unit::Milliseconds.show(half.quantile(0.99)),
        ]
    }

    /// The highest rate in applications per second at which 99 of 100 are answered in time, within the search range.
    fn end(&self, memory: &impl Fn(usize) -> Option<Memory>) -> f64 {
        let (mut least, mut most) = RATES;
        while most / least > 1.03 {
            let rate = (least * most).sqrt();
            let outcome = self.steadily(rate, memory);
            if outcome.quantile(0.99) <= IN_TIME && outcome.behind() <= BEHIND {
                least = rate;
            } else {
                most = rate;
            }
        }
        least
    }

    fn steadily(&self, rate: f64, memory: &impl Fn(usize) -> Option<Memory>) -> Simulated {
        let handler_cores = self.cores(rate);
        let sizing = Sizing {
            handler_cores,
            gates: 1,
            // Enough of everything else.
            bridges: 64,
            broker_cores: 64,
            partitions: 64,
            consumers: 64,
        };
        let run = Run {
            sizing,
            memory: memory(handler_cores),
            crowd: Crowd {
                people: (rate * LASTS) as u64,
                arrivals: Arrivals::Steady(rate),
            },
            quota: self.quota,
            seed: SEED,
        };
        run.simulate(&self.costs)
    }

    fn cores(&self, rate: f64) -> usize {
        let takes = if self.quota == u64::MAX {
            self.costs.handler_granted
        } else {
            self.costs.handler_refused
        };
        (rate * seconds(takes) / BUSY).ceil() as usize
    }
}
