//! Tests the filter, which takes the place of an exclusion list that is too long.

use crate::support::{Gate, Server, always_open, applicant, round};
use redis::Commands;
use rushgate_gate::project::Origin;
use rushgate_gate::refusal_cache::{self, Cacheable, Excluded, Filter, GRACE_PERIOD};
use rushgate_gate::{CampaignState, Decision, Keys, OnePer};
use std::time::Duration;

const HOUR: i64 = 3_600_000;

/// The applicants of [`full`]: more than an exclusion list may name.
const OTHERS: usize = 3_000;

/// How many steps their filter takes at least.
const STEPS: usize = 12;

/// At least this long from the beginning of one step to that of the next, in ms.
const REST: i64 = 10;

/// When it is worth asking again for a caller that took no step.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Gate {
    /// Others are granted serials. `prefix` and a number from 0 on is the field.
    pub(crate) fn add_grants(&mut self, prefix: &str, count: usize) {
        let grants = Keys::of(&self.id).grants();
        let numbers: Vec<usize> = (0..count).collect();
        for numbers in numbers.chunks(10_000) {
            let field = |number| (format!("{prefix}{number}"), "once/1/5");
            let fields: Vec<(String, &str)> = numbers.iter().map(field).collect();
            let _: () = self.redis.hset_multiple(&grants, &fields).expect("HSET");
        }
    }

    /// The set `known` is incomplete from now on.
    pub(crate) fn forget_known(&mut self) {
        let campaign = Keys::of(&self.id).campaign();
        let _: () = self.redis.hdel(campaign, "known").expect("HDEL");
    }

    /// Asks until the filter is complete; `None` if nothing is cacheable.
    fn filter(&mut self) -> Option<Filter> {
        let refusal = self.refusal()?;
        match refusal.excluded {
            Excluded::Filter(filter) => Some(filter),
            Excluded::List(list) => panic!("{list:?}"),
        }
    }

    /// Asks until a step is done, and returns the filter if it was the last one.
    fn step(&mut self) -> Option<Filter> {
        filter_of(self.answer_after_steps(1))
    }

    /// Asks until this many steps are done, or fewer if no more are needed.
    pub(crate) fn answer_after_steps(&mut self, steps: usize) -> Cacheable {
        let (mut done, mut header) = (0, self.header());
        loop {
            let answer = self.refusal_answer();
            let is_under_way = answer.refusal.is_none() && answer.ttl < GRACE_PERIOD;
            let before = std::mem::replace(&mut header, self.header());
            done += usize::from(header != before);
            if !is_under_way || done == steps {
                return answer;
            }
        }
    }

    /// Beside the round `once` there is one that opens `opens_in` ms from now. The fencing token stays, as if the clock of Redis
    /// was set.
    fn moves_next(&mut self, opens_in: i64) {
        let now = self.now();
        let next = round("next", Some(now + opens_in), None, 1);
        let (state, rounds) = (CampaignState::Running, [always_open(1), next]);
        self.project(Origin::Known, state, OnePer::Campaign, &rounds);
        self.end_grace_period();
    }

    fn header(&mut self) -> String {
        let filter = Keys::of(&self.id).filter();
        self.redis.getrange(filter, 0, 127).expect("GETRANGE")
    }

    fn contains_all(&mut self, filter: &Filter) -> bool {
        let others = (0..OTHERS).map(|number| format!("b{number}"));
        let mut all = others.chain(["a".to_owned()]);
        all.all(|user_id| filter.contains(&applicant(&user_id)))
    }
}

fn filter_of(answer: Cacheable) -> Option<Filter> {
    match answer.refusal?.excluded {
        Excluded::Filter(filter) => Some(filter),
        Excluded::List(list) => panic!("{list:?}"),
    }
}

/// A campaign that is sold out: `a` and [`OTHERS`] hold serials, and `w` waits.
fn full(mut gate: Gate) -> Gate {
    gate.waitlist = 1;
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(1)],
    );
    gate.serial("a");
    gate.add_grants("b", OTHERS);
    assert!(matches!(gate.apply("waits"), Decision::Waitlisted { .. }));
    gate
}

#[test]
fn it_contains_all_who_are_known_and_few_others() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    gate.add_grants("b", OTHERS);
    let filter = gate.filter().expect("a filter");
    assert!(gate.contains_all(&filter));
    // Ten bits for each applicant.
    assert_eq!(filter.size(), (10 * (OTHERS + 1)).div_ceil(8));
    let contains = |number: &usize| filter.contains(&applicant(&format!("c{number}")));
    let by_chance = (0..10_000).filter(contains).count();
    assert!((50..200).contains(&by_chance), "{by_chance} of 10,000");
}

