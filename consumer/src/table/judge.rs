//! Decides what to do with a grant if the table may already contain rows of later events. All functions are pure.
//!
//! Records that are sent again can arrive out of order, and the records of one applicant are in several partitions. So
//! the gate numbers the grants of each serial (`turn`) and the grants of each applicant (`win`). Of two grants, the
//! one with the higher number is later: its applicant holds the coupon, and the other grant is only history. Two
//! grants with the same number cannot both be valid: Redis has lost writes and used the number again. Then the grant
//! that arrives second becomes a dead letter.

use crate::rejection::{Reason, Rejection, Rival};
use rushgate_gate::{Event, Millis, Ordinal, Serial};

/// A row of `coupons` that has a grant's serial or person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingRow {
    pub id: u64,
    pub round: String,
    pub serial: u32,
    pub user_id: String,
    pub active: bool,
    pub turn: Ordinal,
    pub win: Ordinal,
    /// When it was granted; `None` if only its revocation has arrived.
    pub granted_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgeVerdict {
    /// The grant has its row.
    AlreadyInserted,
    /// The grant has its row, which was revoked since.
    AlreadyRevoked,
    /// The grant has its row, inserted by its revocation. The time of the grant must be added.
    Fill(u64),
    /// Revoke the superseded rows, whose own revocations are still on their way. Then insert the grant: as a
    /// held coupon, or with `revoked_at` as a revoked one. Its own revocation corrects that time later.
    Insert {
        supersedes: Vec<u64>,
        revoked_at: Option<Millis>,
    },
    /// The grant cannot have a row, given the rows in the table.
    Rejected(Rejection),
}

/// Judges a grant by the rows of its serial, and by the row that its applicant holds within the same campaign
/// or round.
pub fn judge(
    grant: &Event,
    of_serial: &[ExistingRow],
    of_person: Option<&ExistingRow>,
) -> JudgeVerdict {
    let is_own = |row: &&ExistingRow| row.user_id == grant.applicant.as_str();
    if let Some(own) = of_serial.iter().find(is_own) {
        // Also if it was revoked since: a revoked grant does not become active again.
        return match own.granted_at {
            Some(_) if own.active => JudgeVerdict::AlreadyInserted,
            Some(_) => JudgeVerdict::AlreadyRevoked,
            None => JudgeVerdict::Fill(own.id),
        };
    }
    let rivals = of_serial
        .iter()
        .filter(|row| row.active)
        .map(|row| (row, row.turn.cmp(&grant.turn), Reason::SerialTaken))
        .chain(of_person.map(|row| (row, row.win.cmp(&grant.win), Reason::AlreadyHolds)));
    let mut supersedes = vec![];
    let mut revoked_at = None;
    for (row, order, reason) in rivals {
        match order {
            std::cmp::Ordering::Less => supersedes.push(row.id),
            std::cmp::Ordering::Greater => revoked_at = Some(row.granted_at.unwrap_or(grant.at)),
            std::cmp::Ordering::Equal => {
                return JudgeVerdict::Rejected(rejection(grant, row, reason));
            }
        }
    }
    supersedes.sort_unstable();
    supersedes.dedup();
    JudgeVerdict::Insert {
        supersedes,
        revoked_at,
    }
}

fn rejection(grant: &Event, row: &ExistingRow, reason: Reason) -> Rejection {
    Rejection::new(
        reason,
        format_args!(
            "{} of user_id {}, but {}/{}/{} is held by user_id {}",
            grant.key(),
            grant.applicant,
            grant.campaign,
            row.round,
            row.serial,
            row.user_id
        ),
    )
    .with_rival(rival(row))
}

/// The values in the table were checked before they were written.
fn rival(row: &ExistingRow) -> Option<Rival> {
    Some(Rival {
        round: row.round.parse().ok()?,
        serial: Serial::try_from(row.serial).ok()?,
        applicant: row.user_id.parse().ok()?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rushgate_gate::{EventType, OnePer};
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
                    let id: rushgate_gate::RoundId =
                        format!("r{round}").parse().expect("a round id");
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
                        win: won(&|event| {
                            event.applicant == applicant && one_per == OnePer::Campaign
                        }),
                        round: id,
                        serial,
                        applicant,
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
}
