//! Whether what people were told and what stands in the database agree.
//!
//! A pure function over both, so that it can be shown to find what it is for.

use crate::history::History;
use crate::rows::Row;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that must not be, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Breach {
    /// C1: more coupons than there are.
    OverQuota {
        /// Rows that are held.
        rows: u64,
        /// The quota.
        quota: u32,
    },
    /// C1: one serial, several rows.
    SerialDoubled(u32),
    /// C1: a serial that is in no quota.
    SerialOutOfRange(u32),
    /// Fewer were given than people came for, though there was room.
    SerialMissing(u32),
    /// C2: one person, several rows.
    PersonDoubled(String),
    /// C2: one person was told several serials.
    ToldTwo(String, Vec<u32>),
    /// C2: several people were told one serial.
    SharedSerial(u32, Vec<String>),
    /// C3: told, but there is no such row.
    NoRow(String, u32),
    /// C4: a row that nobody was told of.
    NobodyTold(String, u32),
    /// An answer that nothing explains.
    Unexplained(String),
    /// Somebody who came for a coupon got no answer at all.
    Unanswered(u64),
}

/// What to expect of a rush.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Coupons that there are.
    pub quota: u32,
    /// People who came, each of whom may win one.
    pub applicants: u64,
}

/// Every breach; none if all is well.
pub fn breaches(expected: Expected, history: &History, rows: &[Row]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Expected { quota, applicants } = expected;

    if rows.len() as u64 > u64::from(quota) {
        let rows = rows.len() as u64;
        breaches.push(Breach::OverQuota { rows, quota });
    }
    let mut serials = BTreeSet::new();
    let mut people = BTreeSet::new();
    for row in rows {
        if !serials.insert(row.serial) {
            breaches.push(Breach::SerialDoubled(row.serial));
        }
        if !(1..=quota).contains(&row.serial) {
            breaches.push(Breach::SerialOutOfRange(row.serial));
        }
        if !people.insert(&row.user_id) {
            breaches.push(Breach::PersonDoubled(row.user_id.clone()));
        }
    }
    let due = u32::try_from(applicants).unwrap_or(u32::MAX).min(quota);
    breaches.extend(
        (1..=due)
            .filter(|serial| !serials.contains(serial))
            .map(Breach::SerialMissing),
    );

    let standing: BTreeSet<(&str, u32)> = rows
        .iter()
        .map(|row| (row.user_id.as_str(), row.serial))
        .collect();
    let mut told = BTreeSet::new();
    let mut holders: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (user_id, serials) in &history.serials {
        if serials.len() > 1 {
            breaches.push(Breach::ToldTwo(user_id.clone(), serials.clone()));
        }
        for serial in serials {
            told.insert((user_id.as_str(), *serial));
            holders.entry(*serial).or_default().push(user_id.clone());
        }
    }
    for (serial, holders) in holders {
        if holders.len() > 1 {
            breaches.push(Breach::SharedSerial(serial, holders));
        }
    }
    let owned = |&(user_id, serial): &(&str, u32)| (user_id.to_owned(), serial);
    breaches.extend(
        told.difference(&standing)
            .map(owned)
            .map(|(u, s)| Breach::NoRow(u, s)),
    );
    breaches.extend(
        standing
            .difference(&told)
            .map(owned)
            .map(|(u, s)| Breach::NobodyTold(u, s)),
    );

    breaches.extend(history.unexplained.iter().cloned().map(Breach::Unexplained));
    if history.unavailable > 0 {
        breaches.push(Breach::Unanswered(history.unavailable));
    }
    breaches
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverQuota { rows, quota } => {
                write!(f, "C1: {rows} coupons stand for a quota of {quota}")
            }
            Self::SerialDoubled(serial) => write!(f, "C1: serial {serial} stands twice"),
            Self::SerialOutOfRange(serial) => {
                write!(f, "C1: serial {serial} is not within the quota")
            }
            Self::SerialMissing(serial) => write!(f, "serial {serial} was due and has no row"),
            Self::PersonDoubled(user_id) => write!(f, "C2: {user_id} holds two coupons"),
            Self::ToldTwo(user_id, serials) => {
                write!(f, "C2: {user_id} was told serials {serials:?}")
            }
            Self::SharedSerial(serial, people) => {
                write!(f, "C2: serial {serial} was told to {people:?}")
            }
            Self::NoRow(user_id, serial) => write!(
                f,
                "C3: {user_id} was told serial {serial} and has no row of it"
            ),
            Self::NobodyTold(user_id, serial) => write!(
                f,
                "C4: {user_id} has a row of serial {serial} and was never told"
            ),
            Self::Unexplained(answer) => write!(f, "an answer that nothing explains: {answer}"),
            Self::Unanswered(requests) => write!(
                f,
                "{requests} requests got no answer, however often they were sent"
            ),
        }
    }
}