#[test]
fn it_has_at_most_100_000_applicants() {
    let mut gate = Gate::open(1);
    gate.serial("a");
    gate.add_grants("b", 99_999);
    assert!(gate.refusal_answer().ttl < GRACE_PERIOD, "a step");
    gate.add_grants("c", 1);
    assert_eq!(gate.refusal_answer().ttl, GRACE_PERIOD);
}

#[test]
fn it_is_built_in_steps_with_a_pause_between_them() {
    let mut gate = full(Gate::unknown());
    let (begun, mut steps, mut has_waited) = (gate.now(), 0, false);
    let filter = loop {
        let before = gate.header();
        let answer = gate.refusal_answer();
        let is_step = gate.header() != before;
        steps += usize::from(is_step);
        if answer.refusal.is_some() {
            break filter_of(answer).expect("a filter");
        }
        assert_eq!(answer.ttl < RETRY_AFTER, is_step, "{answer:?}");
        assert!(is_step || answer.ttl == RETRY_AFTER, "{answer:?}");
        has_waited |= !is_step;
    };
    assert!(steps >= STEPS && has_waited, "{steps} steps");
    assert!(gate.contains_all(&filter) && filter.contains(&applicant("waits")));
    let took = gate.now() - begun;
    assert!(took >= REST * (steps as i64 - 1), "{took} ms");
    assert!(filter_of(gate.refusal_answer()) == Some(filter));
}

#[test]
fn it_is_built_again_when_another_applicant_becomes_known() {
    type Change = fn(&mut Gate);
    let changes: [(&str, Change); 6] = [
        ("a grant", |gate| {
            gate.cancel("waits", None);
            gate.revoke("a", None);
            gate.end_grace_period();
            assert!(matches!(gate.apply("late"), Decision::Granted(_)));
        }),
        ("a place on the waitlist", |gate| {
            gate.cancel("waits", None);
            gate.end_grace_period();
            assert!(matches!(gate.apply("late"), Decision::Waitlisted { .. }));
        }),
        (
            "a promotion that an older program has not counted",
            |gate| {
                gate.revoke("a", None);
                let campaign = Keys::of(&gate.id).campaign();
                let _: () = gate.redis.hdel(campaign, "promotions").expect("HDEL");
            },
        ),
        (
            "a promotion of one whose place Redis has half lost",
            |gate| {
                let waiting = Keys::of(&gate.id).waiting();
                let _: () = gate.redis.hdel(waiting, "once/waits").expect("HDEL");
                gate.revoke("a", None);
            },
        ),
        ("a place in another round", |gate| {
            gate.moves_next(-HOUR);
            assert!(matches!(gate.apply("late"), Decision::Waitlisted { .. }));
            gate.moves_next(HOUR);
        }),
        ("a command of an operator", |gate| {
            gate.fence = 7.into();
            gate.moves_next(HOUR);
        }),
    ];
    for (what, change) in changes {
        // In the middle, and when it is complete.
        for steps in [STEPS / 2, 10 * STEPS] {
            let mut gate = full(Gate::unknown());
            gate.moves_next(-HOUR);
            assert!(matches!(gate.apply("c"), Decision::Granted(_)));
            gate.moves_next(HOUR);
            let is_complete = (0..steps).any(|_| gate.step().is_some());
            assert_eq!(is_complete, steps > STEPS);
            change(&mut gate);
            // A place on the waitlist is left.
            let campaign = Keys::of(&gate.id).campaign();
            let _: () = gate.redis.hset(campaign, "waitlist", 0).expect("HSET");
            let is_early = (0..STEPS - 1).any(|_| gate.step().is_some());
            assert!(!is_early, "{what}: not built again");
            let filter = gate.filter().expect(what);
            assert!(
                what != "a place in another round" || filter.contains(&applicant("late")),
                "{what}"
            );
            for user_id in ["late", "waits"] {
                let is_known = !matches!(gate.apply(user_id), Decision::SoldOut { .. });
                assert!(
                    !is_known || filter.contains(&applicant(user_id)),
                    "{what}: misses {user_id}"
                );
            }
            assert!(gate.contains_all(&filter), "{what}");
        }
    }
}

/// Some go from the waitlist to the grants, and others from there to the revoked, in the middle of the steps and after them.
#[test]
fn revocations_and_promotions_do_not_begin_it_again() {
    const EACH: u32 = 16;
    for steps in [STEPS / 2, 10 * STEPS] {
        let mut gate = Gate::unknown();
        gate.waitlist = EACH;
        let (state, round) = (CampaignState::Running, always_open(EACH));
        gate.project(Origin::New, state, OnePer::Campaign, &[round]);
        let names = |letter| (0..EACH).map(move |number| format!("{letter}{number}"));
        for user_id in names('a') {
            gate.serial(&user_id);
        }
        for user_id in names('w') {
            assert!(matches!(gate.apply(&user_id), Decision::Waitlisted { .. }));
        }
        gate.add_grants("b", OTHERS);
        let is_complete = (0..steps).any(|_| gate.step().is_some());
        for user_id in names('a') {
            gate.revoke(&user_id, None);
        }
        // Their places would be free.
        let campaign = Keys::of(&gate.id).campaign();
        let _: () = gate.redis.hset(campaign, "waitlist", 0).expect("HSET");
        let mut more = 0;
        let filter = loop {
            match gate.step() {
                Some(filter) => break filter,
                None => more += 1,
            }
        };
        assert!(more < if is_complete { 1 } else { STEPS }, "{more} steps");
        for user_id in names('a').chain(names('w')) {
            assert!(filter.contains(&applicant(&user_id)), "misses {user_id}");
        }
    }
}

