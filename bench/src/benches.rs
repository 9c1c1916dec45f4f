//! The benches, each of which says what it found.

mod bridge;
mod consumer;
mod gate;
mod granted;
mod http;
mod sold_out;

use crate::ground::Ground;
use crate::report::Finding;
use anyhow::Result;

/// A bench.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name, as it is asked for.
    pub name: &'static str,
    /// What does it.
    pub run: fn(&mut Ground) -> Result<Vec<Finding>>,
}

/// All of them, in the order of a run.
pub const ALL: &[Bench] = &[
    Bench {
        name: granted::NAME,
        run: granted::run,
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
];
