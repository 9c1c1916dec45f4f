//! Tests that a gate that is rebuilt from the database has exactly the grants that it had before.

use crate::support::{Gate, always_open, applicant};
use proptest::prelude::*;
use rushgate_gate::balance::{self, Miscount};
use rushgate_gate::project::{Origin, ProjectOutcome as Projected};
use rushgate_gate::redeem::RedeemOutcome;
use rushgate_gate::restore::{self, Granted, RestoreOutcome, Standing, Step};
use rushgate_gate::{
    Call, CampaignState, Codes, Event, EventType, Keys, OnePer, Ordinal, RoundId, confirm, resend,
    revoke, status,
};
use std::collections::BTreeMap;

const QUOTA: u32 = 4;

/// The rows that a database would have after these events.
fn granted(events: &[Event]) -> Vec<Granted> {
    let mut granted: Vec<Granted> = vec![];
    for event in events {
        match event.event_type {
            EventType::Granted => granted.push(Granted {
                applicant: event.applicant.clone(),
                round: event.round.clone(),
                serial: event.serial,
                turn: event.turn,
                win: event.win,
                at: event.at,
                standing: Standing::Issued,
                code_number: event.code_number,
            }),
            EventType::Revoked => {
                for grant in &mut granted {
                    if grant.applicant == event.applicant && grant.round == event.round {
                        grant.standing = Standing::Revoked(event.at);
                    }
                }
            }
        }
    }
    granted
}

impl Gate {
    fn halt(&mut self, one_per: OnePer) -> Projected {
        self.try_project(
            Origin::New,
            CampaignState::Halted,
            one_per,
            &[always_open(QUOTA)],
        )
    }

    fn restore_calls(&self, one_per: OnePer, granted: &[Granted]) -> Vec<Call> {
        let taken = granted.iter().filter_map(|grant| grant.code_number).max();
        let taken = taken.map_or(0, Ordinal::get);
        let steps = restore::steps(one_per, granted, taken).into_iter();
        steps.map(|step| step.call(&self.id, self.fence)).collect()
    }

    fn restore(&mut self, one_per: OnePer, granted: &[Granted]) {
        for call in self.restore_calls(one_per, granted) {
            let reply = self.call(&call).expect("restore");
            assert_eq!(
                restore::outcome(&reply),
                Ok(RestoreOutcome::Done),
                "{call:?}"
            );
        }
    }

    fn reassign(&mut self, user_id: &str) -> RestoreOutcome {
        let step = Step::Reassign {
            round: RoundId::once(),
            applicant: applicant(user_id),
        };
        let call = step.call(&self.id, self.fence);
        restore::outcome(&self.call(&call).expect("reassign")).expect("its reply")
    }

    fn end_halt(&mut self, one_per: OnePer) {
        self.project(
            Origin::Restored,
            CampaignState::Running,
            one_per,
            &[always_open(QUOTA)],
        );
    }

    /// All keys but the stream, the codes and the campaign, of which it has the counter of codes; without counters that
    /// are 0.
    fn snapshot(&mut self) -> BTreeMap<String, String> {
        let keys = Keys::of(&self.id);
        let taken: Option<String> = redis::cmd("HGET")
            .arg(keys.campaign())
            .arg("codes_taken")
            .query(&mut self.redis)
            .expect("HGET");
        let taken = taken.map(|taken| ("codes_taken".to_owned(), taken));
        let mut knowledge: BTreeMap<String, String> = taken.into_iter().collect();
        for key in [keys.rounds(), keys.grants(), keys.revoked(), keys.waiting()] {
            let fields: Vec<(String, String)> = redis::cmd("HGETALL")
                .arg(&key)
                .query(&mut self.redis)
                .expect("HGETALL");
            knowledge.extend(fields.into_iter().filter(|(_, value)| value != "0").map(
                |(field, value)| match key == keys.waiting() {
                    // The time of joining the waitlist cannot be restored.
                    true => (
                        format!("{key} {field}"),
                        value.split('/').next().unwrap_or_default().to_owned(),
                    ),
                    false => (format!("{key} {field}"), value),
                },
            ));
        }
        for key in [keys.pool(), keys.waitlist()] {
            let members: Vec<String> = redis::cmd("ZRANGE")
                .arg(&key)
                .arg(0)
                .arg(-1)
                .query(&mut self.redis)
                .expect("ZRANGE");
            knowledge.extend(
                members
                    .into_iter()
                    .map(|member| (format!("{key} {member}"), String::new())),
            );
        }
        knowledge
    }

    fn miscounts(&mut self) -> Vec<Miscount> {
        let reply = self.call(&balance::call(&self.id)).expect("balance");
        balance::miscounts(&reply).expect("its reply")
    }

