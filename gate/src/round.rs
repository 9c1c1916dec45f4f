//! One opening of a campaign: its window, its quota and its serials.

use crate::text::{Rule, checked_text};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

checked_text! {
    /// The name of a round, unique in its campaign: 1 to 32 of `A-Z a-z 0-9 . _ -`.
    RoundId, "round", Rule { longest: 32, punctuation: "._-", upper_case: true }
}

impl RoundId {
    /// The only round of a campaign that opens once.
    pub fn once() -> Self {
        Self("once".to_owned())
    }
}

/// A place in a round: 1 to the round's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Serial(NonZeroU32);

/// How many coupons a round may give: 1 to [`Quota::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quota(NonZeroU32);

/// A number that is not a serial or a quota.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a whole number from 1 to {max}")]
pub struct OutOfRange {
    what: &'static str,
    max: u32,
}

impl Quota {
    /// Far above any promotion, and low enough that one bit per serial stays small (12.5 MB).
    pub const MAX: u32 = 100_000_000;

    /// The number of coupons.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl Serial {
    /// The number itself, from 1.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Checked conversion from the numbers that the outside world uses.
macro_rules! one_to_max {
    ($name:ident, $what:literal) => {
        impl TryFrom<u32> for $name {
            type Error = OutOfRange;

            fn try_from(number: u32) -> Result<Self, OutOfRange> {
                NonZeroU32::new(number)
                    .filter(|number| number.get() <= Quota::MAX)
                    .map(Self)
                    .ok_or(OutOfRange {
                        what: $what,
                        max: Quota::MAX,
                    })
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfRange;

            fn try_from(number: i64) -> Result<Self, OutOfRange> {
                // Zero is out of range too, so it can stand for everything that does not fit.
                Self::try_from(u32::try_from(number).unwrap_or(0))
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                Self::try_from(text.parse::<u32>().unwrap_or(0))
            }
        }

        impl From<$name> for u32 {
            fn from(number: $name) -> u32 {
                number.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
one_to_max!(Serial, "serial");
one_to_max!(Quota, "quota");

/// One opening of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Round {
    /// Its name.
    pub id: RoundId,
    /// First instant at which it grants; `None` if it has always been open.
    pub opens_at: Option<Millis>,
    /// First instant at which it no longer grants; `None` if it never closes.
    pub closes_at: Option<Millis>,
    /// Coupons it may give.
    pub quota: Quota,
}

impl Round {
    /// Whether it no longer grants at `now`.
    pub fn is_over(&self, now: Millis) -> bool {
        self.closes_at.is_some_and(|closes_at| closes_at <= now)
    }
}
