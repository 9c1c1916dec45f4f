//! Fencing: a command that was interrupted for too long must not undo what came after it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Grows with each command that reserves a campaign. The gate keeps the highest one that it was told, and refuses
/// [projections](crate::project) and [restores](crate::restore) under a lower one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The number itself; 0 is below every token that was given.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for FencingToken {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
