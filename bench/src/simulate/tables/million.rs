//! The table for this question: what does a million applications per second for one campaign need?

use super::hot_key::{AT_ONCE, INSTANCES, LIFE, MACHINE};
use super::{SEED, Table, percent};
use crate::report::Unit;
use crate::simulate::Costs;
use crate::simulate::agenda::{Nanos, seconds};
use crate::simulate::crowd::{Arrivals, Crowd};
use crate::simulate::memory::{MOST_KNOWN, Memory};
use crate::simulate::run::{Run, Sizing};
use crate::simulate::simulated::Component;

/// Applications per second.
const RATE: f64 = 1e6;

/// The first three seconds of ten million applicants: nothing changes after these.
const PEOPLE: u64 = 3_000_000;

const QUOTA: u64 = 100_000;

/// Highest utilisation of a component.
const BUSY: f64 = 0.7;

/// Seconds within which all rows must be committed.
const ROWS_WITHIN: f64 = 10.0;

pub(super) fn tables(costs: &Costs) -> Vec<Table> {
    let cores = needed(RATE, costs.handler_refused);
    let instances = |most_known| Memory {
        askers: cores * INSTANCES,
        applications: LIFE,
        at_once: AT_ONCE,
        most_known,
    };
    let machines = Memory {
        askers: cores.div_ceil(MACHINE),
        applications: u64::MAX,
        at_once: AT_ONCE * MACHINE,
        most_known: u64::MAX,
    };
    let mut rows = vec![];
    let gates = [1, 4, 16];
    for (name, memory, gates) in [
        ("no cache", None, &gates[..]),
        ("instances, as shipped", Some(instances(MOST_KNOWN)), &gates),
        (
            "instances, any number known",
            Some(instances(u64::MAX)),
            &gates[2..],
        ),
        ("machines, any number known", Some(machines), &gates),
    ] {
        for gates in gates {
            rows.push(row(name, memory, *gates, cores, costs));
        }
    }
    let titles = [
        "refusals cached by",
        "gates",
        "decisions",
        "questions",
        "busiest gate",
        "behind by",
        "answer p99",
    ];
    vec![sizing(costs), Table::new("million", &titles, rows)]
}

/// How many are needed for this utilisation.
fn needed(per_second: f64, takes: Nanos) -> usize {
    (per_second * seconds(takes) / BUSY).ceil() as usize
}

fn row(
    name: &str,
    memory: Option<Memory>,
    gates: usize,
    cores: usize,
    costs: &Costs,
) -> Vec<String> {
    let rows = QUOTA as f64 / ROWS_WITHIN;
    let run = Run {
        sizing: Sizing {
            handler_cores: cores,
            gates,
            bridges: needed(rows, costs.bridge),
            broker_cores: needed(rows, costs.broker),
            partitions: 12,
            consumers: needed(rows, costs.consumer),
        },
        memory,
        crowd: Crowd {
            people: PEOPLE,
            arrivals: Arrivals::Steady(RATE),
        },
        quota: QUOTA,
        seed: SEED,
    };
    let outcome = run.simulate(costs);
    let count = |number: u64| Unit::Count.show(number as f64);
    let answered = outcome.answers() as f64 / outcome.answers_per_second();
    vec![
        name.to_owned(),
        gates.to_string(),
        count(outcome.decisions),
        count(outcome.questions),
        percent(outcome.work_of(Component::Gate) / answered.max(outcome.last_row())),
        Unit::Seconds.show(outcome.behind()),
        Unit::Milliseconds.show(outcome.quantile(0.99)),
    ]
}

/// The work of each component, and how many of it that needs.
fn sizing(costs: &Costs) -> Table {
    let rows = QUOTA as f64 / ROWS_WITHIN;
    let line = |component: &str, rate: f64, takes: Nanos| {
        vec![
            component.to_owned(),
            Unit::PerSecond.show(rate),
            Unit::PerSecond.show(1.0 / seconds(takes)),
            Unit::Count.show(needed(rate, takes) as f64),
        ]
    };
    let titles = ["part", "work, per second", "one does", "needed"];
    let lines = vec![
        line("handler cores", RATE, costs.handler_refused),
        line("gates, if every application asks them", RATE, costs.refusal),
        line("gates, later work for grants", rows, costs.follow),
        line("bridges", rows, costs.bridge),
        line("broker cores", rows, costs.broker),
        line("consumers", rows, costs.consumer),
        line("databases", rows, costs.database),
    ];
    Table::new("million-parts", &titles, lines)
}
