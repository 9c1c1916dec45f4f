//! Types of a round: one opening of a campaign, with its window, its quota and its serials.

use crate::text::{Rule, checked_text};
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

checked_text! {
    /// The name of a round, unique in its campaign: 1 to 32 characters of `A-Z a-z 0-9 . _ -`.
    RoundId, "round", Rule { longest: 32, punctuation: "._-", upper_case: true }
}

impl RoundId {
    /// The name of the only round of a campaign that opens once.
    pub fn once() -> Self {
        Self("once".to_owned())
    }
}

/// The number of a grant in a round: 1 to the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Serial(NonZeroU32);

/// The maximum number of grants in a round: 1 to [`Quota::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quota(NonZeroU32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a whole number from 1 to {max}")]
pub struct OutOfRange {
    what: &'static str,
    max: u32,
}

impl Quota {
    /// Above any real promotion, and low enough that one bit per serial stays small (12.5 MB).
    pub const MAX: u32 = 100_000_000;

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl Serial {
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Checked conversions from numbers and text.
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
                // 0 is out of range as well, so it can replace every number that does not fit.
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Round {
    pub id: RoundId,
    /// Start of the window, inclusive; `None`: open from the beginning.
    pub opens_at: Option<Millis>,
    /// End of the window, exclusive; `None`: never closes.
    pub closes_at: Option<Millis>,
    pub quota: Quota,
}

impl Round {
    pub fn is_over(&self, now: Millis) -> bool {
        self.closes_at.is_some_and(|closes_at| closes_at <= now)
    }
}
