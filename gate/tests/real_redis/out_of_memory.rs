//! Tests Redis without free memory: it writes no part of a grant, but it still marks committed grants as issued.

use crate::support::{Gate, Server, always_open, applicant};
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignState, Decision, OnePer, apply, confirm, redeem};

#[test]
fn a_full_redis_refuses_the_whole_grant_and_still_answers_winners() {
    let server = Server::start();
    let mut gate = Gate::on(&server.url());
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(5)],
    );
    assert_eq!(gate.serial("a"), 1);

    server.set("maxmemory-policy", "noeviction");
    server.set("maxmemory", "1");
    let error = gate
        .call(&apply::call(&gate.id, &applicant("b")))
        .expect_err("no memory");
    assert!(error.to_string().contains("OOM"), "{error}");
    assert!(matches!(gate.apply("a"), Decision::AlreadyGranted(_)));

    server.set("maxmemory", "0");
    assert_eq!(
        gate.serial("b"),
        2,
        "the refused application counted for nothing"
    );
    assert_eq!(gate.events().len(), 2);
}

#[test]
fn a_full_redis_still_takes_a_confirmation() {
    let server = Server::start();
    let mut gate = Gate::on(&server.url());
    gate.project(
        Origin::New,
        CampaignState::Running,
        OnePer::Campaign,
        &[always_open(5)],
    );
    assert_eq!(gate.serial("a"), 1);
    server.set("maxmemory-policy", "noeviction");
    server.set("maxmemory", "1");
    let confirmed = confirm::ConfirmOutcome::Confirmed { issued: 1 };
    assert_eq!(gate.confirm("once", 1, "a"), confirmed);
    let again = confirm::ConfirmOutcome::Confirmed { issued: 0 };
    assert_eq!(gate.confirm("once", 1, "a"), again);
    assert!(matches!(
        gate.redeem("once", 1, "a"),
        redeem::RedeemOutcome::Redeemed { .. }
    ));
}
