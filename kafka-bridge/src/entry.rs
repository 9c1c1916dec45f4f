//! Identifies a stream entry by its stream and its entry id.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The id that Redis gave to an entry. The ids of one stream only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970, by Redis' clock.
    pub ms: u64,
    /// Tells entries of the same millisecond apart.
    pub seq: u64,
}

/// A campaign's stream, as the number that [`ReadPlan`](crate::read_plan::ReadPlan) gave to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNo(pub(crate) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryRef {
    pub stream: StreamNo,
    pub id: EntryId,
}

/// Field names and values of an entry, as they are in Redis.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl EntryId {
    /// Smaller than the id of every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = ParseIntError;

    fn from_str(id: &str) -> Result<Self, ParseIntError> {
        let (ms, seq) = id.split_once('-').unwrap_or((id, "0"));
        Ok(Self {
            ms: ms.parse()?,
            seq: seq.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_read_back(ms: u64, seq: u64) {
            let id = EntryId { ms, seq };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn ids_are_ordered_as_numbers_not_as_text() {
        let id = |text: &str| text.parse::<EntryId>().expect(text);
        assert!(id("9-2") < id("9-10") && id("9-10") < id("10-0"));
        assert!("-".parse::<EntryId>().is_err());
    }
}
