//! Sets the size of the benchmarks: how often and for how long each variant is measured, with how many connections,
//! applicants and entries.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Three sizes of the same benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// For published figures: half an hour and more.
    Full,
    /// A quarter of an hour: shows whether a change helps.
    Quick,
    /// Seconds: shows whether the benchmarks work. The figures mean nothing.
    Smoke,
}

impl Scale {
    fn pick<T>(self, full: T, quick: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Smoke => smoke,
        }
    }

    /// Turns of every contender.
    pub fn rounds(self) -> usize {
        self.pick(5, 3, 1)
    }

    /// Turns of every contender, where one takes a minute.
    pub fn long_rounds(self) -> usize {
        self.pick(3, 2, 1)
    }

    /// Duration of a turn.
    pub fn turn(self) -> Duration {
        Duration::from_millis(self.pick(5_000, 1_500, 60))
    }

    /// Connections of the generator.
    pub fn connections(self) -> usize {
        self.pick(64, 64, 4)
    }

    /// Applicants in a crowd, a multiple of ten, and the coupons for them.
    pub fn crowd(self) -> (u64, u32) {
        self.pick((50_000, 1_000), (10_000, 200), (60, 10))
    }

    /// Applicants who all get a coupon.
    pub fn winners(self) -> u32 {
        self.pick(20_000, 3_000, 60)
    }

    /// How often each program is killed.
    pub fn kills(self) -> usize {
        self.pick(2, 1, 1)
    }

    /// Applicants of an overload.
    pub fn flood(self) -> usize {
        self.pick(50_000, 20_000, 400)
    }

    /// Entries, records and rows of a backlog.
    pub fn backlog(self) -> u64 {
        self.pick(1_000_000, 100_000, 500)
    }
}
