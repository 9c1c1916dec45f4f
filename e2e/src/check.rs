//! Whether what people were told and what stands in the stores agree: invariants C1 to C6.
//!
//! A pure function over both, so that it can be shown to find what it is for.

use crate::evidence::Evidence;
use crate::history::{Call, History, Place, Told};
use rushgate_gate::{Event, EventType};
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
        /// Who says so.
        store: &'static str,
        /// Coupons that are held.
        held: u64,
        /// The quota.
        quota: u32,
    },
    /// C1: one serial, several holders.
    SerialDoubled(&'static str, Place),
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
    /// C3: told, but there is neither such a row nor a dead letter. Where it was seen last.
    NoRow(String, Place, String),
    /// C4: a row that nobody was told of.
    NobodyTold(String, Place),
    /// C4: a row that the gate does not hold, or does not know to be committed.
    GateDisagrees(String, Place, &'static str),
    /// C5: something is still on its way, or waits for somebody to deal with it.
    LeftBehind(&'static str, u64),
    /// C6: somebody was told "sold out" before somebody else, who came later, was granted a place.
    SoldOutTooEarly {
        /// Who was turned away.
        loser: String,
        /// Who came after that.
        winner: String,
        /// What he got.
        place: Place,
        /// By how much he came later, in microseconds.
        micros: u128,
    },
    /// An answer that nothing explains.
    Unexplained(String),
    /// Somebody who came for a coupon got no answer at all.
    Unanswered(u64),
}

/// What to expect of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Coupons that there are in each round.
    pub quota: u32,
    /// Whether a person may win one in each round, and not only one in all.
    pub one_per_round: bool,
    /// How many coupons must have been given in each round that there was.
    pub due: BTreeMap<String, u32>,
    /// How many dead letters were brought about on purpose, of the consumer and of the bridge.
    pub dead_letters: (u64, u64),
    /// Whether Redis has lost what it had acknowledged, and the campaign was restored. Then people may have been told
    /// places that went to others; they must have another one, or stand among the dead letters.
    pub restored: bool,
}

impl Expected {
    /// One round, to which so many people came.
    pub fn once(quota: u32, applicants: u32) -> Self {
        Self {
            quota,
            due: [("once".to_owned(), applicants.min(quota))].into(),
            ..Self::default()
        }
    }

    /// Within what one person may win once.
    fn scope<'a>(&self, place: &'a Place) -> &'a str {
        if self.one_per_round { &place.round } else { "" }
    }
}

/// Every breach; none if all is well.
pub fn breaches(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = in_the_table(expected, evidence);
    breaches.extend(at_the_gate(expected, evidence));
    breaches.extend(between_people(expected, history));
    breaches.extend(told_and_standing(expected, history, evidence));
    breaches.extend(left_behind(expected, evidence));
    breaches.extend(too_early(expected, history));
    breaches.extend(history.unexplained.iter().cloned().map(Breach::Unexplained));
    if history.unavailable > 0 {
        breaches.push(Breach::Unanswered(history.unavailable));
    }
    breaches
}

/// Grants that people were told of, and that Redis lost before Kafka had them: nobody else can know of them.
pub fn lost_with_redis<'a>(
    history: &'a History,
    evidence: &Evidence,
) -> Vec<(&'a String, &'a Place)> {
    let trail = Trail::of(evidence);
    let told = told(history);
    told.filter(|(user_id, place)| trail.of_grant(user_id, place).is_empty())
        .collect()
}

/// C1 and C2, by the table.
fn in_the_table(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let places = evidence.rows.iter().map(|row| row.place.clone());
    breaches.extend(over_quota(expected, "the table", places.clone()));
    let mut people = BTreeSet::new();
    for row in &evidence.rows {
        if !(1..=expected.quota).contains(&row.place.serial) {
            breaches.push(Breach::SerialOutOfRange(row.place.clone()));
        }
        if !people.insert((expected.scope(&row.place), &row.user_id)) {
            breaches.push(Breach::PersonDoubled(row.user_id.clone()));
        }
    }
    let places: BTreeSet<Place> = places.collect();
    for (round, due) in &expected.due {
        let due = (1..=*due).map(|serial| Place::new(round, serial));
        breaches.extend(
            due.filter(|place| !places.contains(place))
                .map(Breach::SerialMissing),
        );
    }
    breaches
}

