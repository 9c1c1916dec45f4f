//! A point in time by the clock of Redis, in milliseconds since 1970.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, by the clock of Redis.
///
/// Formatted as RFC 3339 in UTC with milliseconds: `2026-12-01T01:00:00.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Millis(i64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} ms is outside the years 1970 to 9999")]
pub struct NotAnInstant(i64);

impl Millis {
    /// 9999-12-30T22:00:00Z, the last second that jiff can format in every time zone.
    pub const MAX: Self = Self(253_402_207_200_000);

    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Millis {
    type Error = NotAnInstant;

    fn try_from(millis: i64) -> Result<Self, NotAnInstant> {
        if (0..=Self::MAX.0).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(NotAnInstant(millis))
        }
    }
}

impl From<Millis> for i64 {
    fn from(instant: Millis) -> i64 {
        instant.0
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            // Unreachable, because every value is checked when it is created.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_formatted_in_utc_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_796_086_800_123, "2026-12-01T01:00:00.123Z"),
            (Millis::MAX.get(), "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(
                Millis::try_from(millis).expect("in range").to_string(),
                text,
                "{millis}"
            );
        }
    }

    #[test]
    fn rejects_times_outside_the_calendar() {
        for millis in [-1, Millis::MAX.get() + 1, i64::MIN, i64::MAX] {
            assert_eq!(
                Millis::try_from(millis),
                Err(NotAnInstant(millis)),
                "{millis}"
            );
        }
    }
}
