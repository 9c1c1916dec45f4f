//! Decides which applicant holds which serial after Redis has lost grants. This is a pure function of what the other
//! stores still know.
//!
//! A row in the database is the strongest entitlement, then an open dead letter, then a grant that only the topic or
//! the gate knows. If two entitlements are for the same serial or the same applicant, the stronger one keeps its
//! serial. An applicant who loses a serial in this way gets another one.

use rushgate_gate::restore::{Granted, Standing};
use rushgate_gate::{Applicant, Assignment, OnePer, Ordinal, RoundId, Serial};
use std::collections::{BTreeMap, BTreeSet};

/// A grant with an open dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub failed_event: u64,
    /// Whether it failed because another grant stood in the way, and not for a reason of its own.
    pub lost_to_rival: bool,
    pub granted: Granted,
}

/// What the stores still know.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub rows: Vec<Granted>,
    /// Grants with open dead letters, oldest first.
    pub entitlements: Vec<Entitlement>,
    /// Grants that only the topic or the gate knows.
    pub others: Vec<Granted>,
    /// Grants whose row is revoked although no operator revoked them: a Redis that had been rolled back gave out a
    /// serial again that had been passed on.
    pub overtaken: Vec<Granted>,
    /// The quota of each round.
    pub quotas: BTreeMap<RoundId, u32>,
    /// The highest number of a pool code that any grant has taken, also one that was revoked; 0 if none has.
    pub codes_taken: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the gate is to know.
    pub granted: Vec<Granted>,
    /// Of these, grants without a row: they go on the stream again.
    pub resend: Vec<Assignment>,
    /// Applicants that get another serial, in this order, each with its dead letter (`None`: only topic or gate knew
    /// the grant).
    pub reassign: Vec<(Option<u64>, RoundId, Applicant)>,
    /// Dead letters of applicants who have a coupon anyway, or whose grant of that round was revoked; each with that
    /// grant.
    pub resolved: Vec<(u64, Assignment)>,
    /// As in [`Known`].
    pub codes_taken: u32,
}

pub fn plan(one_per: OnePer, known: Known) -> Plan {
    let mut books = Books {
        one_per,
        quotas: known.quotas,
        serials: BTreeSet::new(),
        people: BTreeMap::new(),
        revoked: BTreeMap::new(),
        codes: BTreeSet::new(),
    };
    let mut plan = Plan {
        codes_taken: known.codes_taken,
        ..Plan::default()
    };
    for row in known.rows {
        books.enter(&row);
        plan.granted.push(row);
    }
    let entitlements = known.entitlements.into_iter().map(|entitlement| {
        (
            Some(entitlement.failed_event),
            !entitlement.lost_to_rival,
            entitlement.granted,
        )
    });
    let others = known
        .others
        .into_iter()
        .map(|granted| (None, true, granted));
    let overtaken = known
        .overtaken
        .into_iter()
        .map(|granted| (None, false, granted));
    let mut losers = vec![];
    // First the grants that may keep their serial, so that no applicant is reassigned one of these serials.
    for (failed_event, may_keep, granted) in entitlements.chain(others).chain(overtaken) {
        if may_keep && books.is_free_for(&granted) {
            let granted = Granted {
                standing: Standing::Held,
                ..granted
            };
            if failed_event.is_none() {
                plan.resend.push(granted.assignment());
            }
            books.enter(&granted);
            plan.granted.push(granted);
        } else {
            losers.push((failed_event, granted));
        }
    }
    for (failed_event, granted) in losers {
        match (books.has(&granted), failed_event) {
            (Some(place), Some(failed_event)) => plan.resolved.push((failed_event, place.clone())),
            (None, failed_event) if books.quotas.contains_key(&granted.round) => {
                plan.reassign
                    .push((failed_event, granted.round, granted.applicant));
            }
            _ => {}
        }
    }
    plan
}

/// The grants decided so far.
struct Books {
    one_per: OnePer,
    quotas: BTreeMap<RoundId, u32>,
    serials: BTreeSet<(RoundId, Serial)>,
    /// By the scope in which one applicant may win once.
    people: BTreeMap<(Option<RoundId>, Applicant), Assignment>,
    /// Revoked grants. Their applicants cannot win that round again.
    revoked: BTreeMap<(RoundId, Applicant), Assignment>,
    /// Numbers of pool codes. A Redis that had been rolled back has bound some of them a second time.
    codes: BTreeSet<Ordinal>,
}

impl Books {
    fn enter(&mut self, granted: &Granted) {
        let (round, applicant) = (granted.round.clone(), granted.applicant.clone());
        self.codes.extend(granted.code_number);
        if let Standing::Revoked(_) = granted.standing {
            self.revoked
                .insert((round, applicant), granted.assignment());
        } else {
            self.people
                .insert(self.person(granted), granted.assignment());
            self.serials.insert((round, granted.serial));
        }
    }

    /// Whether this applicant may have exactly this serial, with its code.
    fn is_free_for(&self, granted: &Granted) -> bool {
        let quota = self.quotas.get(&granted.round);
        let has_other_code = granted
            .code_number
            .is_some_and(|number| self.codes.contains(&number));
        self.has(granted).is_none()
            && !has_other_code
            && !self
                .serials
                .contains(&(granted.round.clone(), granted.serial))
            && quota.is_some_and(|quota| granted.serial.get() <= *quota)
    }

