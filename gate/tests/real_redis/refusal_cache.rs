//! What strangers are told, for how long that may be repeated, and what settles before they get it.

use crate::support::{Gate, always_open, applicant, round};
use redis::Commands;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use rushgate_gate::{CampaignState, Decision, Keys, OnePer, Round, apply};
use std::collections::BTreeSet;

const HOUR: i64 = 3_600_000;

/// Until a change has settled, in ms.
const SETTLED: i64 = GRACE_PERIOD.as_millis() as i64;

impl Gate {
    fn rounds(&mut self, one_per: OnePer, rounds: &[Round]) {
        let origin = match self.overview() {
            Some(_) => Origin::Known,
            None => Origin::New,
        };
        self.project(origin, CampaignState::Running, one_per, rounds);
    }

    /// The word that strangers are told, and who is known.
    fn told(&mut self) -> Option<(&'static str, BTreeSet<String>)> {
        let refusal = self.refusal()?;
        let known = refusal.excluded().map(str::to_owned).collect();
        Some((refusal.decided.decision.as_str(), known))
    }

    fn decided(&mut self, user_id: &str) -> apply::TimedDecision {
        let call = apply::call(&self.id, &applicant(user_id));
        apply::decision(&self.call(&call).expect("apply")).expect("its reply")
    }

    /// Applies until it is granted; what was said before that, and when that was.
    fn insists(&mut self, user_id: &str) -> (BTreeSet<&'static str>, i64) {
        let mut refused = BTreeSet::new();
        loop {
            let answer = self.decided(user_id);
            match answer.decision {
                Decision::Granted(_) => return (refused, answer.now.get()),
                decision => refused.insert(decision.as_str()),
            };
        }
    }
}

fn people(user_ids: &[&str]) -> BTreeSet<String> {
    user_ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn only_what_every_stranger_is_told_is_repeated() {
    let mut gate = Gate::unknown();
    assert_eq!(gate.told(), None, "unknown");
    gate.waitlist = 1;
    gate.rounds(OnePer::Campaign, &[always_open(2)]);
    assert_eq!(gate.told(), None, "two places are left");
    gate.serial("a");
    gate.serial("b");
    assert_eq!(gate.told(), None, "one may wait");
    gate.apply("c");
    let known = people(&["a", "b", "c"]);
    assert_eq!(gate.told(), Some(("sold_out", known.clone())));
    gate.revoke("a", None);
    // It settles, and is not repeated for longer than that.
    gate.keep_settling(500);
    let refusal = gate.refusal().expect("it settles");
    assert_eq!(refusal.decided.decision.as_str(), "sold_out");
    assert!(refusal.ttl().as_millis() <= 500, "{refusal:?}");
    gate.settle();
    assert_eq!(gate.told(), None, "one may wait again");
    gate.apply("d");
    let known: BTreeSet<_> = known.into_iter().chain(["d".to_owned()]).collect();
    assert_eq!(gate.told(), Some(("sold_out", known.clone())));

    let campaign = Keys::of(&gate.id).campaign();
    for (state, told) in [
        ("paused", None),
        ("halted", None),
        ("closed", Some(("closed", known))),
    ] {
        let _: () = gate.redis.hset(&campaign, "state", state).expect("HSET");
        assert_eq!(gate.told(), told, "{state}");
    }
}

#[test]
fn nothing_is_repeated_when_too_many_are_known() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    assert!(gate.told().is_some());
    let others: Vec<(String, &str)> = (0..2_047)
        .map(|person| (person.to_string(), "once/1/5"))
        .collect();
    let grants = Keys::of(&gate.id).grants();
    let _: () = gate.redis.hset_multiple(&grants, &others).expect("HSET");
    assert_eq!(gate.told().map(|(_, known)| known.len()), Some(2_048));
    let _: () = gate.redis.hset(&grants, "z", "once/1/5").expect("HSET");
    assert_eq!(gate.told(), None);
}

#[test]
fn where_one_may_win_in_every_round_who_is_known_is_a_matter_of_the_round() {
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
        gate.settle();
        gate.serial("b");
        assert_eq!(gate.told(), Some(("sold_out", known)));
    }
}

/// README's own daily example, in its 22nd round: 2,100 people have won before.
#[test]
fn where_one_may_win_in_every_round_the_rounds_before_are_not_counted() {
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
    gate.settle();
    for user_id in ["p1", "b", "c"] {
        gate.serial(user_id);
    }
    gate.apply("waits");
    let known = people(&["p1", "b", "c", "waits"]);
    assert_eq!(gate.told(), Some(("sold_out", known)));
    // Who had something taken back is known as ever, and so is who moves up.
    gate.revoke("b", None);
    gate.settle();
    gate.apply("next");
    let known = people(&["p1", "b", "c", "waits", "next"]);
    assert_eq!(gate.told(), Some(("sold_out", known)));

    // A grant without a note, as a program of an older version makes it: the list is not complete, and not used.
    let _: () = gate
        .redis
        .hset(keys.grants(), "today/unnoted", "today/4/5")
        .expect("HSET");
    assert_eq!(gate.told(), None);
}

