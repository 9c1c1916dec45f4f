//! Who is to hold what after Redis has lost grants: a pure function over what the others still know.
//!
//! A row is the strongest claim, then a dead letter that waits for a human, then what only topic or gate know. Of two
//! claims to one serial, or by one person, the stronger one stands; whoever loses against it is seated anew.

use rushgate_gate::restore::{Granted, Standing};
use rushgate_gate::{Applicant, Assignment, OnePer, RoundId, Serial};
use std::collections::{BTreeMap, BTreeSet};

/// A grant that is an open dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The dead letter's number.
    pub letter: u64,
    /// Whether it failed because somebody else's grant stood in the way, and not for a reason of its own.
    pub lost_to_rival: bool,
    /// The grant.
    pub granted: Granted,
}

/// What the others still know.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Every row.
    pub rows: Vec<Granted>,
    /// Grants that are open dead letters, oldest first.
    pub claims: Vec<Claim>,
    /// Grants that only topic or gate know.
    pub others: Vec<Granted>,
    /// Grants whose row is revoked although nobody has revoked them: a Redis that had gone back in time gave a serial
    /// again that had been passed on.
    pub overtaken: Vec<Granted>,
    /// Quotas of all rounds.
    pub quotas: BTreeMap<RoundId, u32>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the gate is to know.
    pub granted: Vec<Granted>,
    /// Of these, what is to go on the stream again, because it has no row.
    pub resend: Vec<Assignment>,
    /// Who is to get another place, in this order, and for which dead letter (`None`: only topic or gate knew).
    pub seat: Vec<(Option<u64>, RoundId, Applicant)>,
    /// Dead letters of people who have a coupon all the same, or had one taken back, and which.
    pub settled: Vec<(u64, Assignment)>,
}

/// Decides.
pub fn plan(one_per: OnePer, known: Known) -> Plan {
    let mut books = Books {
        one_per,
        quotas: known.quotas,
        serials: BTreeSet::new(),
        people: BTreeMap::new(),
        revoked: BTreeMap::new(),
    };
    let mut plan = Plan::default();
    for row in known.rows {
        books.enter(&row);
        plan.granted.push(row);
    }
    let claims = known
        .claims
        .into_iter()
        .map(|claim| (Some(claim.letter), !claim.lost_to_rival, claim.granted));
    let others = known
        .others
        .into_iter()
        .map(|granted| (None, true, granted));
    let overtaken = known
        .overtaken
        .into_iter()
        .map(|granted| (None, false, granted));
    let mut losers = vec![];
    // First those who may keep their serial, so that nobody else is seated on it.
    for (letter, may_keep, granted) in claims.chain(others).chain(overtaken) {
        if may_keep && books.is_free_for(&granted) {
            let granted = Granted {
                standing: Standing::Held,
                ..granted
            };
            if letter.is_none() {
                plan.resend.push(place(&granted));
            }
            books.enter(&granted);
            plan.granted.push(granted);
        } else {
            losers.push((letter, granted));
        }
    }
    for (letter, granted) in losers {
        match (books.has(&granted), letter) {
            (Some(place), Some(letter)) => plan.settled.push((letter, place.clone())),
            (None, letter) if books.quotas.contains_key(&granted.round) => {
                plan.seat.push((letter, granted.round, granted.applicant));
            }
            _ => {}
        }
    }
    plan
}

/// Who has what so far.
struct Books {
    one_per: OnePer,
    quotas: BTreeMap<RoundId, u32>,
    serials: BTreeSet<(RoundId, Serial)>,
    /// By what one person may win once.
    people: BTreeMap<(Option<RoundId>, Applicant), Assignment>,
    /// Whose grant of a round was taken back: he cannot win it again.
    revoked: BTreeMap<(RoundId, Applicant), Assignment>,
}

impl Books {
    fn enter(&mut self, granted: &Granted) {
        let (round, applicant) = (granted.round.clone(), granted.applicant.clone());
        if let Standing::Revoked(_) = granted.standing {
            self.revoked.insert((round, applicant), place(granted));
        } else {
            self.people.insert(self.person(granted), place(granted));
            self.serials.insert((round, granted.serial));
        }
    }

