//! Tests the rules of the scripts apply, status, overview and project, one rule in each test.

use crate::support::{Gate, always_open, applicant, eval, round};
use redis::TypedCommands;
use rushgate_gate::project::{Origin, ProjectOutcome};
use rushgate_gate::script::{self, Eval, Script};
use rushgate_gate::{
    CampaignState, Decision, EventType, Keys, OnePer, Quota, Round, ShowRemaining, UserIds,
    Waitlist, apply, cancel, overview, status,
};
use std::collections::BTreeSet;
use std::sync::Barrier;

const HOUR: i64 = 3_600_000;

#[test]
fn serials_are_granted_in_the_order_of_arrival_up_to_the_quota() {
    let mut gate = Gate::open(3);
    for (user_id, serial) in [("a", 1), ("b", 2), ("c", 3)] {
        let Decision::Granted(grant) = gate.apply(user_id) else {
            panic!("{user_id} was not granted")
        };
        assert_eq!(grant.serial.get(), serial, "{user_id}");
    }
    assert!(matches!(gate.apply("d"), Decision::SoldOut { round } if round.as_str() == "once"));
    assert_eq!(gate.events().len(), 3);
}

#[test]
fn a_retry_gets_the_same_grant_even_when_sold_out_or_closed() {
    let mut gate = Gate::open(1);
    let Decision::Granted(first) = gate.apply("a") else {
        panic!("not granted")
    };
    assert!(matches!(gate.apply("b"), Decision::SoldOut { .. }));
    assert_eq!(gate.apply("a"), Decision::AlreadyGranted(first.clone()));

    let over = round("once", None, Some(gate.now() - 1), 1);
    gate.project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &[over],
    );
    assert_eq!(gate.apply("b"), Decision::Closed);
    assert_eq!(gate.apply("a"), Decision::AlreadyGranted(first.clone()));

    gate.project(
        Origin::Known,
        CampaignState::Closed,
        OnePer::Campaign,
        &[always_open(1)],
    );
    assert_eq!(gate.apply("b"), Decision::Closed);
    assert_eq!(gate.apply("a"), Decision::AlreadyGranted(first));
    assert_eq!(gate.events().len(), 1);
}

#[test]
fn a_numeric_campaign_accepts_only_numbers() {
    let mut gate = Gate::unknown();
    gate.user_ids = UserIds::Numeric;
    let round = always_open(20);
    let project = |gate: &mut Gate, state| {
        gate.project(
            Origin::New,
            state,
            OnePer::Campaign,
            std::slice::from_ref(&round),
        );
    };
    project(&mut gate, CampaignState::Running);
    for user_id in [
        "0",
        "7",
        "42",
        "999999999999999999",
        "1000000000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "10000000000000000000",
        "99999999999999999999999",
        "007",
        "00",
        "-1",
        "-0",
        "4.2",
        "1e3",
        "0x10",
        "anna",
        "7a",
        "..",
    ] {
        let is_number = applicant(user_id).as_number().is_some();
        let decision = gate.apply(user_id);
        assert_eq!(
            matches!(decision, Decision::Granted(_)),
            is_number,
            "{user_id}"
        );
        assert_eq!(
            decision == Decision::UserIdNotNumeric,
            !is_number,
            "{user_id}"
        );
    }
    assert_eq!(gate.events().len(), 6);
    let terms = gate.projection().expect("known").terms.expect("terms");
    assert_eq!(terms.user_ids, UserIds::Numeric);

    // A paused campaign reports the pause first. An invalid user id is also reported outside the window.
    project(&mut gate, CampaignState::Paused);
    assert_eq!(gate.apply("anna"), Decision::Paused);
    project(&mut gate, CampaignState::Closed);
    assert_eq!(gate.apply("anna"), Decision::UserIdNotNumeric);
    assert_eq!(gate.refusal().expect("one").user_ids, UserIds::Numeric);
}

#[test]
fn a_campaign_older_than_the_rule_for_user_ids_accepts_any() {
    let mut gate = Gate::open(2);
    let campaign = Keys::of(&gate.id).campaign();
    gate.redis.hdel(campaign, "user_ids").expect("HDEL");
    assert_eq!(gate.serial("anna"), 1);
    let terms = gate.projection().expect("known").terms.expect("terms");
    assert_eq!(terms.user_ids, UserIds::Unstated);
}