/// C1 by the gate, and C4: gate and table hold the same.
fn at_the_gate(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let held = evidence.held.iter().map(|held| {
        let place = Place::new(held.place.round.as_str(), held.place.serial.get());
        ((held.place.applicant.to_string(), place), held.issued)
    });
    let held: BTreeMap<(String, Place), bool> = held.collect();
    let places = held.keys().map(|(_, place)| place.clone());
    let mut breaches = over_quota(expected, "the gate", places);
    for row in &evidence.rows {
        let grant = (row.user_id.clone(), row.place.clone());
        let problem = match held.get(&grant) {
            Some(true) => continue,
            Some(false) => "does not know that it is committed",
            None => "does not hold it",
        };
        breaches.push(Breach::GateDisagrees(grant.0, grant.1, problem));
    }
    breaches
}

fn over_quota(
    expected: &Expected,
    store: &'static str,
    places: impl Iterator<Item = Place>,
) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let (mut held, mut seen) = (BTreeMap::<String, u64>::new(), BTreeSet::new());
    for place in places {
        *held.entry(place.round.clone()).or_default() += 1;
        if let Some(place) = seen.replace(place) {
            breaches.push(Breach::SerialDoubled(store, place));
        }
    }
    let quota = expected.quota;
    for (round, held) in held {
        if held > u64::from(quota) {
            breaches.push(Breach::OverQuota {
                round,
                store,
                held,
                quota,
            });
        }
    }
    breaches
}

/// C2, by what people were told.
fn between_people(expected: &Expected, history: &History) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if expected.restored {
        return breaches;
    }
    let mut holders: BTreeMap<&Place, Vec<String>> = BTreeMap::new();
    for (user_id, places) in &history.places {
        let scopes: BTreeSet<_> = places.iter().map(|place| expected.scope(place)).collect();
        if scopes.len() < places.len() {
            breaches.push(Breach::ToldTwo(user_id.clone(), places.clone()));
        }
        for place in places {
            holders.entry(place).or_default().push(user_id.clone());
        }
    }
    for (place, holders) in holders {
        if holders.len() > 1 {
            breaches.push(Breach::SharedSerial(place.clone(), holders));
        }
    }
    breaches
}

/// C3 and C4: who was told has a row, and who has a row was told.
fn told_and_standing(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let rows = evidence.rows.iter();
    let standing: BTreeSet<(&String, &Place)> =
        rows.map(|row| (&row.user_id, &row.place)).collect();
    let seated: BTreeSet<&String> = standing.iter().map(|(user_id, _)| *user_id).collect();
    let trail = Trail::of(evidence);
    for (user_id, place) in told(history) {
        let excused = || {
            let trail = trail.of_grant(user_id, place);
            let is_buried = trail.iter().any(|seen| seen.starts_with(DEAD_LETTER));
            is_buried || expected.restored && (seated.contains(user_id) || trail.is_empty())
        };
        if !standing.contains(&(user_id, place)) && !excused() {
            let trail = trail.of_grant(user_id, place);
            let trail = match trail.is_empty() {
                true => "it is nowhere".to_owned(),
                false => format!("it is {}", trail.join(" and ")),
            };
            breaches.push(Breach::NoRow(user_id.clone(), place.clone(), trail));
        }
    }
    let told: BTreeSet<(&String, &Place)> = told(history).collect();
    for (user_id, place) in standing {
        let knows_another = expected.restored && history.places.contains_key(user_id);
        if !told.contains(&(user_id, place)) && !knows_another {
            breaches.push(Breach::NobodyTold(user_id.clone(), place.clone()));
        }
    }
    breaches
}

/// C5: nothing is on its way, and nothing waits that was not planted.
fn left_behind(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let (letters, unpublished) = expected.dead_letters;
    let mut found = vec![
        ("entries in the stream", evidence.entries),
        (
            "entries that a bridge has read and not acked",
            evidence.pending,
        ),
        (
            "records that the consumers have not committed",
            evidence.lag,
        ),
        (
            "dead letters of the bridge",
            evidence.unpublished.abs_diff(unpublished),
        ),
    ];
    if !expected.restored {
        let open = evidence.letters.len() as u64;
        found.push(("dead letters of the consumer", open.abs_diff(letters)));
    }
    let found = found.into_iter().filter(|(_, count)| *count > 0);
    found
        .map(|(what, count)| Breach::LeftBehind(what, count))
        .collect()
}

/// C6. A restored campaign may have places again that were gone, and so may one with several rounds.
fn too_early(expected: &Expected, history: &History) -> Option<Breach> {
    if expected.restored || expected.due.len() > 1 {
        return None;
    }
    let ends = |call: &&Call| call.told == Told::SoldOut;
    let loser = history
        .calls
        .iter()
        .filter(ends)
        .min_by_key(|call| call.ended)?;
    let winners = told(history)
        .filter_map(|(user_id, place)| Some((*history.came.get(user_id)?, user_id, place)));
    let (began, winner, place) = winners
        .filter(|(began, ..)| *began > loser.ended)
        .max_by_key(|(began, ..)| *began)?;
    Some(Breach::SoldOutTooEarly {
        loser: loser.user_id.clone(),
        winner: winner.clone(),
        place: place.clone(),
        micros: (began - loser.ended).as_micros(),
    })
}

