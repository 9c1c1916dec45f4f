//! The table for this question: what does one more of each component add, and which component is the next bottleneck?

use super::{SEED, Table};
use crate::report::Unit;
use crate::simulate::Costs;
use crate::simulate::crowd::{Arrivals, Crowd};
use crate::simulate::run::{Run, Sizing};
use crate::simulate::simulated::{Component, Simulated};

/// Applicants, all of whom are granted a place.
const PEOPLE: u64 = 50_000;

/// They come at once: the mean of the arrival times, in milliseconds.
const AT_ONCE: f64 = 10.0;

/// The load for the latency, relative to the row rate in the first line.
const LOAD: f64 = 0.8;

/// As many handlers as keep everything behind them busy.
const HANDLERS: usize = 64;

pub(super) fn tables(costs: &Costs) -> Vec<Table> {
    let few = one_more("**one of everything**", Sizing::ONE_OF_EACH, costs);
    let handlers = Sizing {
        handler_cores: HANDLERS,
        ..Sizing::ONE_OF_EACH
    };
    let many = one_more(
        "**64 handler cores, one of everything else**",
        handlers,
        costs,
    );
    vec![
        Table::new("one-more", &TITLES, [few, many].concat()),
        growing(costs),
    ]
}

const TITLES: [&str; 6] = [
    "",
    "answers/s",
    "answer p99 at 0.8",
    "rows/s",
    "answers limited by",
    "rows limited by",
];

fn at(sizing: Sizing, arrivals: Arrivals) -> Run {
    Run {
        sizing,
        memory: None,
        crowd: Crowd {
            people: PEOPLE,
            arrivals,
        },
        quota: PEOPLE,
        seed: SEED,
    }
}

fn rush(sizing: Sizing, costs: &Costs) -> Simulated {
    at(sizing, Arrivals::Flash(AT_ONCE)).simulate(costs)
}

/// A sizing, and the same with one more of each kind.
fn one_more(name: &str, base: Sizing, costs: &Costs) -> Vec<Vec<String>> {
    let steady = rows_per_second(&rush(base, costs)) * LOAD;
    let more = |change: fn(&mut Sizing)| {
        let mut sizing = base;
        change(&mut sizing);
        sizing
    };
    let contenders = [
        (name, base),
        (
            "one more handler core",
            more(|sizing| sizing.handler_cores += 1),
        ),
        (
            "one more gate, and campaigns on both",
            more(|sizing| sizing.gates += 1),
        ),
        ("one more bridge", more(|sizing| sizing.bridges += 1)),
        (
            "one more broker core",
            more(|sizing| sizing.broker_cores += 1),
        ),
        ("one more partition", more(|sizing| sizing.partitions += 1)),
        ("one more partition and consumer", more(add_consumer)),
    ];
    let rows = contenders.map(|(name, sizing)| {
        let rush = rush(sizing, costs);
        let paced = at(sizing, Arrivals::Steady(steady)).simulate(costs);
        vec![
            name.to_owned(),
            Unit::PerSecond.show(rush.answers_per_second()),
            Unit::Milliseconds.show(paced.quantile(0.99)),
            Unit::PerSecond.show(rows_per_second(&rush)),
            named(rush.bottleneck(Component::answers)),
            named(rush.bottleneck(|_| true)),
        ]
    });
    rows.into()
}

fn rows_per_second(outcome: &Simulated) -> f64 {
    outcome.rows as f64 / outcome.last_row()
}

fn named(component: Option<Component>) -> String {
    component.map_or(String::new(), |component| component.to_string())
}

fn add_consumer(sizing: &mut Sizing) {
    sizing.partitions += 1;
    sizing.consumers += 1;
}

/// Repeatedly one more of the bottleneck of the rows, until that is the database.
fn growing(costs: &Costs) -> Table {
    let mut sizing = Sizing::ONE_OF_EACH;
    let mut rows = vec![];
    loop {
        let outcome = rush(sizing, costs);
        let Some(bottleneck) = outcome.bottleneck(|_| true) else {
            break;
        };
        let is_new = rows
            .last()
            .is_none_or(|row: &Vec<String>| row[7] != bottleneck.to_string());
        if is_new {
            let counts = [
                sizing.handler_cores,
                sizing.gates,
                sizing.bridges,
                sizing.broker_cores,
                sizing.consumers,
            ];
            let mut row: Vec<String> = counts.map(|count| count.to_string()).into();
            row.push(Unit::PerSecond.show(outcome.answers_per_second()));
            row.push(Unit::PerSecond.show(rows_per_second(&outcome)));
            row.push(bottleneck.to_string());
            rows.push(row);
        }
        match bottleneck {
            Component::Handler => sizing.handler_cores += 1,
            Component::Gate => sizing.gates += 1,
            Component::Bridge => sizing.bridges += 1,
            Component::Broker => sizing.broker_cores += 1,
            Component::Consumer => add_consumer(&mut sizing),
            Component::Database => break,
        }
    }
    let titles = [
        "handler cores",
        "gates",
        "bridges",
        "broker cores",
        "consumers",
        "answers/s",
        "rows/s",
        "limited by",
    ];
    Table::new("growing", &titles, rows)
}
