//! Lists all benchmarks, in the order of a full run.

mod bridge;
mod consumer;
mod cost;
mod decision;
mod end_to_end;
mod floor;
mod gate;
mod granted;
mod growth;
mod http;
mod one_more;
mod overload;
mod pipeline;
mod progress;
mod signed;
mod sold_out;
mod ways;

use crate::finding::Finding;
use crate::testbed::Testbed;
use anyhow::Result;

/// The benchmark that compares each figure with itself.
pub const GROWTH: &str = growth::NAME;

#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name on the command line.
    pub name: &'static str,
    pub run: fn(&mut Testbed) -> Result<Vec<Finding>>,
}

/// In the order of a full run.
pub const ALL: &[Bench] = &[
    Bench {
        name: floor::NAME,
        run: floor::run,
    },
    Bench {
        name: granted::NAME,
        run: granted::run,
    },
    Bench {
        name: signed::NAME,
        run: signed::run,
    },
    Bench {
        name: sold_out::NAME,
        run: sold_out::run,
    },
    Bench {
        name: gate::NAME,
        run: gate::run,
    },
    Bench {
        name: bridge::NAME,
        run: bridge::run,
    },
    Bench {
        name: consumer::NAME,
        run: consumer::run,
    },
    Bench {
        name: end_to_end::NAME,
        run: end_to_end::run,
    },
    Bench {
        name: growth::NAME,
        run: growth::run,
    },
    Bench {
        name: cost::NAME,
        run: cost::run,
    },
    Bench {
        name: decision::NAME,
        run: decision::run,
    },
    Bench {
        name: one_more::NAME,
        run: one_more::run,
    },
    Bench {
        name: overload::NAME,
        run: overload::run,
    },
    Bench {
        name: ways::NAME,
        run: ways::run,
    },
];