#[test]
fn an_unknown_round_is_not_a_round_without_a_grant() {
    let mut gate = Gate::open(1);
    assert_eq!(gate.status_in("a", Some("once")), status::Status::NotFound);
    assert_eq!(
        gate.status_in("a", Some("nope")),
        status::Status::UnknownRound
    );
    assert_eq!(gate.serial("a"), 1);
    assert_eq!(
        gate.status_in("a", Some("nope")),
        status::Status::UnknownRound
    );
    assert_eq!(gate.status("b"), status::Status::NotFound);
}

#[test]
fn the_stream_entry_describes_the_grant() {
    let mut gate = Gate::open(5);
    let Decision::Granted(grant) = gate.apply("user.1:x@y_z-0") else {
        panic!("not granted")
    };
    let [event] = gate.events().try_into().expect("one event");
    assert_eq!(event.event_type, EventType::Granted);
    assert_eq!(event.campaign, gate.id);
    assert_eq!(
        (event.round, event.serial, event.at),
        (grant.round, grant.serial, grant.at)
    );
    assert_eq!(event.applicant, applicant("user.1:x@y_z-0"));
    assert!(
        (gate.now() - event.at.get()).abs() < 60_000,
        "{:?}",
        event.at
    );
}

#[test]
fn before_the_window_it_is_not_open_and_after_it_closed() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let running = CampaignState::Running;
    let rounds = [
        round("day-1", Some(now + HOUR), Some(now + 2 * HOUR), 1),
        round("day-2", Some(now + 3 * HOUR), Some(now + 4 * HOUR), 1),
    ];
    gate.project(Origin::New, running, OnePer::Round, &rounds);
    assert!(
        matches!(gate.apply("a"), Decision::NotOpen { round, opens_at } if round.as_str() == "day-1" && opens_at.get() == now + HOUR)
    );

    // Between two rounds the next one is reported.
    let rounds = [
        round("day-1", Some(now - 2 * HOUR), Some(now - HOUR), 1),
        round("day-2", Some(now + HOUR), Some(now + 2 * HOUR), 1),
    ];
    gate.project(Origin::Known, running, OnePer::Round, &rounds);
    assert!(
        matches!(gate.apply("a"), Decision::NotOpen { round, opens_at } if round.as_str() == "day-2" && opens_at.get() == now + HOUR)
    );

    let rounds = [
        round("day-1", Some(now - 4 * HOUR), Some(now - 3 * HOUR), 1),
        round("day-2", Some(now - 2 * HOUR), Some(now - HOUR), 1),
    ];
    gate.project(Origin::Known, running, OnePer::Round, &rounds);
    assert_eq!(gate.apply("a"), Decision::Closed);
    assert!(gate.events().is_empty());
}

#[test]
fn one_per_round_allows_a_grant_in_the_next_round_and_one_per_campaign_does_not() {
    for (one_per, second) in [(OnePer::Round, true), (OnePer::Campaign, false)] {
        let mut gate = Gate::unknown();
        let now = gate.now();
        let running = CampaignState::Running;
        let today = [round("day-1", Some(now - HOUR), Some(now + HOUR), 5)];
        gate.project(Origin::New, running, one_per, &today);
        assert_eq!(gate.serial("a"), 1);
        let tomorrow = [
            round("day-1", Some(now - 2 * HOUR), Some(now - HOUR), 5),
            round("day-2", Some(now - HOUR), Some(now + HOUR), 5),
        ];
        gate.project(Origin::Known, running, one_per, &tomorrow);
        gate.end_grace_period();
        let (is_new, round) = match gate.apply("a") {
            Decision::Granted(grant) => (true, grant.round),
            Decision::AlreadyGranted(grant) => (false, grant.round),
            other => panic!("{one_per:?}: {other:?}"),
        };
        let expected = if second { "day-2" } else { "day-1" };
        assert_eq!((is_new, round.as_str()), (second, expected), "{one_per:?}");
    }
}

