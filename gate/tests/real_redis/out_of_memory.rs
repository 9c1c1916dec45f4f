//! Tests Redis without free memory: it writes no part of a grant, but it still marks committed grants as issued.

use crate::support::{Gate, always_open, applicant};
use rushgate_gate::project::Origin;
use rushgate_gate::{CampaignState, Decision, OnePer, apply, confirm};
use std::process::{Child, Command, Stdio};

/// A Redis server for one test, because the test would disturb others.
struct Server {
    process: Child,
    directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "redis.sock",
                "--dir",
            ])
            .arg(directory.path())
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not installed: run `cargo xtask test`");
        let server = Self { process, directory };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while redis::Client::open(server.url())
            .and_then(|client| client.get_connection())
            .is_err()
        {
            assert!(
                std::time::Instant::now() < deadline,
                "redis-server does not start"
            );
            std::thread::yield_now();
        }
        server
    }

    fn url(&self) -> String {
        format!(
            "redis+unix://{}",
            self.directory.path().join("redis.sock").display()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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
}
