//! Tests cacheable refusals, their exclusion lists and their expiry, and the grace period after a change.

use crate::support::{Gate, always_open, applicant, round};
use redis::Commands;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::{Cacheable, Excluded, GRACE_PERIOD};
use rushgate_gate::{CampaignState, Decision, Keys, OnePer, Round, apply};
use std::collections::BTreeSet;

/// No user id has a slash.
const FILTER: &str = "/";

const HOUR: i64 = 3_600_000;

/// In ms.
const GRACE_PERIOD_MS: i64 = GRACE_PERIOD.as_millis() as i64;

impl Gate {
    fn rounds(&mut self, one_per: OnePer, rounds: &[Round]) {
        let origin = match self.overview() {
            Some(_) => Origin::Known,
            None => Origin::New,
        };
        self.project(origin, CampaignState::Running, one_per, rounds);
    }

    /// The cacheable refusal and its exclusion list; [`FILTER`] stands for a filter.
    fn cacheable(&mut self) -> Option<(&'static str, BTreeSet<String>)> {
        let refusal = self.refusal()?;
        let known = match &refusal.excluded {
            Excluded::List(list) => list.user_ids().map(str::to_owned).collect(),
            Excluded::Filter(_) => people(&[FILTER]),
        };
        Some((refusal.decided.decision.as_str(), known))
    }

    fn decided(&mut self, user_id: &str) -> apply::TimedDecision {
        let call = apply::call(&self.id, &applicant(user_id));
        apply::decision(&self.call(&call).expect("apply")).expect("its reply")
    }

    /// Applies until granted. Every reply until `to` is the refusal `word`, and no reply before `from` is a grant. A
    /// reply counts at the time that Redis gives it, so the speed of the machine does not matter.
    fn is_refused(&mut self, user_id: &str, word: &str, from: i64, to: i64) {
        loop {
            let answer = self.decided(user_id);
            let now = answer.now.get();
            if let Decision::Granted(_) = answer.decision {
                return assert!(now >= from, "granted {} ms too early", from - now);
            }
            assert_eq!(answer.decision.as_str(), word, "{user_id}");
            assert!(now < to, "still refused {} ms after the end", now - to);
        }
    }
}

/// When the refusal expires, by the clock of Redis.
fn expires_at(answer: &Cacheable) -> Option<i64> {
    let refusal = answer.refusal.as_ref()?;
    Some(refusal.decided.now.get() + answer.ttl.as_millis() as i64)
}

/// Repeats an attempt that returns `None` if the machine was too busy for it.
fn in_time(attempt: impl Fn() -> Option<()>) {
    const ATTEMPTS: usize = 50;
    let has_succeeded = (0..ATTEMPTS).any(|_| attempt().is_some());
    assert!(has_succeeded, "this machine is too busy");
}

fn people(user_ids: &[&str]) -> BTreeSet<String> {
    user_ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn only_a_refusal_of_all_unknown_applicants_is_cacheable() {
    let mut gate = Gate::unknown();
    assert_eq!(gate.cacheable(), None, "unknown");
    gate.waitlist = 1;
    gate.rounds(OnePer::Campaign, &[always_open(2)]);
    assert_eq!(gate.cacheable(), None, "two serials are left");
    gate.serial("a");
    gate.serial("b");
    assert_eq!(gate.cacheable(), None, "one may wait");
    gate.apply("c");
    let known = people(&["a", "b", "c"]);
    assert_eq!(gate.cacheable(), Some(("sold_out", known.clone())));
    gate.revoke("a", None);
    // During the grace period, the refusal does not last beyond its end.
    in_time(|| {
        let mut gate = Gate::open(1);
        gate.serial("a");
        gate.revoke("a", None);
        gate.extend_grace_period(500);
        let ends = gate.now() + 500;
        let answer = gate.refusal_answer();
        assert!(expires_at(&answer)? <= ends, "{answer:?}");
        let refusal = answer.refusal?;
        assert_eq!(refusal.decided.decision.as_str(), "sold_out");
        Some(())
    });
    gate.end_grace_period();
    assert_eq!(gate.cacheable(), None, "one may wait again");
    gate.apply("d");
    let known: BTreeSet<_> = known.into_iter().chain(["d".to_owned()]).collect();
    assert_eq!(gate.cacheable(), Some(("sold_out", known.clone())));

    let campaign = Keys::of(&gate.id).campaign();
    for (state, expected) in [
        ("paused", None),
        ("halted", None),
        ("closed", Some(("closed", known))),
    ] {
        let _: () = gate.redis.hset(&campaign, "state", state).expect("HSET");
        assert_eq!(gate.cacheable(), expected, "{state}");
    }
}

#[test]
fn a_filter_takes_the_place_of_a_longer_exclusion_list() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    gate.add_grants("b", 2_047);
    assert_eq!(gate.cacheable().map(|(_, known)| known.len()), Some(2_048));
    gate.add_grants("c", 1);
    assert_eq!(gate.cacheable(), Some(("sold_out", people(&[FILTER]))));
}

