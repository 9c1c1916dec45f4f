//! The table for this question: how are applicants in distant regions served, if edges are near them and there is one
//! gate?

use super::{SEED, Table, percent};
use crate::measure::Figure;
use crate::report::Unit;
use crate::simulate::Costs;
use crate::simulate::crowd::{Arrivals, Crowd};
use crate::simulate::edges::{Edges, Region};
use crate::simulate::memory::{MOST_KNOWN, Memory};

/// Assumed: round trips in milliseconds, and percentages of the applicants.
const REGIONS: [(f64, f64); 5] = [
    (2.0, 40.0),
    (30.0, 30.0),
    (80.0, 15.0),
    (150.0, 10.0),
    (250.0, 5.0),
];

/// Machines in each region, each with its own cache.
const MACHINES: usize = 4;

const PEOPLE: u64 = 200_000;

/// As many as a negative cache can list.
const QUOTA: u64 = 2_000;

/// Mean of the arrival times after the opening, in milliseconds.
const FLASH: f64 = 1_000.0;

/// How long the gate collects, in milliseconds: not at all, and for the longest way plus some waiting.
const WINDOWS: [f64; 2] = [0.0, 150.0];

pub(super) fn tables(costs: &Costs) -> Vec<Table> {
    let regions = REGIONS.map(|(round_trip, people)| Region { round_trip, people });
    let mut rows = vec![];
    for window in WINDOWS {
        let edges = Edges {
            regions: &regions,
            memory: Memory {
                askers: MACHINES,
                applications: u64::MAX,
                at_once: usize::MAX,
                most_known: MOST_KNOWN,
            },
            window,
            quota: QUOTA,
            crowd: Crowd {
                people: PEOPLE,
                arrivals: Arrivals::Flash(FLASH),
            },
            seed: SEED,
        };
        let served = edges.simulate(costs);
        for (region, served) in regions.iter().zip(served) {
            let people = served.people as f64;
            let granted = served.granted.len() as f64;
            let remembered = served.remembered as f64;
            rows.push(vec![
                if window == 0.0 {
                    "in order of arrival".to_owned()
                } else {
                    format!("after {window} ms, by time of click")
                },
                Unit::Milliseconds.show(region.round_trip),
                Unit::Count.show(people),
                percent(granted / people),
                median(served.granted),
                median(served.refused),
                percent(remembered / people),
            ]);
        }
    }
    let titles = [
        "decided",
        "round trip",
        "applicants",
        "got a place",
        "p50 of a grant",
        "p50 of a refusal",
        "answered by the edge",
    ];
    vec![Table::new("edges", &titles, rows)]
}

fn median(milliseconds: Vec<f64>) -> String {
    if milliseconds.is_empty() {
        return "–".to_owned();
    }
    Unit::Milliseconds.show(Figure::of(milliseconds).median)
}