#[test]
fn a_round_opens_by_the_clock_alone() {
    for one_per in [OnePer::Round, OnePer::Campaign] {
        let noted = |gate: &mut Gate| -> Vec<String> {
            let campaign = Keys::of(&gate.id).campaign();
            let fields = ["round", "from", "until", "next"];
            gate.redis.hmget(campaign, &fields).expect("HMGET")
        };
        // Time until the second round opens. It grows, in case a busy machine misses the first round.
        let attempt = |ahead: i64| {
            let mut gate = Gate::unknown();
            let now = gate.now();
            let (opens_at, ends) = (now + ahead, now + HOUR);
            let rounds = [
                round("day-1", Some(now - HOUR), None, 9),
                round("day-2", Some(opens_at), Some(ends), 9),
                round("day-3", Some(ends), None, 9),
            ];
            gate.project(Origin::New, CampaignState::Running, one_per, &rounds);
            let first = noted(&mut gate);
            let granted = gate.apply("0");
            let is_early =
                matches!(granted, Decision::Granted(grant) if grant.round.as_str() == "day-1");
            is_early.then(|| {
                assert_eq!(first[0], "day-1");
                (gate, ahead, opens_at, ends)
            })
        };
        let attempts = [300, 1_200, 4_800, 19_200];
        let early = attempts.into_iter().find_map(attempt);
        let (mut gate, ahead, opens_at, ends) = early.expect("a machine that is not that busy");
        // No call announces the second round. Only the clock opens it.
        for person in 1.. {
            let before = gate.now();
            let Decision::Granted(grant) = gate.apply(&person.to_string()) else {
                panic!("day-1 has places until day-2 opens");
            };
            if grant.round.as_str() == "day-2" {
                assert!(grant.at.get() >= opens_at);
                break;
            }
            assert!(grant.at.get() < opens_at && before < opens_at);
            while gate.now() < (before + ahead / 6).min(opens_at) {}
        }
        let [opens_at, ends] = [opens_at, ends].map(|at| at.to_string());
        assert_eq!(noted(&mut gate), ["day-2", &opens_at, &ends, "day-3"]);
        // A note from a clock that has been set back since.
        let campaign = Keys::of(&gate.id).campaign();
        let ahead = [("round", "day-3"), ("from", &ends), ("until", "+inf")];
        gate.redis.hset_multiple(campaign, &ahead).expect("HSET");
        let Decision::Granted(grant) = gate.apply("somebody") else {
            panic!("day-2 has places");
        };
        assert_eq!(grant.round.as_str(), "day-2");
        let again = gate.apply("0");
        assert_eq!(
            matches!(again, Decision::Granted(_)),
            one_per == OnePer::Round,
            "{one_per:?}: {again:?}"
        );
    }
}

#[test]
fn paused_halted_and_unknown_campaigns_grant_nothing() {
    let mut gate = Gate::unknown();
    assert_eq!(gate.apply("a"), Decision::UnknownCampaign);
    let rounds = [always_open(5)];
    gate.project(
        Origin::New,
        CampaignState::Paused,
        OnePer::Campaign,
        &rounds,
    );
    assert_eq!(gate.apply("a"), Decision::Paused);
    let campaign = Keys::of(&gate.id).campaign();
    gate.redis.hset(campaign, "state", "halted").expect("HSET");
    assert_eq!(gate.apply("a"), Decision::Halted);
    assert_eq!(
        gate.try_project(
            Origin::Known,
            CampaignState::Running,
            OnePer::Campaign,
            &rounds
        ),
        ProjectOutcome::Halted
    );
    assert!(gate.events().is_empty());
}

#[test]
fn replies_to_applicants_end_with_the_clock() {
    let mut gate = Gate::unknown();
    let all_tell_it = |gate: &mut Gate| {
        let calls = [
            apply::call(&gate.id, &applicant("a")),
            overview::call(&gate.id),
            status::call(&gate.id, &applicant("a"), None),
            cancel::call(&gate.id, &applicant("a"), None),
        ];
        for call in calls {
            let before = gate.now();
            let reply = gate.call(&call).expect("a reply");
            let clock = script::clock(&reply).map(|clock| clock.get());
            let after = gate.now();
            assert!(
                clock.is_some_and(|clock| (before..=after).contains(&clock)),
                "{reply:?} is not from {before} to {after}"
            );
        }
    };
    all_tell_it(&mut gate);
    let states = [CampaignState::Paused, CampaignState::Running];
    for state in states {
        gate.project(Origin::New, state, OnePer::Campaign, &[always_open(1)]);
        all_tell_it(&mut gate);
    }
    all_tell_it(&mut gate);
    gate.revoke("a", None);
    all_tell_it(&mut gate);
}

#[test]
fn projecting_again_keeps_the_grants() {
    let mut gate = Gate::open(3);
    assert_eq!(gate.serial("a"), 1);
    gate.project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(3)],
    );
    assert_eq!(gate.serial("b"), 2);
    assert_eq!(gate.serial("a"), 1);

    gate.project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(2)],
    );
    assert!(matches!(gate.apply("c"), Decision::SoldOut { .. }));
    gate.project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(4)],
    );
    gate.end_grace_period();
    assert_eq!(gate.serial("c"), 3);
    assert_eq!(
        gate.try_project(
            Origin::Known,
            CampaignState::Running,
            OnePer::Campaign,
            &[always_open(2)]
        ),
        ProjectOutcome::QuotaBelowGranted {
            round: "once".parse().expect("a round id"),
            granted: 3
        }
    );
    assert_eq!(gate.serial("d"), 4, "a refused change changes nothing");
}

