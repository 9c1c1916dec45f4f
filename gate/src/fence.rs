//! The fencing token. It stops a command that was interrupted for a long time from overwriting the work of a later
//! command.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A number that grows with each command that reserves a campaign. The gate stores the highest one, and refuses
/// [projections](crate::project) and [restores](crate::restore) with a lower one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FencingToken(u64);

impl FencingToken {
    /// 0 is lower than every token of a command.
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