#[test]
fn with_one_per_round_the_exclusion_list_is_that_of_the_round() {
    for (one_per, known) in [
        (OnePer::Round, people(&["b"])),
        (OnePer::Campaign, people(&["a", "b"])),
    ] {
        let mut gate = Gate::unknown();
        let now = gate.now();
        let first = round("day-1", Some(now - HOUR), Some(now + HOUR), 1);
        gate.rounds(one_per, std::slice::from_ref(&first));
        gate.serial("a");
        let second = round("day-2", Some(now - HOUR / 2), Some(now + HOUR), 1);
        gate.rounds(one_per, &[first, second]);
        gate.end_grace_period();
        gate.serial("b");
        let expected = Some(("sold_out", known));
        assert_eq!(gate.cacheable(), expected, "{one_per:?}");
    }
}

/// The daily campaign of the README in its 22nd round, after 2,100 grants.
#[test]
fn with_one_per_round_earlier_rounds_do_not_count() {
    let mut gate = Gate::unknown();
    gate.waitlist = 1;
    let now = gate.now();
    let mut rounds: Vec<Round> = (1..=21)
        .map(|day| {
            let opens_at = now - HOUR + day;
            let id = format!("day-{day}");
            round(&id, Some(opens_at), Some(opens_at + 1), 100)
        })
        .collect();
    gate.rounds(OnePer::Round, &rounds);
    let keys = Keys::of(&gate.id);
    let before: Vec<(String, String)> = (0..2_100)
        .map(|grant| {
            let (day, serial) = (grant / 100 + 1, grant % 100 + 1);
            let holder = format!("day-{day}/p{grant}");
            (holder, format!("day-{day}/{serial}/5"))
        })
        .collect();
    let _: () = gate
        .redis
        .hset_multiple(keys.grants(), &before)
        .expect("HSET");
    rounds.push(round("today", Some(now - HOUR / 2), Some(now + HOUR), 3));
    gate.rounds(OnePer::Round, &rounds);
    gate.end_grace_period();
    for user_id in ["p1", "b", "c"] {
        gate.serial(user_id);
    }
    gate.apply("waits");
    let known = people(&["p1", "b", "c", "waits"]);
    assert_eq!(gate.cacheable(), Some(("sold_out", known)));
    // The list keeps applicants with a revoked grant, and has promoted ones.
    gate.revoke("b", None);
    gate.end_grace_period();
    gate.apply("next");
    let known = people(&["p1", "b", "c", "waits", "next"]);
    assert_eq!(gate.cacheable(), Some(("sold_out", known)));

    // A grant that is not in the set, as older versions make it: the incomplete list is not used.
    let _: () = gate
        .redis
        .hset(keys.grants(), "today/unnoted", "today/4/5")
        .expect("HSET");
    assert_eq!(gate.cacheable(), Some(("sold_out", people(&[FILTER]))));
}

#[test]
fn the_next_round_has_its_own_exclusion_list() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let first = round("day-1", Some(now - HOUR), Some(now + HOUR), 1);
    gate.rounds(OnePer::Round, std::slice::from_ref(&first));
    gate.serial("a");
    let filler: Vec<(String, &str)> = (0..2_048)
        .map(|person| (format!("day-0/{person}"), "day-0/1/5"))
        .collect();
    let grants = Keys::of(&gate.id).grants();
    let _: () = gate.redis.hset_multiple(&grants, &filler).expect("HSET");
    assert_eq!(
        gate.cacheable(),
        Some(("sold_out", people(&[FILTER]))),
        "one of these grants is not in the set"
    );
    let second = round("day-2", Some(now - HOUR / 2), Some(now + HOUR), 1);
    let state = CampaignState::Closed;
    let rounds = [first, second];
    gate.project(Origin::Known, state, OnePer::Round, &rounds);
    assert_eq!(
        gate.cacheable(),
        Some(("closed", people(&[]))),
        "no grants yet"
    );
    gate.rounds(OnePer::Round, &rounds);
    gate.end_grace_period();
    gate.serial("b");
    assert_eq!(gate.cacheable(), Some(("sold_out", people(&["b"]))));
    let noted: usize = gate.redis.scard(Keys::of(&gate.id).known()).expect("SCARD");
    assert_eq!(noted, 1, "only the current round");
}