#[test]
fn a_lost_campaign_does_not_start_again() {
    let mut gate = Gate::open(3);
    assert_eq!(gate.serial("a"), 1);
    let keys = Keys::of(&gate.id).all();
    gate.redis.del(&keys[..]).expect("DEL");
    assert_eq!(gate.apply("b"), Decision::UnknownCampaign);
    assert_eq!(
        gate.try_project(
            Origin::Known,
            CampaignState::Running,
            OnePer::Campaign,
            &[always_open(3)]
        ),
        ProjectOutcome::UnknownCampaign
    );
    assert_eq!(gate.apply("b"), Decision::UnknownCampaign);
}

#[test]
fn a_status_distinguishes_holders_from_others() {
    let mut gate = Gate::open(1);
    assert_eq!(gate.status("a"), status::Status::NotFound);
    let Decision::Granted(grant) = gate.apply("a") else {
        panic!("not granted")
    };
    assert!(matches!(gate.apply("b"), Decision::SoldOut { .. }));
    assert_eq!(gate.status("a"), status::Status::Granted(grant));
    assert_eq!(gate.status("b"), status::Status::NotFound);
    let campaign = Keys::of(&gate.id).campaign();
    gate.redis.hset(campaign, "state", "halted").expect("HSET");
    assert!(matches!(gate.status("a"), status::Status::Granted(_)));
    assert_eq!(gate.status("b"), status::Status::Halted);
    assert_eq!(Gate::unknown().status("a"), status::Status::UnknownCampaign);
}

#[test]
fn an_overview_has_counts_and_window() {
    let mut gate = Gate::unknown();
    assert_eq!(gate.overview(), None);
    let now = gate.now();
    let current = round("day-1", Some(now - HOUR), Some(now + HOUR), 3);
    let next = round("day-2", Some(now + 2 * HOUR), None, 7);
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &[current.clone(), next.clone()],
    );
    gate.serial("a");
    gate.serial("b");
    let overview = gate.overview().expect("known");
    assert_eq!(overview.state, CampaignState::Running);
    let shown = overview.round.expect("an open round");
    assert_eq!((shown.granted, shown.remaining()), (2, 1));
    assert_eq!(shown.round, current);
    assert_eq!(overview.next, next.opens_at.map(|at| (next.id, at)));
    assert!(overview.now.get() >= now);
}

#[test]
fn an_overview_has_the_rules_that_applicants_have_to_know() {
    let mut gate = Gate::unknown();
    (gate.waitlist, gate.rules.self_cancel) = (7, true);
    for show_remaining in [ShowRemaining::Hidden, ShowRemaining::Exact] {
        gate.rules.show_remaining = show_remaining;
        gate.project(
            Origin::New,
            CampaignState::Running,
            OnePer::Round,
            &[round("once", None, None, 3)],
        );
        let expected = overview::Rules {
            one_per: OnePer::Round,
            waitlist: Waitlist::try_from(7).expect("a waitlist"),
            self_cancel: true,
            show_remaining,
        };
        assert_eq!(gate.overview().expect("known").rules, expected);
    }
}

#[test]
fn a_failed_write_leaves_no_counted_grant() {
    let mut gate = Gate::open(2);
    let stream = Keys::of(&gate.id).stream();
    gate.redis.set(&stream, "not a stream").expect("SET");
    let call = apply::call(&gate.id, &applicant("a"));
    gate.call(&call).expect_err("XADD on a string");
    assert_eq!(gate.status("a"), status::Status::NotFound);
    assert_eq!(
        gate.overview()
            .and_then(|o| o.round)
            .map(|round| round.granted),
        Some(0)
    );
    gate.redis.del(&stream).expect("DEL");
    assert_eq!(gate.serial("a"), 1);
    assert_eq!(gate.events().len(), 1);
}