#[test]
fn the_next_round_has_a_list_of_its_own() {
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
    assert_eq!(gate.told(), None, "a grant of these was not noted");
    let second = round("day-2", Some(now - HOUR / 2), Some(now + HOUR), 1);
    let state = CampaignState::Closed;
    let rounds = [first, second];
    gate.project(Origin::Known, state, OnePer::Round, &rounds);
    assert_eq!(gate.told(), Some(("closed", people(&[]))), "nobody yet");
    gate.rounds(OnePer::Round, &rounds);
    gate.settle();
    gate.serial("b");
    assert_eq!(gate.told(), Some(("sold_out", people(&["b"]))));
    let noted: usize = gate.redis.scard(Keys::of(&gate.id).known()).expect("SCARD");
    assert_eq!(noted, 1, "that of the round before is gone");
}

#[test]
fn a_freed_serial_and_a_raised_quota_are_given_to_strangers_after_a_second() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    let before = gate.now();
    gate.revoke("a", None);
    let after = gate.now();
    let (refused, at) = gate.insists("b");
    assert_eq!(refused, BTreeSet::from(["sold_out"]));
    assert!(
        at >= before + SETTLED,
        "{} ms too early",
        before + SETTLED - at
    );
    assert!(at < after + 3 * SETTLED, "{} ms after it", at - after);

    let before = gate.now();
    gate.rounds(OnePer::Campaign, &[always_open(2)]);
    // Who is known need not wait for it.
    assert!(matches!(gate.apply("b"), Decision::AlreadyGranted(_)));
    assert!(matches!(gate.apply("a"), Decision::Revoked { .. }));
    let (refused, at) = gate.insists("c");
    assert_eq!(refused, BTreeSet::from(["sold_out"]));
    assert!(
        at >= before + SETTLED,
        "{} ms too early",
        before + SETTLED - at
    );
}

#[test]
fn where_places_are_left_nothing_has_to_settle() {
    let mut gate = Gate::open(2);
    gate.serial("a");
    gate.revoke("a", None);
    assert_eq!(gate.serial("b"), 1);
    gate.rounds(OnePer::Campaign, &[always_open(9)]);
    assert_eq!(gate.serial("c"), 2);
    // Of a round that is over, a serial does not delay the one that is open.
    let now = gate.now();
    let over = round("once", None, Some(now - HOUR), 9);
    let open = round("open", Some(now - HOUR / 2), None, 9);
    gate.rounds(OnePer::Campaign, &[over, open]);
    gate.settle();
    gate.serial("d");
    gate.revoke("b", None);
    gate.serial("e");
}

#[test]
fn an_opening_is_not_delayed_and_no_refusal_is_repeated_beyond_it() {
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
    let refusal = gate.refusal().expect("it settles");
    assert!(refusal.expires_at.get() <= opens_at, "{refusal:?}");
    let (_, at) = gate.insists("b");
    assert!((opens_at..opens_at + 500).contains(&at), "{at}");
}

#[test]
fn no_refusal_is_repeated_beyond_the_next_opening() {
    for word in ["sold_out", "not_open", "closed"] {
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
        let refusal = gate.refusal().expect("nobody gets anything");
        assert_eq!(refusal.decided.decision.as_str(), word);
        assert_eq!(refusal.expires_at.get(), opens_at, "{word}");
    }
}

#[test]
fn an_opening_that_is_moved_to_an_earlier_time_settles() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let later = round("once", Some(now + HOUR), None, 9);
    gate.rounds(OnePer::Campaign, &[later]);
    assert!(matches!(gate.apply("a"), Decision::NotOpen { .. }));
    // Into the past, and into the next second.
    for (user_id, opens_in) in [("b", -10), ("c", 300)] {
        let mut gate = Gate::unknown();
        let later = round("once", Some(now + HOUR), None, 9);
        gate.rounds(OnePer::Campaign, &[later]);
        let before = gate.now();
        let soon = round("once", Some(before + opens_in), None, 9);
        gate.rounds(OnePer::Campaign, &[soon]);
        let (refused, at) = gate.insists(user_id);
        assert_eq!(refused, BTreeSet::from(["not_open"]));
        assert!(
            at >= before + SETTLED,
            "{} ms too early",
            before + SETTLED - at
        );
    }
}
