//! Whether what people were told and what stands in the database agree.
//!
//! A pure function over both, so that it can be shown to find what it is for.

use crate::history::{History, Place};
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
        /// The round.
        round: String,
        /// Rows that are held.
        rows: u64,
        /// The quota.
        quota: u32,
    },
    /// C1: one serial, several rows.
    SerialDoubled(Place),
    /// C1: a serial that is in no quota.
    SerialOutOfRange(Place),
    /// Fewer were given than people came for, though there was room.
    SerialMissing(Place),
    /// C2: one person, several rows.
    PersonDoubled(String),
    /// C2: one person was told several serials.
    ToldTwo(String, Vec<Place>),
    /// C2: several people were told one serial.
    SharedSerial(Place, Vec<String>),
    /// C3: told, but there is no such row.
    NoRow(String, Place),
    /// C4: a row that nobody was told of.
    NobodyTold(String, Place),
    /// An answer that nothing explains.
    Unexplained(String),
    /// Somebody who came for a coupon got no answer at all.
    Unanswered(u64),
}

/// What to expect of a campaign.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Coupons that there are in each round.
    pub quota: u32,
    /// Whether a person may win one in each round, and not only one in all.
    pub one_per_round: bool,
    /// How many coupons must have been given in each round that there was.
    pub due: BTreeMap<String, u32>,
}

impl Expected {
    /// One round, to which so many people came.
    pub fn once(quota: u32, applicants: u32) -> Self {
        Self {
            quota,
            one_per_round: false,
            due: [("once".to_owned(), applicants.min(quota))].into(),
        }
    }

    /// Within what one person may win once.
    fn scope<'a>(&self, place: &'a Place) -> &'a str {
        if self.one_per_round { &place.round } else { "" }
    }
}