    /// Confirms all held grants.
    fn confirm_all(&mut self, granted: &[Granted]) {
        for grant in granted {
            let outcome = self.confirm(
                grant.round.as_str(),
                grant.serial.get(),
                grant.applicant.as_str(),
            );
            let is_confirmed = matches!(outcome, confirm::ConfirmOutcome::Confirmed { .. });
            assert!(is_confirmed, "{grant:?}: {outcome:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_gate_equals_the_lost_one(
        one_per in prop_oneof![Just(OnePer::Campaign), Just(OnePer::Round)],
        moves in prop::collection::vec((0u8..4, 0u8..7), 0..30), waitlist in 0u32..3, lost in 0usize..6,
        codes in prop_oneof![Just(Codes::None), Just(Codes::Pool)],
    ) {
        let mut gate = Gate::unknown();
        gate.waitlist = waitlist;
        gate.rules.codes = codes;
        gate.project(Origin::New, CampaignState::Running, one_per, &[always_open(QUOTA)]);
        let mut redeemed = BTreeMap::new();
        for (what, person) in moves {
            match what {
                0 => { gate.revoke(&person.to_string(), None); }
                1 => if let status::Status::Granted(grant) = gate.status(&person.to_string()) {
                    let outcome = gate.redeem("once", grant.serial.get(), &person.to_string());
                    let RedeemOutcome::Redeemed { redeemed_at } = outcome else { panic!("{outcome:?}") };
                    redeemed.insert(applicant(&person.to_string()), redeemed_at);
                },
                _ => { gate.apply(&person.to_string()); }
            }
        }
        let mut granted = granted(&gate.events());
        for grant in &mut granted {
            if let Some(at) = redeemed.get(&grant.applicant) {
                grant.standing = Standing::Redeemed(*at);
            }
        }
        gate.confirm_all(&granted);
        let mut before = gate.snapshot();
        prop_assert_eq!(gate.miscounts(), []);
        let keys = Keys::of(&gate.id);
        let lost: &[String] = &match lost {
            0 => vec![],
            1 => keys.all().into(),
            2 => vec![keys.waitlist()],
            3 => vec![keys.waiting()],
            4 => vec![keys.pool()],
            _ => vec![keys.revoked()],
        };
        if lost.len() > 1 {
            // The waitlist cannot be restored.
            before.retain(|field, _| !["waiting", "waitlist", "tickets"].iter().any(|word| field.contains(word)));
        }
        if !lost.is_empty() {
            let removed: u32 = redis::cmd("DEL").arg(lost).query(&mut gate.redis).expect("DEL");
            if lost.len() == 1 {
                prop_assert_eq!(gate.miscounts().is_empty(), removed == 0);
            }
        }
        let halted = gate.halt(one_per);
        prop_assert!(matches!(halted, Projected::Projected { .. }), "{:?}", halted);
        gate.restore(one_per, &granted);
        prop_assert_eq!(gate.miscounts(), []);
        prop_assert_eq!(gate.snapshot(), before);
        // A second time, as after an attempt that was interrupted.
        gate.restore(one_per, &granted);
        gate.end_halt(one_per);
        for grant in granted.iter().filter(|grant| !matches!(grant.standing, Standing::Revoked(_))) {
            prop_assert_eq!(gate.serial(grant.applicant.as_str()), grant.serial.get());
        }
    }
}

#[test]
fn reassign_grants_a_serial_before_the_waitlist() {
    let mut gate = Gate::open(QUOTA);
    for user_id in ["1", "2"] {
        gate.serial(user_id);
    }
    let granted = granted(&gate.events());
    assert_eq!(gate.reassign("3"), RestoreOutcome::NotHalted);
    gate.halt(OnePer::Campaign);
    gate.restore(OnePer::Campaign, &granted);
    assert!(matches!(gate.reassign("3"), RestoreOutcome::Reassigned(serial) if serial.get() == 3));
    assert!(matches!(gate.reassign("3"), RestoreOutcome::Holds(serial) if serial.get() == 3));
    assert!(matches!(gate.reassign("4"), RestoreOutcome::Reassigned(serial) if serial.get() == 4));
    assert_eq!(gate.reassign("5"), RestoreOutcome::Full);
    gate.end_halt(OnePer::Campaign);
    assert_eq!(gate.serial("3"), 3);
    let last = gate.events().pop().expect("its event");
    assert_eq!((last.serial.get(), last.applicant.as_str()), (4, "4"));
}

#[test]
fn the_one_per_rule_cannot_change_after_a_grant() {
    let mut gate = Gate::open(QUOTA);
    let rounds = [always_open(QUOTA)];
    let (known, running) = (Origin::Known, CampaignState::Running);
    gate.project(known, running, OnePer::Round, &rounds);
    gate.project(known, running, OnePer::Campaign, &rounds);
    gate.serial("1");
    let outcome = gate.try_project(known, running, OnePer::Round, &rounds);
    let rule = OnePer::Campaign;
    assert_eq!(outcome, Projected::OtherOnePer { rule });
    // Even after all grants are revoked, because the number of grants of an applicant still counts.
    gate.revoke("1", None);
    let outcome = gate.try_project(known, running, OnePer::Round, &rounds);
    assert_eq!(outcome, Projected::OtherOnePer { rule });
    gate.project(known, running, OnePer::Campaign, &rounds);
}

#[test]
fn a_projection_does_not_end_a_halt() {
    let mut gate = Gate::open(QUOTA);
    gate.halt(OnePer::Campaign);
    let rounds = [always_open(QUOTA)];
    let outcome = gate.try_project(
        Origin::Known,
        CampaignState::Running,
        OnePer::Campaign,
        &rounds,
    );
    assert_eq!(outcome, Projected::Halted);
    assert_eq!(gate.apply("1"), rushgate_gate::Decision::Halted);
}

#[test]
fn a_superseded_command_changes_nothing() {
    let mut gate = Gate::open(QUOTA);
    let granted = granted(&gate.events());
    (gate.fence, gate.waitlist) = (2.into(), 7);
    gate.halt(OnePer::Campaign);
    let before = gate.projection();

    gate.fence = 1.into();
    for (origin, state) in [
        (Origin::New, CampaignState::Halted),
        (Origin::Known, CampaignState::Running),
        (Origin::Restored, CampaignState::Running),
    ] {
        let rounds = [always_open(QUOTA + 1)];
        let outcome = gate.try_project(origin, state, OnePer::Campaign, &rounds);
        assert_eq!(outcome, Projected::Superseded, "{origin:?}");
    }
    for call in gate.restore_calls(OnePer::Campaign, &granted) {
        let outcome = restore::outcome(&gate.call(&call).expect("restore"));
        assert_eq!(outcome, Ok(RestoreOutcome::Superseded), "{call:?}");
    }
    assert_eq!(gate.reassign("9"), RestoreOutcome::Superseded);
    assert_eq!(gate.projection(), before);

    gate.fence = 3.into();
    gate.end_halt(OnePer::Campaign);
    assert_eq!(
        gate.projection().map(|projection| projection.fence),
        Some(3.into())
    );
}

#[test]
fn a_wiped_campaign_that_is_confirmed_is_halted_and_no_longer_unknown() {
    let mut gate = Gate::open(QUOTA);
    gate.serial("1");
    redis::cmd("DEL")
        .arg(&Keys::of(&gate.id).all())
        .exec(&mut gate.redis)
        .expect("DEL");
    assert_eq!(
        gate.confirm("once", 1, "1"),
        confirm::ConfirmOutcome::UnknownCampaign
    );
    assert_eq!(gate.apply("2"), rushgate_gate::Decision::Halted);
    for user_id in ["1", "2"] {
        assert_eq!(gate.status(user_id), status::Status::Halted, "{user_id}");
    }
}

#[test]
fn a_revoked_row_of_a_held_grant_halts_the_campaign() {
    let mut gate = Gate::open(QUOTA);
    for user_id in ["1", "2"] {
        gate.serial(user_id);
    }
    assert!(matches!(
        gate.revoke("1", None),
        revoke::RevokeOutcome::Revoked { .. }
    ));
    let (round, applicants) = (RoundId::once(), [applicant("1"), applicant("2")]);
    let row = |serial: u32| confirm::Row {
        round: &round,
        serial: serial.try_into().expect("a serial"),
        applicant: &applicants[serial as usize - 1],
        is_revoked: true,
    };
    assert_eq!(
        gate.confirm_rows([row(1)]),
        confirm::ConfirmOutcome::Confirmed { issued: 0 }
    );
    assert_eq!(
        gate.confirm_rows([row(2)]),
        confirm::ConfirmOutcome::Lost { grants: 1 }
    );
    assert_eq!(gate.apply("3"), rushgate_gate::Decision::Halted);
}

#[test]
fn the_last_event_can_be_sent_again() {
    let mut gate = Gate::open(QUOTA);
    for user_id in ["1", "2"] {
        gate.serial(user_id);
    }
    assert!(matches!(
        gate.revoke("1", None),
        revoke::RevokeOutcome::Revoked { .. }
    ));
    // The third applicant now holds the serial of the first, with turn 2.
    gate.serial("3");
    let before = gate.events();
    for (user_id, expected) in [
        ("1", "revoked"),
        ("2", "granted"),
        ("3", "granted"),
        ("4", "nothing"),
    ] {
        let call = resend::call(&gate.id.clone(), &RoundId::once(), &applicant(user_id));
        let outcome = resend::outcome(&gate.call(&call).expect("resend")).expect("its reply");
        let word = match outcome {
            resend::ResendOutcome::Granted(_) => "granted",
            resend::ResendOutcome::Revoked(_) => "revoked",
            resend::ResendOutcome::Nothing => "nothing",
        };
        assert_eq!(word, expected, "{user_id}");
    }
    let again = gate.events().split_off(before.len());
    let first = |user_id: &str, event_type| {
        let wanted =
            |event: &&Event| event.applicant.as_str() == user_id && event.event_type == event_type;
        before.iter().find(wanted).cloned().expect("an event")
    };
    assert_eq!(
        again,
        [
            first("1", EventType::Revoked),
            first("2", EventType::Granted),
            first("3", EventType::Granted)
        ]
    );
    assert_eq!(again[2].turn.get(), 2);
}
