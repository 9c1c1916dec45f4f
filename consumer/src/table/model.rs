//! A model of the table, for the property tests of [`judge`] and [`plan`](crate::table::plan).

use crate::rejection::Reason;
use crate::table::judge::{ExistingRow, JudgeVerdict, judge};
use proptest::prelude::*;
use rushgate_gate::{Event, EventType, Millis, OnePer, Ordinal, RoundId, Serial};
use std::collections::{BTreeMap, BTreeSet};

/// A model of the table, changed as `insert` and `revoke` change it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    rows: Vec<ExistingRow>,
    refused: usize,
    one_per_round: bool,
}

impl Table {
    pub(crate) fn new(one_per: OnePer) -> Self {
        Self {
            one_per_round: one_per == OnePer::Round,
            ..Self::default()
        }
    }

    /// Applies an event and returns its outcome.
    pub(crate) fn take(&mut self, event: &Event) -> &'static str {
        let of_serial: Vec<ExistingRow> = self
            .rows
            .iter()
            .filter(|row| row.serial == event.serial.get() && row.round == event.round.as_str())
            .cloned()
            .collect();
        let own = of_serial
            .iter()
            .find(|row| row.user_id == event.applicant.as_str());
        if event.event_type == EventType::Revoked {
            match own {
                Some(own) => self.revoke(own.id),
                None => self.insert(event, false, None),
            }
            let was_active = own.is_none_or(|own| own.active);
            return if was_active { "revoked" } else { "done" };
        }
        let of_person = self.rows.iter().find(|row| {
            row.active
                && row.user_id == event.applicant.as_str()
                && (!self.one_per_round || row.round == event.round.as_str())
        });
        match judge(event, &of_serial, of_person) {
            JudgeVerdict::AlreadyInserted | JudgeVerdict::AlreadyRevoked => "done",
            JudgeVerdict::Fill(id) => {
                if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
                    row.granted_at = Some(event.at);
                }
                "inserted"
            }
            JudgeVerdict::Insert {
                supersedes,
                revoked_at,
            } => {
                supersedes.into_iter().for_each(|id| self.revoke(id));
                self.insert(event, revoked_at.is_none(), Some(event.at));
                "inserted"
            }
            JudgeVerdict::Rejected(_) => {
                self.refused += 1;
                "refused"
            }
        }
    }

    fn revoke(&mut self, id: u64) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            row.active = false;
        }
    }

    fn insert(&mut self, event: &Event, active: bool, granted_at: Option<Millis>) {
        let row = ExistingRow {
            id: self.rows.len() as u64,
            round: event.round.to_string(),
            serial: event.serial.get(),
            user_id: event.applicant.to_string(),
            active,
            turn: event.turn,
            win: event.win,
            granted_at,
        };
        self.rows.push(row);
        // The guarantees of the unique keys.
        let active = || self.rows.iter().filter(|row| row.active);
        let serials: BTreeSet<_> = active().map(|row| (&row.round, row.serial)).collect();
        let scope = |row: &ExistingRow| self.one_per_round.then(|| row.round.clone());
        let people: BTreeSet<_> = active().map(|row| (scope(row), &row.user_id)).collect();
        assert_eq!(
            (serials.len(), people.len()),
            (active().count(), active().count())
        );
    }

    /// Every row without its id, which depends on the order of insertion.
    pub(crate) fn contents(&self) -> Vec<(String, u32, String, bool)> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                (
                    row.round.clone(),
                    row.serial,
                    row.user_id.clone(),
                    row.active,
                )
            })
            .collect();
        rows.sort();
        rows
    }

    /// Round and serial → the user id that holds it.
    fn holders(&self) -> BTreeMap<(String, u32), String> {
        self.rows
            .iter()
            .filter(|row| row.active)
            .map(|row| ((row.round.clone(), row.serial), row.user_id.clone()))
            .collect()
    }
}

