//! The table for this question: how much time does it save to split a quota over several gates, and how far is the
//! result from the order of arrival?

use super::{SEED, Table};
use crate::report::Unit;
use crate::simulate::Costs;
use crate::simulate::crowd::{Arrivals, Crowd};
use crate::simulate::split::{Policy, Split};

const QUOTA: u64 = 100_000;

/// Ten applicants for each place: they do not wait to see whether one is left.
const RUSH: u64 = 1_000_000;

/// Slightly more than there are places.
const FEW: u64 = 105_000;

/// Mean of the arrival times after the opening, in milliseconds: half of the applicants come within 0.7 of it.
const FLASH: f64 = 1_000.0;

/// How many more applicants than the mean one gate gets, where hashing is uneven.
const SKEW: f64 = 0.2;

/// Default number of serials in a lease.
const LEASE: u64 = 64;

pub(super) fn tables(costs: &Costs) -> Vec<Table> {
    let mut gates = vec![];
    for number in [1, 2, 4, 8, 16, 32] {
        for policy in [Policy::Shares, Policy::Leases(LEASE)] {
            gates.push(row(number, 0.0, policy, RUSH, costs));
        }
    }
    let mut policies = vec![];
    for people in [RUSH, FEW] {
        for policy in [
            Policy::Shares,
            Policy::Rebalanced(100.0),
            Policy::Rebalanced(10.0),
            Policy::Leases(1),
            Policy::Leases(16),
            Policy::Leases(LEASE),
            Policy::Leases(256),
            Policy::Leases(1_024),
        ] {
            policies.push(row(16, SKEW, policy, people, costs));
        }
    }
    vec![
        Table::new("split", &TITLES, gates),
        Table::new("split-skewed", &TITLES, policies),
    ]
}

const TITLES: [&str; 9] = [
    "gates",
    "applicants",
    "policy",
    "last place after",
    "answer p99",
    "passed over",
    "places displaced",
    "passed over by at most",
    "left over",
];

fn row(gates: usize, skew: f64, policy: Policy, people: u64, costs: &Costs) -> Vec<String> {
    let split = Split {
        gates,
        skew,
        policy,
        quota: QUOTA,
        crowd: Crowd {
            people,
            arrivals: Arrivals::Flash(FLASH),
        },
        seed: SEED,
    };
    let given = split.simulate(costs);
    let count = |number: u64| Unit::Count.show(number as f64);
    let policy = match policy {
        Policy::Shares => "shares".to_owned(),
        Policy::Rebalanced(every) => format!("evened out every {every} ms"),
        Policy::Leases(size) => format!("leases of {}", count(size)),
    };
    vec![
        gates.to_string(),
        count(people),
        policy,
        Unit::Seconds.show(given.sold_out),
        Unit::Milliseconds.show(given.p99),
        count(given.order.passed_over),
        count(given.order.displaced),
        Unit::Milliseconds.show(given.order.longest),
        count(given.order.left_over),
    ]
}
