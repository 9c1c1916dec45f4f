//! Tests Redis without free memory: it writes no part of a grant, but it still marks committed grants as issued.

use crate::support::{Gate, always_open, applicant};
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignState, Decision, OnePer, apply, confirm, redeem};
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;

/// A Redis server for one test, because the test would disturb others.
struct Server {
    redis: Redis,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let redis = Redis::on_socket(directory.path());
        Self {
            _process: redis.start(&[]).expect("Redis"),
            _directory: directory,
            redis,
        }
    }

    fn url(&self) -> String {
        self.redis.url()
    }
}

fn set(redis: &mut redis::Connection, setting: &str, value: &str) {
    redis::cmd("CONFIG")
        .arg("SET")
        .arg(setting)
        .arg(value)
        .exec(redis)
        .expect("CONFIG SET");
}

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

    let mut admin = crate::support::connect(&server.url());
    set(&mut admin, "maxmemory-policy", "noeviction");
    set(&mut admin, "maxmemory", "1");
    let error = gate
        .call(&apply::call(&gate.id, &applicant("b")))
        .expect_err("no memory");
    assert!(error.to_string().contains("OOM"), "{error}");
    assert!(matches!(gate.apply("a"), Decision::AlreadyGranted(_)));

    set(&mut admin, "maxmemory", "0");
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
    let mut admin = crate::support::connect(&server.url());
    set(&mut admin, "maxmemory-policy", "noeviction");
    set(&mut admin, "maxmemory", "1");
    let confirmed = confirm::ConfirmOutcome::Confirmed { issued: 1 };
    assert_eq!(gate.confirm("once", 1, "a"), confirmed);
    let again = confirm::ConfirmOutcome::Confirmed { issued: 0 };
    assert_eq!(gate.confirm("once", 1, "a"), again);
    assert!(matches!(
        gate.redeem("once", 1, "a"),
        redeem::RedeemOutcome::Redeemed { .. }
    ));
}
