//! Tests revocations, waitlists, confirmations, and the exact times at which windows open and close.

use crate::support::{Gate, applicant, connect, eval, round};
use redis::TypedCommands;
use rushgate_gate::project::{Origin, ProjectOutcome};
use rushgate_gate::{
    CampaignState, Codes, Decision, EventType, Keys, OnePer, PromoteUntil, RoundId, Serial,
    ShowRemaining, Terms, apply, cancel::CancelOutcome, confirm, redeem::RedeemOutcome, revoke,
    status,
};
use std::collections::BTreeSet;
use std::sync::Barrier;

const HOUR: i64 = 3_600_000;

/// A running campaign with a waitlist and one round that is always open.
fn with_waitlist(quota: u32, waitlist: u32) -> Gate {
    let mut gate = Gate::unknown();
    gate.waitlist = waitlist;
    let rounds = [round("once", None, None, quota)];
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &rounds,
    );
    gate
}

fn position(decision: &Decision) -> u32 {
    match decision {
        Decision::Waitlisted(waiting) => waiting.position,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_serial_goes_to_the_head_of_the_waitlist_in_the_same_call() {
    let mut gate = with_waitlist(2, 2);
    for user_id in ["a", "b"] {
        gate.serial(user_id);
    }
    assert_eq!(position(&gate.apply("c")), 1);
    assert_eq!(position(&gate.apply("d")), 2);
    assert!(matches!(gate.apply("e"), Decision::SoldOut { .. }));

    let revoke::RevokeOutcome::Revoked { grant, promoted } = gate.revoke("a", None) else {
        panic!("not revoked")
    };
    assert_eq!((grant.serial.get(), promoted), (1, Some(applicant("c"))));
    assert_eq!(gate.serial("c"), 1);
    assert_eq!(position(&gate.apply("d")), 1);
    gate.end_grace_period();
    assert_eq!(position(&gate.apply("e")), 2);
    assert!(matches!(gate.apply("a"), Decision::Revoked { .. }));
    assert!(
        matches!(gate.status("a"), status::Status::Revoked { grant, .. } if grant.serial.get() == 1)
    );
    assert!(matches!(
        gate.revoke("a", None),
        revoke::RevokeOutcome::AlreadyRevoked { .. }
    ));

    let story: Vec<_> = gate
        .events()
        .into_iter()
        .map(|event| {
            (
                event.event_type,
                event.serial.get(),
                event.turn.get(),
                event.applicant.to_string(),
            )
        })
        .collect();
    let event =
        |event_type, serial, turn, user_id: &str| (event_type, serial, turn, user_id.to_owned());
    assert_eq!(
        story,
        [
            event(EventType::Granted, 1, 1, "a"),
            event(EventType::Granted, 2, 1, "b"),
            event(EventType::Revoked, 1, 1, "a"),
            event(EventType::Granted, 1, 2, "c"),
        ]
    );
}

#[test]
fn without_a_waitlist_the_next_applicant_gets_the_lowest_freed_serial() {
    let mut gate = with_waitlist(3, 0);
    for user_id in ["a", "b", "c"] {
        gate.serial(user_id);
    }
    gate.revoke("b", None);
    gate.revoke("a", None);
    gate.end_grace_period();
    assert_eq!((gate.serial("d"), gate.serial("e")), (1, 2));
    assert!(matches!(gate.apply("f"), Decision::SoldOut { .. }));
}

#[test]
fn waiting_applicants_are_promoted_when_the_quota_grows() {
    let mut gate = with_waitlist(1, 5);
    gate.serial("a");
    for user_id in ["b", "c", "d"] {
        gate.apply(user_id);
    }
    let grown = [round("once", None, None, 3)];
    let outcome = gate.try_project(
        Origin::Known,
        CampaignState::Paused,
        OnePer::Campaign,
        &grown,
    );
    assert_eq!(outcome, ProjectOutcome::Projected { promoted: 2 });
    let serial = |status| match status {
        status::Status::Granted(grant) => grant.serial.get(),
        other => panic!("{other:?}"),
    };
    assert_eq!((serial(gate.status("b")), serial(gate.status("c"))), (2, 3));
    assert!(
        matches!(gate.status("d"), status::Status::Waitlisted(waiting) if waiting.position == 1)
    );
}

#[test]
fn a_grant_that_redis_lost_halts_the_campaign() {
    let mut gate = with_waitlist(5, 0);
    let serial = gate.serial("a");
    let issued = |issued| confirm::ConfirmOutcome::Confirmed { issued };
    assert_eq!(gate.confirm("once", serial, "a"), issued(1));
    assert_eq!(gate.confirm("once", serial, "a"), issued(0));
    assert!(matches!(gate.status("a"), status::Status::Issued { .. }));

    // A revoked grant is not a lost grant.
    let revoked = gate.serial("b");
    gate.revoke("b", None);
    assert_eq!(gate.confirm("once", revoked, "b"), issued(0));

    let lost = gate.serial("c");
    let grants = Keys::of(&gate.id).grants();
    gate.redis.hdel(grants, "c").expect("HDEL");
    assert_eq!(
        gate.confirm("once", lost, "c"),
        confirm::ConfirmOutcome::Lost { grants: 1 }
    );
    assert_eq!(gate.apply("d"), Decision::Halted);
    assert_eq!(gate.revoke("a", None), revoke::RevokeOutcome::Halted);
    let rounds = [round("once", None, None, 9)];
    let outcome = gate.try_project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &rounds,
    );
    assert_eq!(outcome, ProjectOutcome::Halted);
}

#[test]
fn a_halted_or_unknown_campaign_cancels_and_redeems_nothing() {
    let mut gate = with_waitlist(1, 1);
    let serial = gate.serial("a");
    gate.apply("b");
    assert_eq!(gate.cancel("a", Some("other")), CancelOutcome::UnknownRound);
    assert_eq!(gate.redeem("once", serial, "b"), RedeemOutcome::NotGranted);
    assert_eq!(gate.redeem("once", 9, "a"), RedeemOutcome::NotGranted);
    gate.revoke("a", None);
    assert_eq!(gate.redeem("once", serial, "a"), RedeemOutcome::Revoked);
    let rounds = [round("once", None, None, 1)];
    let halted = CampaignState::Halted;
    gate.project(Origin::Known, halted, OnePer::Campaign, &rounds);
    assert_eq!(gate.cancel("b", None), CancelOutcome::Halted);
    assert_eq!(gate.redeem("once", serial, "b"), RedeemOutcome::Halted);
    let mut unknown = Gate::unknown();
    assert_eq!(unknown.cancel("a", None), CancelOutcome::UnknownCampaign);
    assert_eq!(
        unknown.redeem("once", 1, "a"),
        RedeemOutcome::UnknownCampaign
    );
}

#[test]
fn a_rule_that_a_campaign_does_not_have_is_not_stored() {
    let mut gate = with_waitlist(1, 1);
    let rounds = [round("once", None, None, 1)];
    let fields = |gate: &mut Gate| -> [Option<String>; 4] {
        let campaign = Keys::of(&gate.id).campaign();
        ["codes", "self_cancel", "promote_until", "show_remaining"]
            .map(|rule| gate.redis.hget(&campaign, rule).expect("HGET"))
    };
    let stored = |values: [&str; 4]| values.map(|value| Some(value.to_owned()));
    let all = Terms {
        codes: Codes::Signed("00c0ffee".parse().expect("a fingerprint")),
        self_cancel: true,
        promote_until: PromoteUntil::Closes,
        show_remaining: ShowRemaining::Rough,
        ..Terms::default()
    };
    // `Terms::default` is what a campaign of an older version has.
    for (rules, expected) in [
        (Terms::default(), [None, None, None, None]),
        (all, stored(["signed/00c0ffee", "1", "closes", "rough"])),
        (Terms::default(), [None, None, None, None]),
    ] {
        gate.rules = rules;
        gate.project(
            Origin::Known,
            CampaignState::Running,
            OnePer::Campaign,
            &rounds,
        );
        assert_eq!(fields(&mut gate), expected);
        let terms = gate.projection().and_then(|projection| projection.terms);
        let terms = terms.expect("its terms");
        assert_eq!(
            (terms.codes, terms.self_cancel, terms.promote_until),
            (rules.codes, rules.self_cancel, rules.promote_until)
        );
    }
}

#[test]
fn one_call_confirms_many_grants_each_once_and_in_its_round() {
    let mut gate = Gate::unknown();
    let (now, running) = (gate.now(), CampaignState::Running);
    let rounds = |turn_of_day| {
        [
            round("first", Some(now - HOUR), Some(turn_of_day), 5),
            round("second", Some(turn_of_day), Some(now + 2 * HOUR), 5),
        ]
    };
    gate.project(Origin::New, running, OnePer::Round, &rounds(now + HOUR));
    let first = ["a", "b"].map(|user_id| ("first", gate.serial(user_id), user_id));
    let mut grants = first.to_vec();
    gate.project(Origin::Known, running, OnePer::Round, &rounds(now));
    gate.end_grace_period();
    grants.push(("second", gate.serial("a"), "a"));
    grants.push(grants[0]);
    let issued = |issued| confirm::ConfirmOutcome::Confirmed { issued };
    assert_eq!(gate.confirm_many(&grants), issued(3));
    let second = gate.overview().and_then(|overview| overview.round);
    assert_eq!(second.map(|round| round.issued), Some(1));
    assert_eq!(gate.confirm_many(&grants), issued(0));

    // A lost grant does not prevent the marks of the others.
    grants.push(("second", gate.serial("c"), "c"));
    let held = Keys::of(&gate.id).grants();
    gate.redis.hdel(held, "first/b").expect("HDEL");
    let lost = confirm::ConfirmOutcome::Lost { grants: 1 };
    assert_eq!(gate.confirm_many(&grants), lost);
    assert!(matches!(
        gate.status_in("c", Some("second")),
        status::Status::Issued { .. }
    ),);
}

#[test]
fn a_grant_with_another_serial_than_the_committed_one_is_a_loss() {
    let mut gate = with_waitlist(5, 0);
    let serial = gate.serial("a");
    assert_eq!(
        gate.confirm("once", serial + 1, "a"),
        confirm::ConfirmOutcome::Lost { grants: 1 }
    );
}

#[test]
fn a_campaign_that_redis_lost_is_unknown_once_and_then_halted() {
    let mut gate = Gate::unknown();
    assert_eq!(
        gate.revoke("a", None),
        revoke::RevokeOutcome::UnknownCampaign
    );
    assert_eq!(
        gate.confirm("once", 1, "a"),
        confirm::ConfirmOutcome::UnknownCampaign
    );
    assert_eq!(gate.revoke("a", None), revoke::RevokeOutcome::Halted);
}

#[test]
fn a_round_with_grants_cannot_be_removed() {
    let mut gate = Gate::unknown();
    let now = gate.now();
    let running = CampaignState::Running;
    let first = round("day-1", Some(now - HOUR), Some(now + HOUR), 5);
    let second = round("day-2", Some(now + HOUR), Some(now + 2 * HOUR), 5);
    let both = [first.clone(), second.clone()];
    gate.project(Origin::New, running, OnePer::Round, &both);
    gate.serial("a");
    gate.project(Origin::Known, running, OnePer::Round, &both[..1]);
    assert_eq!(gate.overview().expect("known").next, None);
    let outcome = gate.try_project(Origin::Known, running, OnePer::Round, &[second]);
    let expected = "day-1".parse().expect("an id");
    assert_eq!(outcome, ProjectOutcome::RoundHasGrants { round: expected });
}

/// By the clock of Redis, the first millisecond of a window grants, and the first one after it does not. Applications
/// are sent without a pause across opening and closing, and each decision must match its time. The test opens windows
/// until an application has hit one of the four milliseconds next to these times, because a busy machine can miss them.
#[test]
fn windows_open_and_close_at_the_exact_millisecond() {
    const ATTEMPTS: usize = 1_000;
    let mut at_the_edge = false;
    for _ in 0..ATTEMPTS {
        if at_the_edge {
            return;
        }
        let mut gate = Gate::unknown();
        let opens_at = gate.now() + 50;
        let closes_at = opens_at + 50;
        let rounds = [round("once", Some(opens_at), Some(closes_at), 1_000_000)];
        gate.project(
            Origin::New,
            CampaignState::Running,
            OnePer::Campaign,
            &rounds,
        );
        for person in 0.. {
            let call = apply::call(&gate.id, &applicant(&person.to_string()));
            let answer = apply::decision(&gate.call(&call).expect("apply")).expect("its reply");
            let now = answer.now.get();
            let edges = [opens_at - 1, opens_at, closes_at - 1, closes_at];
            at_the_edge |= edges.contains(&now);
            let decided = match answer.decision {
                Decision::NotOpen { .. } => 0,
                Decision::Granted(_) => 1,
                Decision::Closed => 2,
                other => panic!("{other:?}"),
            };
            assert_eq!(
                decided,
                i32::from(now >= opens_at) + i32::from(now >= closes_at),
                "at {now}, the window is {opens_at}..{closes_at}"
            );
            if now > closes_at + 5 {
                break;
            }
        }
    }
    assert!(at_the_edge, "no application has hit a window's edge");
}

#[test]
fn a_rush_with_revocations_never_exceeds_the_quota() {
    const QUOTA: u32 = 20;
    // No more than are granted in any case.
    const REVOCATIONS: usize = 20;
    let mut gate = with_waitlist(QUOTA, 10);
    let id = gate.id.clone();
    let url = std::env::var("REDIS_URL").expect("REDIS_URL");
    let barrier = Barrier::new(5);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (id, url, barrier) = (&id, &url, &barrier);
            scope.spawn(move || {
                let mut redis = connect(url);
                barrier.wait();
                for person in 0..100 {
                    let user_id = format!("{thread}.{person}");
                    eval(&mut redis, &apply::call(id, &applicant(&user_id))).expect("apply");
                }
            });
        }
        barrier.wait();
        let mut revoked = BTreeSet::new();
        while revoked.len() < REVOCATIONS {
            let grants = gate.events().into_iter().rev();
            let mut user_ids = grants.map(|event| event.applicant.to_string());
            let Some(user_id) = user_ids.find(|user_id| !revoked.contains(user_id)) else {
                continue;
            };
            let outcome = gate.revoke(&user_id, None);
            assert!(
                matches!(outcome, revoke::RevokeOutcome::Revoked { .. }),
                "{user_id}: {outcome:?}"
            );
            revoked.insert(user_id);
            let round = gate
                .overview()
                .and_then(|overview| overview.round)
                .expect("open");
            assert!(round.granted <= QUOTA, "{round:?}");
        }
    });
    // A serial freed after the last application is granted to the next applicant, after the grace period.
    gate.end_grace_period();
    let mut late = 0;
    while !matches!(
        gate.apply(&format!("late.{late}")),
        Decision::SoldOut { .. }
    ) {
        late += 1;
    }
    let round = gate
        .overview()
        .and_then(|overview| overview.round)
        .expect("open");
    assert_eq!((round.granted, round.waitlisted), (QUOTA, 10));
}

/// The key of the counters has a wrong type: the grant is not marked, and is counted once when it is confirmed again.
#[test]
fn a_confirmation_that_fails_marks_nothing() {
    let mut gate = Gate::open(2);
    gate.serial("a");
    let rounds = Keys::of(&gate.id).rounds();
    let away = format!("{rounds}:away");
    let _: () = gate.redis.rename(&rounds, &away).expect("RENAME");
    let _: () = gate.redis.set(&rounds, "no hash").expect("SET");
    let (round, applicant) = (RoundId::once(), applicant("a"));
    let row = confirm::Row {
        round: &round,
        serial: Serial::try_from(1u32).expect("a serial"),
        applicant: &applicant,
        is_revoked: false,
    };
    let call = confirm::call(&gate.id, [row]);
    let error = gate.call(&call).expect_err("no hash");
    assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
    let _: () = gate.redis.rename(&away, &rounds).expect("RENAME");
    let confirmed = confirm::ConfirmOutcome::Confirmed { issued: 1 };
    assert_eq!(gate.confirm("once", 1, "a"), confirmed);
}