#[test]
fn a_rush_over_many_connections_grants_each_serial_once() {
    const QUOTA: u32 = 50;
    const PEOPLE: u32 = 400;
    const CONNECTIONS: u32 = 16;
    let gate = Gate::open(QUOTA);
    let url = std::env::var("REDIS_URL").expect("set");
    let start = Barrier::new(CONNECTIONS as usize);
    let granted: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let rushes: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (id, url, start) = (&gate.id, &url, &start);
                scope.spawn(move || {
                    let mut redis = crate::support::connect(url);
                    start.wait();
                    let mut granted = Vec::new();
                    for person in (connection..PEOPLE).step_by(CONNECTIONS as usize) {
                        let call = apply::call(id, &applicant(&person.to_string()));
                        // Each applicant sends two requests.
                        for _ in 0..2 {
                            let reply = eval(&mut redis, &call).expect("apply");
                            match apply::decision(&reply).expect("its reply").decision {
                                Decision::Granted(grant) => {
                                    granted.push((person, grant.serial.get()))
                                }
                                Decision::AlreadyGranted(grant) => {
                                    assert_eq!(granted.last(), Some(&(person, grant.serial.get())));
                                }
                                Decision::SoldOut { .. } => {}
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                    granted
                })
            })
            .collect();
        rushes
            .into_iter()
            .flat_map(|rush| rush.join().expect("no panic"))
            .collect()
    });
    let serials: BTreeSet<u32> = granted.iter().map(|(_, serial)| *serial).collect();
    let people: BTreeSet<u32> = granted.iter().map(|(person, _)| *person).collect();
    assert_eq!(serials, (1..=QUOTA).collect());
    assert_eq!(
        (granted.len(), people.len()),
        (QUOTA as usize, QUOTA as usize)
    );
}

#[test]
fn a_call_with_the_wrong_number_of_keys_is_an_error() {
    let mut gate = Gate::open(1);
    let error = redis::cmd("EVAL")
        .arg(apply::SCRIPT.source())
        .arg(1)
        .arg(&[
            Keys::of(&gate.id).campaign(),
            "welcome".to_owned(),
            "a".to_owned(),
        ])
        .exec(&mut gate.redis)
        .expect_err("one key")
        .to_string();
    assert!(error.contains("takes 11 keys and 2 arguments"), "{error}");
}

#[test]
fn a_projection_is_read_back() {
    let mut gate = Gate::unknown();
    assert_eq!(gate.projection(), None);
    (gate.waitlist, gate.fence) = (7, 3.into());
    let at = |millis: i64| Some(millis.try_into().expect("an instant"));
    let (first, second) = (
        Round {
            closes_at: at(5),
            ..always_open(2)
        },
        Round {
            id: "later".parse().expect("a round"),
            opens_at: at(253_402_207_199_999),
            closes_at: None,
            quota: Quota::try_from(100_000_000_u32).expect("a quota"),
        },
    );
    let rounds = [second.clone(), first.clone()];
    let paused = CampaignState::Paused;
    gate.project(Origin::New, paused, OnePer::Round, &rounds);
    let projection = gate.projection().expect("known");
    assert_eq!((projection.state, projection.fence), (paused, 3.into()));
    let terms = projection.terms.expect("terms");
    assert_eq!((terms.one_per, terms.waitlist.get()), (OnePer::Round, 7));
    assert_eq!(projection.rounds, [(first, 0), (second, 0)]);

    let mut gate = Gate::open(2);
    gate.serial("a");
    let projection = gate.projection().expect("known");
    assert_eq!(projection.rounds, [(always_open(2), 1)]);
}

#[test]
fn the_sha_is_the_one_that_redis_computes() {
    fn check<const KEYS: usize>(gate: &mut Gate, name: &str, script: &Script<KEYS>) {
        let sha1: String = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(script.source())
            .query(&mut gate.redis)
            .expect(name);
        assert_eq!(sha1, script.sha1(), "{name}");
    }
    let gate = &mut Gate::unknown();
    check(gate, "apply", &apply::SCRIPT);
    check(gate, "balance", &rushgate_gate::balance::SCRIPT);
    check(gate, "cancel", &cancel::SCRIPT);
    check(gate, "confirm", &rushgate_gate::confirm::SCRIPT);
    check(gate, "overview", &overview::SCRIPT);
    check(gate, "project", &rushgate_gate::project::SCRIPT);
    check(gate, "projection", &rushgate_gate::projection::SCRIPT);
    check(gate, "readmit", &rushgate_gate::readmit::SCRIPT);
    check(gate, "redeem", &rushgate_gate::redeem::SCRIPT);
    check(gate, "refusal_cache", &rushgate_gate::refusal_cache::SCRIPT);
    check(gate, "resend", &rushgate_gate::resend::SCRIPT);
    check(gate, "restore", &rushgate_gate::restore::SCRIPT);
    check(gate, "revoke", &rushgate_gate::revoke::SCRIPT);
    check(gate, "status", &status::SCRIPT);
    assert_eq!(Eval::BySource.command(), "EVAL");
}