fn told(history: &History) -> impl Iterator<Item = (&String, &Place)> {
    let people = history.places.iter();
    people.flat_map(|(user_id, places)| places.iter().map(move |place| (user_id, place)))
}

/// How a trail begins that ends among the dead letters.
const DEAD_LETTER: &str = "a dead letter";

/// Where grants were seen.
struct Trail(BTreeMap<(String, Place), BTreeSet<String>>);

impl Trail {
    fn of(evidence: &Evidence) -> Self {
        let mut trail = Self(BTreeMap::new());
        for held in &evidence.held {
            let place = Place::new(held.place.round.as_str(), held.place.serial.get());
            trail.add(held.place.applicant.to_string(), place, "held by the gate");
        }
        for event in &evidence.in_stream {
            trail.add_event(event, "in the stream");
        }
        for event in &evidence.published {
            trail.add_event(event, "in the topic");
        }
        for letter in &evidence.letters {
            if let Some(event) = &letter.event {
                trail.add_event(event, &format!("{DEAD_LETTER} ({})", letter.reason));
            }
        }
        trail
    }

    fn add_event(&mut self, event: &Event, seen: &str) {
        if event.event_type == EventType::Granted {
            let place = Place::new(event.round.as_str(), event.serial.get());
            self.add(event.applicant.to_string(), place, seen);
        }
    }

    fn add(&mut self, user_id: String, place: Place, seen: &str) {
        let trail = self.0.entry((user_id, place)).or_default();
        trail.insert(seen.to_owned());
    }

