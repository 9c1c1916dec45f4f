//! Tests pool codes: each grant takes the next one, and no code belongs to two grants.

use crate::support::{Gate, always_open, applicant};
use redis::Commands;
use rushgate_gate::load_codes::{CodeCounts, LoadOutcome};
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignState, Codes, Decision, GrantCode, Keys, OnePer, apply, status};

/// A running campaign with pool codes, none of which is loaded, and a waitlist of five.
fn with_pool(quota: u32) -> Gate {
    let mut gate = Gate::unknown();
    (gate.waitlist, gate.rules.codes) = (5, Codes::Pool);
    let rounds = [always_open(quota)];
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &rounds,
    );
    gate
}

impl Gate {
    /// The code that the gate tells this applicant; `None` if it is not loaded.
    fn code(&mut self, user_id: &str) -> Option<String> {
        let told = match self.apply(user_id) {
            Decision::Granted(grant) | Decision::AlreadyGranted(grant) => grant.code,
            other => panic!("{user_id}: {other:?}"),
        };
        let (status::Status::Granted(grant) | status::Status::Issued { grant, .. }) =
            self.status(user_id)
        else {
            panic!("{user_id} has no grant")
        };
        assert_eq!(grant.code, told, "{user_id}");
        let GrantCode::Pool(code) = told else {
            panic!("{told:?}")
        };
        code.map(|code| code.as_str().to_owned())
    }

    fn counts(&mut self) -> CodeCounts {
        match self.try_load(1, 1, &[]) {
            LoadOutcome::Done(counts) => counts,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_code_is_told_once_it_is_loaded_and_stays_with_its_grant() {
    let mut gate = with_pool(4);
    assert_eq!(gate.code("a"), None);
    gate.load(&["Tree-1", "tree 2"]);
    assert_eq!(gate.code("a").as_deref(), Some("Tree-1"));
    assert_eq!(gate.code("b").as_deref(), Some("tree 2"));
    assert_eq!(gate.code("c"), None);
    gate.confirm("once", 1, "a");
    gate.redeem("once", 2, "b");
    // Longer codes: the first ones are written again, in wider cells.
    let wide = ["Tree-1", "tree 2", "TREE-THREE", "4444"];
    let counts = |loaded, taken| CodeCounts { loaded, taken };
    assert_eq!(
        gate.try_load(10, 3, &wide[2..]),
        LoadOutcome::Gap(counts(0, 3))
    );
    assert_eq!(gate.code("a").as_deref(), Some("Tree-1"));
    assert_eq!(
        gate.try_load(10, 1, &wide[..1]),
        LoadOutcome::Done(counts(1, 3))
    );
    assert_eq!(gate.code("b"), None);
    assert_eq!(
        gate.try_load(10, 2, &wide[1..]),
        LoadOutcome::Done(counts(4, 3))
    );
    assert_eq!(gate.try_load(6, 1, &wide[..1]), LoadOutcome::Narrow(10));
    // Again, as after an interruption.
    assert_eq!(gate.try_load(10, 1, &wide), LoadOutcome::Done(counts(4, 3)));
    for (user_id, code) in ["a", "b", "c", "d"].into_iter().zip(wide) {
        assert_eq!(gate.code(user_id).as_deref(), Some(code), "{user_id}");
    }
    assert_eq!(gate.counts(), counts(4, 4));
    let numbers = gate.events().into_iter();
    let numbers: Vec<_> = numbers
        .map(|event| event.code_number.map(|n| n.get()))
        .collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
}

#[test]
fn the_next_holder_of_a_serial_takes_another_code() {
    let mut gate = with_pool(1);
    gate.load(&["1111", "2222", "3333", "4444", "5555"]);
    assert_eq!(gate.code("a").as_deref(), Some("1111"));
    for user_id in ["b", "c", "d", "e"] {
        gate.apply(user_id);
    }
    gate.revoke("a", None);
    assert_eq!(gate.code("b").as_deref(), Some("2222"));
    gate.rules.self_cancel = true;
    let project = |gate: &mut Gate, quota| {
        let rounds = [always_open(quota)];
        let running = CampaignState::Running;
        gate.project(Origin::Known, running, OnePer::Campaign, &rounds);
    };
    project(&mut gate, 1);
    gate.cancel("b", None);
    assert_eq!(gate.code("c").as_deref(), Some("3333"));
    project(&mut gate, 2);
    assert_eq!(gate.code("d").as_deref(), Some("4444"));
    assert_eq!(gate.code("c").as_deref(), Some("3333"));
    assert_eq!(gate.counts().taken, 4);
    let first = gate
        .events()
        .into_iter()
        .filter(|event| event.applicant.as_str() == "a");
    let first: Vec<_> = first
        .map(|event| event.code_number.map(|n| n.get()))
        .collect();
    assert_eq!(
        first,
        [Some(1), Some(1)],
        "the revocation names the code of its grant"
    );
}

#[test]
fn without_readable_codes_nothing_is_granted_and_a_part_of_a_code_is_no_code() {
    let mut gate = with_pool(2);
    gate.load(&["1111", "2222"]);
    let codes = Keys::of(&gate.id).codes();
    let _: () = gate.redis.del(&codes).expect("DEL");
    let _: () = gate.redis.lpush(&codes, "odd").expect("LPUSH");
    let apply = apply::call(&gate.id, &applicant("a"));
    let error = gate.call(&apply).expect_err("a wrong type");
    assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
    assert_eq!(gate.events(), []);
    let _: () = gate.redis.del(&codes).expect("DEL");
    assert_eq!(gate.code("a"), None);
    let _: () = gate.redis.set(&codes, "1111222").expect("SET");
    assert_eq!(gate.code("a").as_deref(), Some("1111"));
    assert_eq!(gate.code("b"), None);
    let mut unknown = Gate::unknown();
    let outcome = unknown.try_load(4, 1, &["1111"]);
    assert_eq!(outcome, LoadOutcome::UnknownCampaign);
}