impl From<Breach> for String {
    fn from(breach: Breach) -> Self {
        breach.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Told;
    use std::time::Duration;

    const EXPECTED: Expected = Expected {
        quota: 2,
        applicants: 3,
    };

    fn history(told: &[(&str, Told)]) -> History {
        let mut history = History::default();
        for (user_id, told) in told {
            history.note(user_id, told.clone());
        }
        history
    }

    fn rows(rows: &[(&str, u32)]) -> Vec<Row> {
        rows.iter()
            .map(|(user_id, serial)| Row {
                serial: *serial,
                user_id: (*user_id).to_owned(),
                delay: Duration::ZERO,
            })
            .collect()
    }

    fn good() -> [(&'static str, Told); 4] {
        [
            ("a", Told::Granted(1)),
            ("b", Told::Granted(2)),
            ("c", Told::SoldOut),
            ("a", Told::AlreadyGranted(1)),
        ]
    }

    #[test]
    fn an_exact_rush_has_no_breach() {
        let rows = rows(&[("a", 1), ("b", 2)]);
        assert_eq!(breaches(EXPECTED, &history(&good()), &rows), vec![]);
    }

    #[test]
    fn each_planted_breach_is_found() {
        use Breach::*;
        let a = || "a".to_owned();
        let b = || "b".to_owned();
        for (standing, expected) in [
            (vec![("a", 1)], vec![SerialMissing(2), NoRow(b(), 2)]),
            (
                vec![("a", 1), ("b", 2), ("c", 3)],
                vec![
                    OverQuota { rows: 3, quota: 2 },
                    SerialOutOfRange(3),
                    NobodyTold("c".into(), 3),
                ],
            ),
            (
                vec![("a", 1), ("b", 1)],
                vec![
                    SerialDoubled(1),
                    SerialMissing(2),
                    NoRow(b(), 2),
                    NobodyTold(b(), 1),
                ],
            ),
            (
                vec![("a", 1), ("a", 2)],
                vec![PersonDoubled(a()), NoRow(b(), 2), NobodyTold(a(), 2)],
            ),
        ] {
            assert_eq!(
                breaches(EXPECTED, &history(&good()), &rows(&standing)),
                expected
            );
        }

        let standing = rows(&[("a", 1), ("b", 2)]);
        for (told, expected) in [
            (
                ("c", Told::Granted(2)),
                vec![SharedSerial(2, vec![b(), "c".into()]), NoRow("c".into(), 2)],
            ),
            (
                ("a", Told::AlreadyGranted(3)),
                vec![ToldTwo(a(), vec![1, 3]), NoRow(a(), 3)],
            ),
            (
                ("c", Told::Unexplained("500".into())),
                vec![Unexplained("500".into())],
            ),
            (("c", Told::Unavailable), vec![Unanswered(1)]),
        ] {
            let mut history = history(&good());
            history.note(told.0, told.1);
            assert_eq!(breaches(EXPECTED, &history, &standing), expected);
        }
    }
}