/// A history that a gate with small rounds may produce: persons win the freed serials first, are revoked,
/// and (with one win per campaign) win again in the next round.
pub(crate) fn history(one_per: OnePer, moves: &[(u8, u8)]) -> Vec<Event> {
    let mut events: Vec<Event> = vec![];
    let mut held: Vec<Event> = vec![];
    let mut round = 0;
    for (at, (what, person)) in moves.iter().enumerate() {
        let applicant = person.to_string().parse().expect("an applicant");
        let holds = held.iter().position(|grant| {
            grant.applicant == applicant
                && (one_per == OnePer::Campaign || grant.round.as_str() == format!("r{round}"))
        });
        let now = Millis::try_from(at as i64).expect("an instant");
        match (what % 8, holds) {
            (0, _) => round += 1,
            (1..=3, Some(place)) => {
                let grant = held.remove(place);
                events.push(Event {
                    event_type: EventType::Revoked,
                    at: now,
                    ..grant
                });
            }
            (4.., None) => {
                let id: RoundId = format!("r{round}").parse().expect("a round id");
                let won = |with: &dyn Fn(&Event) -> bool| {
                    let before = events
                        .iter()
                        .filter(|event| event.event_type == EventType::Granted && with(event));
                    Ordinal::try_from(before.count() as u32 + 1).expect("not 0")
                };
                if events
                    .iter()
                    .any(|event| event.round == id && event.applicant == applicant)
                {
                    continue; // a person wins a round only once
                }
                let free = (1..).find(|serial| {
                    held.iter()
                        .all(|grant| grant.round != id || grant.serial.get() != *serial)
                });
                let serial = Serial::try_from(free.expect("one")).expect("a serial");
                let grant = Event {
                    event_type: EventType::Granted,
                    campaign: "c".parse().expect("an id"),
                    turn: won(&|event| event.round == id && event.serial == serial),
                    win: won(&|event| event.applicant == applicant && one_per == OnePer::Campaign),
                    round: id,
                    serial,
                    applicant,
                    code_number: None,
                    at: now,
                };
                events.push(grant.clone());
                held.push(grant);
            }
            _ => {}
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of arrival, and with any repetition, the table ends in the gate's state: each serial
    /// has the holder that the gate knows, all other rows are revoked, and nothing is refused.
    #[test]
    fn the_table_ends_right_in_whatever_order_events_arrive(
        one_per in prop_oneof![Just(OnePer::Campaign), Just(OnePer::Round)],
        (arrivals, told) in prop::collection::vec((0u8..8, 0u8..5), 0..40).prop_flat_map(|moves| {
            let events = history(OnePer::Campaign, &moves);
            let twice: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
            (Just(twice).prop_shuffle(), Just(moves))
        }),
    ) {
        let events = history(one_per, &told);
        let mut table = Table::new(one_per);
        for arrival in &arrivals {
            if let Some(event) = events.get(*arrival) {
                table.take(event);
            }
        }
        // The events that the other rule would not have produced.
        for event in &events {
            table.take(event);
        }
        let mut expected = BTreeMap::new();
        for event in &events {
            let place = (event.round.to_string(), event.serial.get());
            match event.event_type {
                EventType::Granted => { expected.insert(place, event.applicant.to_string()); }
                EventType::Revoked => { expected.remove(&place); }
            }
        }
        prop_assert_eq!(table.refused, 0);
        prop_assert_eq!(table.holders(), expected);
        let grants = events.iter().filter(|event| event.event_type == EventType::Granted).count();
        prop_assert_eq!(table.rows.len(), grants);
        prop_assert!(table.rows.iter().all(|row| row.granted_at.is_some()));
    }
}

#[test]
fn two_grants_with_one_number_are_a_conflict() {
    let events = history(OnePer::Campaign, &[(4, 1)]);
    let mut table = Table::new(OnePer::Campaign);
    table.take(&events[0]);
    let rival = Event {
        applicant: "2".parse().expect("an applicant"),
        ..events[0].clone()
    };
    let rows = table.rows.clone();
    assert!(
        matches!(judge(&rival, &rows, None), JudgeVerdict::Rejected(rejection) if rejection.reason == Reason::SerialTaken)
    );
    let elsewhere = Event {
        serial: Serial::try_from(2u32).expect("a serial"),
        ..events[0].clone()
    };
    assert!(
        matches!(judge(&elsewhere, &[], rows.first()), JudgeVerdict::Rejected(rejection) if rejection.reason == Reason::AlreadyHolds)
    );
}