    /// The grant that this applicant holds, or the revoked grant of this round.
    fn has(&self, granted: &Granted) -> Option<&Assignment> {
        let past = (granted.round.clone(), granted.applicant.clone());
        let held = self.people.get(&self.person(granted));
        held.or_else(|| self.revoked.get(&past))
    }

    fn person(&self, granted: &Granted) -> (Option<RoundId>, Applicant) {
        let scope = (self.one_per == OnePer::Round).then(|| granted.round.clone());
        (scope, granted.applicant.clone())
    }
}

pub(super) fn is_held(granted: &Granted) -> bool {
    !matches!(granted.standing, Standing::Revoked(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::Millis;

    fn granted(serial: u32, user_id: &str, standing: Standing) -> Granted {
        Granted {
            applicant: user_id.parse().expect("a user id"),
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            turn: Ordinal::FIRST,
            win: Ordinal::FIRST,
            at: Millis::try_from(0).expect("an instant"),
            standing,
            code_number: None,
        }
    }

    fn row(serial: u32, user_id: &str) -> Granted {
        granted(serial, user_id, Standing::Issued)
    }

    fn entitlement(
        failed_event: u64,
        serial: u32,
        user_id: &str,
        lost_to_rival: bool,
    ) -> Entitlement {
        Entitlement {
            failed_event,
            lost_to_rival,
            granted: granted(serial, user_id, Standing::Held),
        }
    }

    fn planned(rows: Vec<Granted>, entitlements: Vec<Entitlement>, others: Vec<Granted>) -> Plan {
        let known = Known {
            rows,
            entitlements,
            others,
            quotas: [(RoundId::once(), 5)].into(),
            ..Known::default()
        };
        plan(OnePer::Campaign, known)
    }

    #[test]
    fn a_grant_overtaken_by_a_rollback_is_reassigned() {
        let known = Known {
            rows: vec![granted(1, "p", Standing::Held)],
            overtaken: vec![
                granted(1, "z", Standing::Held),
                granted(2, "y", Standing::Held),
            ],
            quotas: [(RoundId::once(), 5)].into(),
            ..Known::default()
        };
        let plan = plan(OnePer::Campaign, known);
        assert_eq!(plan.granted.len(), 1);
        assert_eq!(reassigned(&plan), [(None, "z"), (None, "y")]);
    }

    fn reassigned(plan: &Plan) -> Vec<(Option<u64>, &str)> {
        let reassign = plan.reassign.iter();
        reassign
            .map(|(failed_event, _, applicant)| (*failed_event, applicant.as_str()))
            .collect()
    }

    #[test]
    fn an_applicant_who_lost_to_a_rival_is_reassigned_unless_they_have_a_coupon() {
        let plan = planned(
            vec![row(1, "a"), row(2, "b")],
            vec![entitlement(7, 1, "c", true), entitlement(8, 3, "b", true)],
            vec![],
        );
        assert_eq!(plan.granted, [row(1, "a"), row(2, "b")]);
        assert_eq!(reassigned(&plan), [(Some(7), "c")]);
        assert_eq!(plan.resolved, [(8, row(2, "b").assignment())]);
    }

    #[test]
    fn a_dead_letter_of_its_own_reason_keeps_its_serial_until_a_human_decides() {
        let plan = planned(
            vec![row(1, "a")],
            vec![entitlement(7, 2, "b", false), entitlement(8, 9, "c", false)],
            vec![],
        );
        assert_eq!(plan.granted, [row(1, "a"), granted(2, "b", Standing::Held)]);
        assert_eq!(plan.resend, []);
        // Serial 9 is above the quota.
        assert_eq!(reassigned(&plan), [(Some(8), "c")]);
    }

    #[test]
    fn grants_known_only_to_topic_or_gate_are_resent_or_reassigned() {
        let held = |serial, user_id| granted(serial, user_id, Standing::Held);
        let plan = planned(
            vec![row(1, "a")],
            vec![],
            vec![held(2, "b"), held(2, "c"), held(3, "a")],
        );
        assert_eq!(plan.granted, [row(1, "a"), held(2, "b")]);
        assert_eq!(plan.resend, [held(2, "b").assignment()]);
        assert_eq!(reassigned(&plan), [(None, "c")]);
    }

    #[test]
    fn a_code_that_was_bound_twice_stays_with_the_stronger_grant() {
        let coded = |granted: Granted, number: u32| Granted {
            code_number: Some(Ordinal::try_from(number).expect("not 0")),
            ..granted
        };
        let held = |serial, user_id| granted(serial, user_id, Standing::Held);
        let at = Millis::try_from(1).expect("an instant");
        let revoked = coded(granted(1, "a", Standing::Revoked(at)), 1);
        let known = vec![
            coded(held(2, "b"), 1),
            coded(held(3, "c"), 2),
            coded(held(4, "d"), 2),
        ];
        let plan = planned(vec![revoked.clone()], vec![], known);
        assert_eq!(plan.granted, [revoked, coded(held(3, "c"), 2)]);
        assert_eq!(reassigned(&plan), [(None, "b"), (None, "d")]);
    }

    #[test]
    fn a_revoked_applicant_gets_no_other_place_in_that_round() {
        let at = Millis::try_from(1).expect("an instant");
        let revoked = granted(1, "a", Standing::Revoked(at));
        let plan = planned(
            vec![revoked.clone()],
            vec![entitlement(7, 2, "a", true)],
            vec![],
        );
        assert_eq!(plan.granted, std::slice::from_ref(&revoked));
        assert_eq!(plan.resolved, [(7, revoked.assignment())]);
        assert_eq!(reassigned(&plan), []);
    }
}