    /// Whether he may have just this serial.
    fn is_free_for(&self, granted: &Granted) -> bool {
        let quota = self.quotas.get(&granted.round);
        self.has(granted).is_none()
            && !self
                .serials
                .contains(&(granted.round.clone(), granted.serial))
            && quota.is_some_and(|quota| granted.serial.get() <= *quota)
    }

    /// What he holds, or what was taken back from him in that round.
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

pub(super) fn place(granted: &Granted) -> Assignment {
    Assignment {
        round: granted.round.clone(),
        serial: granted.serial,
        applicant: granted.applicant.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{Millis, Ordinal};

    fn granted(serial: u32, user_id: &str, standing: Standing) -> Granted {
        Granted {
            applicant: user_id.parse().expect("a user id"),
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            turn: Ordinal::FIRST,
            win: Ordinal::FIRST,
            at: Millis::try_from(0).expect("an instant"),
            standing,
        }
    }

    fn row(serial: u32, user_id: &str) -> Granted {
        granted(serial, user_id, Standing::Issued)
    }

    fn claim(letter: u64, serial: u32, user_id: &str, lost_to_rival: bool) -> Claim {
        Claim {
            letter,
            lost_to_rival,
            granted: granted(serial, user_id, Standing::Held),
        }
    }

    fn planned(rows: Vec<Granted>, claims: Vec<Claim>, others: Vec<Granted>) -> Plan {
        let known = Known {
            rows,
            claims,
            others,
            quotas: [(RoundId::once(), 5)].into(),
            ..Known::default()
        };
        plan(OnePer::Campaign, known)
    }

    #[test]
    fn a_grant_whose_row_nobody_has_revoked_is_seated_on_another_serial() {
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
        assert_eq!(seated(&plan), [(None, "z"), (None, "y")]);
    }

    fn seated(plan: &Plan) -> Vec<(Option<u64>, &str)> {
        let seat = plan.seat.iter();
        seat.map(|(letter, _, applicant)| (*letter, applicant.as_str()))
            .collect()
    }

    #[test]
    fn who_lost_to_a_rival_is_seated_anew_unless_he_has_a_coupon() {
        let plan = planned(
            vec![row(1, "a"), row(2, "b")],
            vec![claim(7, 1, "c", true), claim(8, 3, "b", true)],
            vec![],
        );
        assert_eq!(plan.granted, [row(1, "a"), row(2, "b")]);
        assert_eq!(seated(&plan), [(Some(7), "c")]);
        assert_eq!(plan.settled, [(8, place(&row(2, "b")))]);
    }

    #[test]
    fn a_dead_letter_of_its_own_reason_keeps_its_serial_until_a_human_decides() {
        let plan = planned(
            vec![row(1, "a")],
            vec![claim(7, 2, "b", false), claim(8, 9, "c", false)],
            vec![],
        );
        assert_eq!(plan.granted, [row(1, "a"), granted(2, "b", Standing::Held)]);
        assert_eq!(plan.resend, []);
        // Nine is beyond the quota.
        assert_eq!(seated(&plan), [(Some(8), "c")]);
    }

    #[test]
    fn what_only_topic_or_gate_know_goes_on_the_stream_again_or_is_seated_anew() {
        let held = |serial, user_id| granted(serial, user_id, Standing::Held);
        let plan = planned(
            vec![row(1, "a")],
            vec![],
            vec![held(2, "b"), held(2, "c"), held(3, "a")],
        );
        assert_eq!(plan.granted, [row(1, "a"), held(2, "b")]);
        assert_eq!(plan.resend, [place(&held(2, "b"))]);
        assert_eq!(seated(&plan), [(None, "c")]);
    }

    #[test]
    fn who_was_revoked_gets_no_other_place_in_that_round() {
        let at = Millis::try_from(1).expect("an instant");
        let revoked = granted(1, "a", Standing::Revoked(at));
        let plan = planned(vec![revoked.clone()], vec![claim(7, 2, "a", true)], vec![]);
        assert_eq!(plan.granted, std::slice::from_ref(&revoked));
        assert_eq!(plan.settled, [(7, place(&revoked))]);
        assert_eq!(seated(&plan), []);
    }
}