    fn of_grant(&self, user_id: &str, place: &Place) -> Vec<&str> {
        let trail = self.0.get(&(user_id.to_owned(), place.clone()));
        trail.into_iter().flatten().map(String::as_str).collect()
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverQuota {
                round,
                store,
                held,
                quota,
            } => {
                write!(
                    f,
                    "C1: {store} holds {held} coupons of round {round} for a quota of {quota}"
                )
            }
            Self::SerialDoubled(store, serial) => {
                write!(f, "C1: {store} holds serial {serial} twice")
            }
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
            Self::NoRow(user_id, serial, trail) => write!(
                f,
                "C3: {user_id} was told serial {serial} and has no row of it; {trail}"
            ),
            Self::NobodyTold(user_id, serial) => write!(
                f,
                "C4: {user_id} has a row of serial {serial} and was never told"
            ),
            Self::GateDisagrees(user_id, serial, problem) => write!(
                f,
                "C4: {user_id} has a row of serial {serial}, and the gate {problem}"
            ),
            Self::LeftBehind(what, count) => {
                write!(f, "C5: {count} {what} more or fewer than should be")
            }
            Self::SoldOutTooEarly {
                loser,
                winner,
                place,
                micros,
            } => write!(
                f,
                "C6: {loser} was told that all is sold out, and {winner}, who came {micros} µs after that, got {place}"
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
    use crate::rows::{Letter, Row};
    use rushgate_gate::holding::Held;
    use rushgate_gate::{Millis, Ordinal};
    use std::time::{Duration, Instant};

    fn at(serial: u32) -> Place {
        Place::new("once", serial)
    }

    /// Calls that begin and end one after the other.
    fn history(told: &[(&str, Told)]) -> History {
        let mut history = History::default();
        let mut now = Instant::now();
        for (user_id, told) in told {
            let began = now;
            now += Duration::from_millis(1);
            history.note(Call {
                user_id: (*user_id).to_owned(),
                began,
                ended: now,
                told: told.clone(),
            });
        }
        history
    }

    fn rows(rows: &[(&str, Place)]) -> Vec<Row> {
        rows.iter()
            .map(|(user_id, place)| Row {
                place: place.clone(),
                user_id: (*user_id).to_owned(),
                delay: Duration::ZERO,
            })
            .collect()
    }

    fn held(user_id: &str, place: &Place) -> Held {
        Held {
            place: rushgate_gate::Place {
                round: place.round.parse().expect("a round"),
                serial: place.serial.to_string().parse().expect("a serial"),
                applicant: user_id.parse().expect("an applicant"),
            },
            at: Millis::try_from(1_i64).expect("a time"),
            issued: true,
        }
    }

    fn event(user_id: &str, serial: u32) -> Event {
        let held = held(user_id, &at(serial)).place;
        Event {
            event_type: EventType::Granted,
            campaign: "launch".parse().expect("a campaign"),
            round: held.round,
            serial: held.serial,
            turn: Ordinal::FIRST,
            applicant: held.applicant,
            win: Ordinal::FIRST,
            at: Millis::try_from(1_i64).expect("a time"),
        }
    }

    /// These rows, all of which the gate knows.
    fn standing(these: &[(&str, Place)]) -> Evidence {
        Evidence {
            rows: rows(these),
            held: these
                .iter()
                .map(|(user_id, place)| held(user_id, place))
                .collect(),
            ..Evidence::default()
        }
    }

    fn good() -> Vec<(&'static str, Told)> {
        vec![
            ("a", Told::Granted(at(1))),
            ("b", Told::Granted(at(2))),
            ("c", Told::SoldOut),
            ("a", Told::AlreadyGranted(at(1))),
        ]
    }

    fn found(history: &History, evidence: &Evidence) -> Vec<Breach> {
        breaches(&Expected::once(2, 3), history, evidence)
    }

    #[test]
    fn an_exact_rush_has_no_breach() {
        let evidence = standing(&[("a", at(1)), ("b", at(2))]);
        assert_eq!(found(&history(&good()), &evidence), vec![]);
    }

    #[test]
    fn each_wrong_row_is_found() {
        use Breach::*;
        let a = || "a".to_owned();
        let no_row = || NoRow("b".into(), at(2), "it is nowhere".into());
        for (rows, expected) in [
            (vec![("a", at(1))], vec![SerialMissing(at(2)), no_row()]),
            (
                vec![("a", at(1)), ("b", at(2)), ("c", at(3))],
                vec![
                    OverQuota {
                        round: "once".into(),
                        store: "the table",
                        held: 3,
                        quota: 2,
                    },
                    SerialOutOfRange(at(3)),
                    OverQuota {
                        round: "once".into(),
                        store: "the gate",
                        held: 3,
                        quota: 2,
                    },
                    NobodyTold("c".into(), at(3)),
                ],
            ),
            (
                vec![("a", at(1)), ("b", at(1))],
                vec![
                    SerialDoubled("the table", at(1)),
                    SerialMissing(at(2)),
                    SerialDoubled("the gate", at(1)),
                    no_row(),
                    NobodyTold("b".into(), at(1)),
                ],
            ),
            (
                vec![("a", at(1)), ("a", at(2))],
                vec![PersonDoubled(a()), no_row(), NobodyTold(a(), at(2))],
            ),
        ] {
            assert_eq!(found(&history(&good()), &standing(&rows)), expected);
        }
    }

    #[test]
    fn each_wrong_answer_is_found() {
        use Breach::*;
        let evidence = standing(&[("a", at(1)), ("b", at(2))]);
        let nowhere = |user_id: &str, place| NoRow(user_id.into(), place, "it is nowhere".into());
        let early = SoldOutTooEarly {
            loser: "c".into(),
            winner: "d".into(),
            place: at(2),
            micros: 1_000,
        };
        for (told, expected) in [
            (
                ("b", Told::Granted(at(1))),
                vec![
                    ToldTwo("b".into(), vec![at(2), at(1)]),
                    SharedSerial(at(1), vec!["a".into(), "b".into()]),
                    nowhere("b", at(1)),
                ],
            ),
            (
                ("d", Told::Granted(at(2))),
                vec![
                    SharedSerial(at(2), vec!["b".into(), "d".into()]),
                    nowhere("d", at(2)),
                    early,
                ],
            ),
            (
                ("c", Told::Unexplained("500".into())),
                vec![Unexplained("500".into())],
            ),
            (("c", Told::Unavailable), vec![Unanswered(1)]),
        ] {
            let mut calls = good();
            calls.push(told);
            assert_eq!(found(&history(&calls), &evidence), expected);
        }
    }

    #[test]
    fn who_came_first_may_be_answered_last() {
        let now = Instant::now();
        let mut history = history(&good());
        let mut evidence = standing(&[("a", at(1)), ("b", at(2)), ("d", at(3))]);
        history.note(Call {
            user_id: "d".into(),
            began: now - Duration::from_secs(1),
            ended: now + Duration::from_secs(1),
            told: Told::Granted(at(3)),
        });
        assert_eq!(breaches(&Expected::once(3, 3), &history, &evidence), vec![]);
        evidence.rows.clear();
        assert!(!breaches(&Expected::once(3, 3), &history, &evidence).is_empty());
    }

    #[test]
    fn what_gate_and_table_do_not_share_is_found() {
        let mut evidence = standing(&[("a", at(1)), ("b", at(2))]);
        evidence.held[0].issued = false;
        evidence.held.remove(1);
        assert_eq!(
            found(&history(&good()), &evidence),
            [
                Breach::GateDisagrees("a".into(), at(1), "does not know that it is committed"),
                Breach::GateDisagrees("b".into(), at(2), "does not hold it"),
            ]
        );
    }

    #[test]
    fn what_is_left_behind_is_found() {
        let letter = Letter {
            key: "launch/once/9".into(),
            event: None,
            reason: "undecodable".into(),
        };
        let evidence = Evidence {
            entries: 1,
            pending: 2,
            lag: 3,
            unpublished: 4,
            letters: vec![letter],
            ..standing(&[("a", at(1)), ("b", at(2))])
        };
        let left = |what, count| Breach::LeftBehind(what, count);
        assert_eq!(
            found(&history(&good()), &evidence),
            [
                left("entries in the stream", 1),
                left("entries that a bridge has read and not acked", 2),
                left("records that the consumers have not committed", 3),
                left("dead letters of the bridge", 4),
                left("dead letters of the consumer", 1),
            ]
        );
    }

    #[test]
    fn a_grant_without_a_row_is_followed_to_where_it_was_seen_last() {
        let calls = history(&good());
        let mut evidence = standing(&[("a", at(1))]);
        evidence.held.push(held("b", &at(2)));
        evidence.published.push(event("b", 2));
        let expected = Expected {
            due: BTreeMap::new(),
            ..Expected::once(2, 3)
        };
        let trail = "it is held by the gate and in the topic".to_owned();
        let no_row = Breach::NoRow("b".into(), at(2), trail);
        assert_eq!(breaches(&expected, &calls, &evidence), [no_row]);

        // With a dead letter, somebody can see it.
        evidence.letters.push(Letter {
            key: "launch/once/2".into(),
            event: Some(event("b", 2)),
            reason: "serial_taken".into(),
        });
        let expected = Expected {
            dead_letters: (1, 0),
            ..expected
        };
        assert_eq!(breaches(&expected, &calls, &evidence), []);
    }

    #[test]
    fn after_a_loss_everybody_is_seated_or_stands_among_the_dead_letters() {
        let mut calls = good();
        calls.push(("d", Told::Granted(at(2))));
        let calls = history(&calls);
        let mut evidence = standing(&[("a", at(1)), ("b", at(2))]);
        evidence.published = vec![event("a", 1), event("b", 2), event("d", 2)];
        let expected = Expected {
            restored: true,
            ..Expected::once(3, 3)
        };
        let expected = Expected {
            due: BTreeMap::new(),
            ..expected
        };
        let lost = "it is in the topic".to_owned();
        assert_eq!(
            breaches(&expected, &calls, &evidence),
            [Breach::NoRow("d".into(), at(2), lost)]
        );
        assert_eq!(lost_with_redis(&calls, &evidence), []);
        // Nobody but himself has ever seen it: it was lost with Redis.
        let published = evidence.published.pop();
        assert_eq!(breaches(&expected, &calls, &evidence), []);
        assert_eq!(
            lost_with_redis(&calls, &evidence),
            [(&"d".to_owned(), &at(2))]
        );
        // Seated again.
        evidence.published.extend(published);
        evidence.rows.extend(rows(&[("d", at(3))]));
        evidence.held.push(held("d", &at(3)));
        assert_eq!(breaches(&expected, &calls, &evidence), []);
    }

    #[test]
    fn each_round_has_its_own_serials_and_perhaps_its_own_people() {
        let day = |day: &str, serial| Place::new(day, serial);
        let places = [("a", day("1", 1)), ("b", day("1", 2)), ("a", day("2", 1))];
        let calls = places
            .clone()
            .map(|(user_id, place)| (user_id, Told::Granted(place)));
        let (calls, evidence) = (history(&calls), standing(&places));
        let mut expected = Expected {
            quota: 2,
            one_per_round: true,
            due: [("1".to_owned(), 2), ("2".to_owned(), 1)].into(),
            ..Expected::default()
        };
        assert_eq!(breaches(&expected, &calls, &evidence), vec![]);
        expected.one_per_round = false;
        assert_eq!(
            breaches(&expected, &calls, &evidence),
            vec![
                Breach::PersonDoubled("a".into()),
                Breach::ToldTwo("a".into(), vec![day("1", 1), day("2", 1)]),
            ]
        );
        expected.due.insert("3".to_owned(), 1);
        let missing = Breach::SerialMissing(day("3", 1));
        assert!(breaches(&expected, &calls, &evidence).contains(&missing));
    }
}