/// An applicant leaves the waitlist and comes back, again and again.
#[test]
fn steps_become_rarer_while_it_is_overtaken() {
    let mut gate = full(Gate::unknown());
    let slowness = |gate: &mut Gate| -> f64 {
        let header = gate.header();
        header
            .split(' ')
            .nth(4)
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    for _ in 0..4 {
        assert!(gate.step().is_none());
        gate.cancel("waits", None);
        gate.end_grace_period();
        gate.apply("waits");
    }
    let (begun, slow) = (gate.now(), slowness(&mut gate));
    assert!(slow > 6.0, "{slow}");
    assert!(gate.step().is_none() && gate.step().is_none());
    let took = gate.now() - begun;
    assert!(took >= REST * slow as i64, "{took} ms");
    assert!(gate.filter().is_some());
    assert_eq!(slowness(&mut gate), 1.0);
}

#[test]
fn with_one_per_campaign_it_has_those_who_wait_in_another_round() {
    let mut gate = full(Gate::unknown());
    gate.moves_next(-HOUR);
    assert!(matches!(gate.apply("c"), Decision::Granted(_)));
    assert!(matches!(gate.apply("d"), Decision::Waitlisted { .. }));
    assert!(gate.filter().is_some());
    gate.revoke("a", None);
    assert!(matches!(gate.apply("waits"), Decision::AlreadyGranted(_)));
    let filter = filter_of(gate.refusal_answer()).expect("still complete");
    assert!(
        filter.contains(&applicant("waits")),
        "promoted in its round"
    );
}

#[test]
fn with_one_per_round_it_has_the_applicants_of_the_round() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let first = round("day-1", Some(now - HOUR), Some(now - HOUR / 2), 9_999);
    let second = round("day-2", Some(now - HOUR / 4), None, 1);
    let state = CampaignState::Running;
    gate.project(Origin::New, state, OnePer::Round, &[first, second]);
    gate.add_grants("day-1/c", 20_000);
    gate.serial("a");
    gate.add_grants("day-2/b", OTHERS);
    let rounds = Keys::of(&gate.id).rounds();
    let granted = ("day-2/granted", OTHERS + 1);
    let _: () = gate.redis.hset_multiple(rounds, &[granted]).expect("HSET");
    let filter = gate.filter().expect("a filter");
    assert!(gate.contains_all(&filter));
    assert_eq!(filter.size(), (10 * (OTHERS + 1)).div_ceil(8));
    let contains = |number: &usize| filter.contains(&applicant(&format!("c{number}")));
    let by_chance = (0..10_000).filter(contains).count();
    assert!(by_chance < 200, "{by_chance} of 10,000 of the first round");
}

/// Another process lists a hash in another order.
#[test]
fn after_a_restart_of_redis_it_is_built_from_the_beginning() {
    let mut server = Server::start();
    let mut gate = full(Gate::on(&server.url()));
    for _ in 0..STEPS / 2 {
        assert!(gate.step().is_none());
    }
    server.restart_with_all_data();
    gate.redis = crate::support::connect(&server.url());
    let filter = Keys::of(&gate.id).filter();
    let kept: bool = gate.redis.exists(filter).expect("EXISTS");
    assert!(kept, "a filter that was begun");
    let filter = gate.filter().expect("a filter");
    assert!(gate.contains_all(&filter) && filter.contains(&applicant("waits")));
}

#[test]
fn it_is_not_written_to_the_append_only_file() {
    let server = Server::start();
    let mut gate = full(Gate::on(&server.url()));
    let before = server.info("aof_current_size");
    assert!(gate.filter().is_some());
    assert_eq!(server.info("aof_current_size"), before);
}

#[test]
fn without_memory_it_is_not_built() {
    let server = Server::start();
    let mut gate = full(Gate::on(&server.url()));
    server.set("maxmemory", "1");
    let error = gate.call(&refusal_cache::call(&gate.id.clone()));
    let error = error.expect_err("no memory").to_string();
    assert!(error.contains("OOM"), "{error}");
    server.set("maxmemory", "0");
    assert!(gate.filter().is_some());
}