/// Every breach; none if all is well.
pub fn breaches(expected: &Expected, history: &History, rows: &[Row]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let quota = expected.quota;

    let mut rows_of: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        *rows_of.entry(&row.place.round).or_default() += 1;
    }
    for (round, rows) in rows_of {
        if rows > u64::from(quota) {
            let round = round.to_owned();
            breaches.push(Breach::OverQuota { round, rows, quota });
        }
    }
    let mut places = BTreeSet::new();
    let mut people = BTreeSet::new();
    for row in rows {
        if !places.insert(&row.place) {
            breaches.push(Breach::SerialDoubled(row.place.clone()));
        }
        if !(1..=quota).contains(&row.place.serial) {
            breaches.push(Breach::SerialOutOfRange(row.place.clone()));
        }
        if !people.insert((expected.scope(&row.place), &row.user_id)) {
            breaches.push(Breach::PersonDoubled(row.user_id.clone()));
        }
    }
    for (round, due) in &expected.due {
        let due = (1..=*due).map(|serial| Place::new(round, serial));
        breaches.extend(
            due.filter(|place| !places.contains(place))
                .map(Breach::SerialMissing),
        );
    }

    let standing: BTreeSet<(&str, &Place)> = rows
        .iter()
        .map(|row| (row.user_id.as_str(), &row.place))
        .collect();
    let mut told = BTreeSet::new();
    let mut holders: BTreeMap<&Place, Vec<String>> = BTreeMap::new();
    for (user_id, places) in &history.places {
        let scopes: BTreeSet<_> = places.iter().map(|place| expected.scope(place)).collect();
        if scopes.len() < places.len() {
            breaches.push(Breach::ToldTwo(user_id.clone(), places.clone()));
        }
        for place in places {
            told.insert((user_id.as_str(), place));
            holders.entry(place).or_default().push(user_id.clone());
        }
    }
    for (place, holders) in holders {
        if holders.len() > 1 {
            breaches.push(Breach::SharedSerial(place.clone(), holders));
        }
    }
    let owned = |&(user_id, place): &(&str, &Place)| (user_id.to_owned(), place.clone());
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
            Self::OverQuota { round, rows, quota } => {
                write!(
                    f,
                    "C1: {rows} coupons of round {round} stand for a quota of {quota}"
                )
            }
            Self::SerialDoubled(serial) => write!(f, "C1: serial {serial} stands twice"),
            Self::SerialOutOfRange(serial) => {
                write!(f, "C1: serial {serial} is not within the quota")
            }
            Self::SerialMissing(serial) => write!(f, "serial {serial} was due and has no row"),
            Self::PersonDoubled(user_id) => write!(f, "C2: {user_id} holds two coupons"),
            Self::ToldTwo(user_id, serials) => {
                write!(f, "C2: {user_id} was told {}", listed(serials))
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

fn listed(places: &[Place]) -> String {
    let places: Vec<String> = places.iter().map(Place::to_string).collect();
    places.join(" and ")
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

    fn at(serial: u32) -> Place {
        Place::new("once", serial)
    }

    fn found(history: &History, rows: &[Row]) -> Vec<Breach> {
        breaches(&Expected::once(2, 3), history, rows)
    }

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
                place: at(*serial),
                user_id: (*user_id).to_owned(),
                delay: Duration::ZERO,
            })
            .collect()
    }

    fn good() -> [(&'static str, Told); 4] {
        [
            ("a", Told::Granted(at(1))),
            ("b", Told::Granted(at(2))),
            ("c", Told::SoldOut),
            ("a", Told::AlreadyGranted(at(1))),
        ]
    }

    #[test]
    fn an_exact_rush_has_no_breach() {
        let rows = rows(&[("a", 1), ("b", 2)]);
        assert_eq!(found(&history(&good()), &rows), vec![]);
    }

    #[test]
    fn each_planted_breach_is_found() {
        use Breach::*;
        let a = || "a".to_owned();
        let b = || "b".to_owned();
        for (standing, expected) in [
            (
                vec![("a", 1)],
                vec![SerialMissing(at(2)), NoRow(b(), at(2))],
            ),
            (
                vec![("a", 1), ("b", 2), ("c", 3)],
                vec![
                    OverQuota {
                        round: "once".into(),
                        rows: 3,
                        quota: 2,
                    },
                    SerialOutOfRange(at(3)),
                    NobodyTold("c".into(), at(3)),
                ],
            ),
            (
                vec![("a", 1), ("b", 1)],
                vec![
                    SerialDoubled(at(1)),
                    SerialMissing(at(2)),
                    NoRow(b(), at(2)),
                    NobodyTold(b(), at(1)),
                ],
            ),
            (
                vec![("a", 1), ("a", 2)],
                vec![
                    PersonDoubled(a()),
                    NoRow(b(), at(2)),
                    NobodyTold(a(), at(2)),
                ],
            ),
        ] {
            assert_eq!(found(&history(&good()), &rows(&standing)), expected);
        }

        let standing = rows(&[("a", 1), ("b", 2)]);
        for (told, expected) in [
            (
                ("c", Told::Granted(at(2))),
                vec![
                    SharedSerial(at(2), vec![b(), "c".into()]),
                    NoRow("c".into(), at(2)),
                ],
            ),
            (
                ("a", Told::AlreadyGranted(at(3))),
                vec![ToldTwo(a(), vec![at(1), at(3)]), NoRow(a(), at(3))],
            ),
            (
                ("c", Told::Unexplained("500".into())),
                vec![Unexplained("500".into())],
            ),
            (("c", Told::Unavailable), vec![Unanswered(1)]),
        ] {
            let mut history = history(&good());
            history.note(told.0, told.1);
            assert_eq!(found(&history, &standing), expected);
        }
    }

    #[test]
    fn each_round_has_its_own_serials_and_perhaps_its_own_people() {
        let day = |day: &str, serial| Place::new(day, serial);
        let mut history = History::default();
        let mut rows = vec![];
        for (user_id, place) in [("a", day("1", 1)), ("b", day("1", 2)), ("a", day("2", 1))] {
            history.note(user_id, Told::Granted(place.clone()));
            rows.push(Row {
                place,
                user_id: user_id.to_owned(),
                delay: Duration::ZERO,
            });
        }
        let mut expected = Expected {
            quota: 2,
            one_per_round: true,
            due: [("1".to_owned(), 2), ("2".to_owned(), 1)].into(),
        };
        assert_eq!(breaches(&expected, &history, &rows), vec![]);
        expected.one_per_round = false;
        assert_eq!(
            breaches(&expected, &history, &rows),
            vec![
                Breach::PersonDoubled("a".into()),
                Breach::ToldTwo("a".into(), vec![day("1", 1), day("2", 1)]),
            ]
        );
        expected.due.insert("3".to_owned(), 1);
        assert!(breaches(&expected, &history, &rows).contains(&Breach::SerialMissing(day("3", 1))));
    }
}