#[test]
fn unknown_applicants_get_freed_and_added_serials_after_the_grace_period() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    let before = gate.now();
    gate.revoke("a", None);
    let ends = [before, gate.now()].map(|at| at + GRACE_PERIOD_MS);
    gate.is_refused("b", "sold_out", ends[0], ends[1]);

    let before = gate.now();
    gate.rounds(OnePer::Campaign, &[always_open(2)]);
    let ends = [before, gate.now()].map(|at| at + GRACE_PERIOD_MS);
    // Known applicants are not affected by the grace period.
    assert!(matches!(gate.apply("b"), Decision::AlreadyGranted(_)));
    assert!(matches!(gate.apply("a"), Decision::Revoked { .. }));
    gate.is_refused("c", "sold_out", ends[0], ends[1]);
}

#[test]
fn while_serials_are_left_no_grace_period_starts() {
    let mut gate = Gate::open(2);
    gate.serial("a");
    gate.revoke("a", None);
    assert_eq!(gate.serial("b"), 1);
    gate.rounds(OnePer::Campaign, &[always_open(9)]);
    assert_eq!(gate.serial("c"), 2);
    // A serial freed in a closed round starts no grace period in the open one.
    let now = gate.now();
    let over = round("once", None, Some(now - HOUR), 9);
    let open = round("open", Some(now - HOUR / 2), None, 9);
    gate.rounds(OnePer::Campaign, &[over, open]);
    gate.end_grace_period();
    gate.serial("d");
    gate.revoke("b", None);
    gate.serial("e");
}

#[test]
fn an_opening_ends_the_grace_period() {
    in_time(|| {
        let mut gate = Gate::unknown();
        let now = gate.now();
        let opens_at = now + 400;
        let rounds = [
            round("day-1", Some(now - HOUR), Some(opens_at), 1),
            round("day-2", Some(opens_at), None, 9),
        ];
        gate.rounds(OnePer::Round, &rounds);
        gate.serial("a");
        gate.revoke("a", None);
        let answer = gate.refusal_answer();
        if gate.now() >= opens_at {
            return None;
        }
        let ends = expires_at(&answer).expect("a grace period");
        assert!(ends <= opens_at, "{answer:?}");
        gate.is_refused("b", "sold_out", opens_at, opens_at);
        Some(())
    });
}

#[test]
fn no_refusal_lasts_beyond_the_next_opening() {
    for word in ["sold_out", "not_open", "closed"] {
        in_time(|| {
            let mut gate = Gate::unknown();
            let now = gate.now();
            let opens_at = now + 500;
            let mut rounds = vec![round("day-2", Some(opens_at), None, 9)];
            if word == "sold_out" {
                rounds.insert(0, round("day-1", None, None, 1));
            }
            gate.rounds(OnePer::Round, &rounds);
            if word == "sold_out" {
                gate.serial("a");
            }
            if word == "closed" {
                let state = CampaignState::Closed;
                gate.project(Origin::Known, state, OnePer::Round, &rounds);
            }
            let answer = gate.refusal_answer();
            if gate.now() >= opens_at {
                return None;
            }
            assert_eq!(expires_at(&answer), Some(opens_at), "{word}");
            let refusal = answer.refusal.expect(word);
            assert_eq!(refusal.decided.decision.as_str(), word);
            Some(())
        });
    }
}

#[test]
fn an_opening_moved_to_an_earlier_time_starts_a_grace_period() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let later = round("once", Some(now + HOUR), None, 9);
    gate.rounds(OnePer::Campaign, &[later]);
    assert!(matches!(gate.apply("a"), Decision::NotOpen { .. }));
    // An opening moved to the past, and to within the next second.
    for (user_id, opens_in) in [("b", -10), ("c", 300)] {
        let mut gate = Gate::unknown();
        let later = round("once", Some(now + HOUR), None, 9);
        gate.rounds(OnePer::Campaign, &[later]);
        let before = gate.now();
        let soon = round("once", Some(before + opens_in), None, 9);
        gate.rounds(OnePer::Campaign, &[soon]);
        let ends = [before, gate.now()].map(|at| at + GRACE_PERIOD_MS);
        gate.is_refused(user_id, "not_open", ends[0], ends[1]);
    }
}
