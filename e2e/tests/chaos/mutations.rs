//! Tests the checker: known bugs are planted in the running system, one at a time, and the checker must report each of
//! them.
//!
//! The running system repairs the effects of some bugs before the checker can see them. The model (`tests/model/`)
//! finds those bugs.

use crate::component::{Component, Link};
use crate::coupon_mutations;
use crate::episode::{REST, at_rest};
use crate::load::{Crowd, Load};
use crate::sabotage::{forged, publish};
use crate::test_servers::TestServers;
use crate::world::World;
use redis::aio::MultiplexedConnection;
use rushgate_e2e::check::{Expected, breaches};
use rushgate_e2e::history::{Call, History, Place, Reply};
use rushgate_gate::script::Eval;
use rushgate_gate::{Keys, apply};
use rushgate_testbed::process::Signal;
use rushgate_testbed::proxy::Trouble;
use rushgate_testbed::wait::until;
use std::time::{Duration, Instant};

/// How long everything may take to come to rest, if the bug allows that.
const REST_WITH_A_BUG: Duration = Duration::from_secs(20);

/// How many applicants come before the fault, and during it.
const APPLICANTS: u32 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// No bug: the fault that exposes the others is harmless by itself.
    None,
    /// The bridge acks before the delivery report.
    AckBeforeReport,
    /// The consumer commits offsets before the transaction.
    OffsetsBeforeCommit,
    /// The consumer uses INSERT IGNORE.
    InsertIgnore,
    /// The consumer treats grants as confirmed without asking the gate.
    ConfirmBlindly,
    /// The gate trims the stream.
    Maxlen,
    /// The quota is checked before the script.
    QuotaOutside,
    /// The gate counts before it checks for an existing grant.
    DuplicateAfterCount,
}

/// Each bug, and what the checker must report: one of these.
const CAUGHT: [(Bug, &[&str]); 7] = [
    (Bug::AckBeforeReport, &["C3"]),
    // The rows of a batch are missing, or, if the database still got its COMMIT, they are never confirmed.
    (
        Bug::OffsetsBeforeCommit,
        &["C3", "the gate does not know that it is committed"],
    ),
    (Bug::InsertIgnore, &["C5"]),
    (Bug::ConfirmBlindly, &["C4"]),
    (Bug::Maxlen, &["C3"]),
    (Bug::QuotaOutside, &["C1"]),
    (Bug::DuplicateAfterCount, &["was due and has no row"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_bug_is_caught() {
    let mut world = World::start(TestServers::take().await, false).await;
    for provoke in [Bug::AckBeforeReport, Bug::OffsetsBeforeCommit, Bug::Maxlen] {
        let found = play(&mut world, Bug::None, provoke).await;
        assert_eq!(
            found,
            Vec::<String>::new(),
            "without a bug, provoked as {provoke:?}"
        );
    }
    for (bug, says) in CAUGHT {
        let found = play(&mut world, bug, bug).await;
        let mut breaches = found.iter();
        let caught = breaches.find(|breach| says.iter().any(|text| breach.contains(text)));
        let caught = caught
            .unwrap_or_else(|| panic!("{bug:?} is not caught: wanted {says:?}, found {found:#?}"));
        eprintln!("mutation {bug:?}: caught, {caught}");
    }
    coupon_mutations::every_bug_is_caught(&mut world).await;
}

/// Plants the bug, causes the fault that exposes it, and removes the bug. Returns the checker's report.
async fn play(world: &mut World, bug: Bug, provoke: Bug) -> Vec<String> {
    const QUOTA: u32 = 5_000;
    let planted = if bug == Bug::None { "no-" } else { "" };
    let campaign = format!("{planted}{provoke:?}-{}", std::process::id()).to_lowercase();
    world
        .operator
        .create(&campaign, QUOTA)
        .await
        .expect("created");
    world.plant(bug.failpoint()).await;
    let (expected, history) = match provoke {
        Bug::Maxlen | Bug::QuotaOutside | Bug::DuplicateAfterCount => {
            drive_the_gate(world, &campaign, bug).await
        }
        _ => drive_the_parts(world, &campaign, QUOTA, provoke).await,
    };
    world.heal().await;
    let rest = match bug {
        Bug::None => REST,
        _ => REST_WITH_A_BUG,
    };
    let evidence = at_rest(world, &campaign, None, rest).await;
    world.plant(None).await;
    let found = breaches(&expected, &history, &evidence);
    found.iter().map(ToString::to_string).collect()
}

/// Applicants apply over HTTP while a fault happens.
async fn drive_the_parts(
    world: &mut World,
    campaign: &str,
    quota: u32,
    provoke: Bug,
) -> (Expected, History) {
    let load = Load::begin(world.urls(), campaign, 1, Crowd::USUAL);
    let more_have_come = async || {
        let people = load.people();
        let enough = people.count() + APPLICANTS;
        until("more applicants have come", async || {
            people.count() >= enough
        })
        .await;
    };
    more_have_come().await;
    let mut dead_letters = 0;
    match provoke {
        Bug::AckBeforeReport => {
            world.link(Link::Kafka).set(Trouble::Hang);
            more_have_come().await;
            [Component::Bridge(1), Component::Bridge(2)]
                .into_iter()
                .for_each(|bridge| world.kill(bridge));
            // What the network held back is lost too, or reaches Kafka after all.
            world.link(Link::Kafka).reset();
        }
        Bug::OffsetsBeforeCommit => {
            world.link(Link::ConsumerDatabase).set(Trouble::Hang);
            more_have_come().await;
            [Component::Consumer(1), Component::Consumer(2)]
                .into_iter()
                .for_each(|consumer| world.kill(consumer));
            world.link(Link::ConsumerDatabase).reset();
        }
        Bug::InsertIgnore => {
            until("the first coupon is granted", async || {
                let rows = world.database.rows(campaign).await.ok()?;
                rows.iter().any(|row| row.place.serial == 1).then_some(())
            })
            .await;
            let event = forged(campaign, 1);
            let value = serde_json::to_vec(&event).expect("JSON");
            publish(world, &event.key().to_string(), &value).await;
            dead_letters = 1;
        }
        _ => {}
    }
    world.heal().await;
    let people = load.people();
    let history = load.end().await;
    let expected = Expected {
        dead_letters: (dead_letters, 0),
        ..Expected::once(quota, people.count())
    };
    (expected, history)
}

/// Applicants apply at the gate itself, with a script that has the bug.
async fn drive_the_gate(world: &World, campaign: &str, bug: Bug) -> (Expected, History) {
    const QUOTA: u32 = 40;
    const PEOPLE: u32 = 100;
    let quota = QUOTA.to_string();
    let change = ["campaign", "change", campaign, "--quota", &quota];
    world.operator.run(&change).await.expect("changed");
    let bridges = [Component::Bridge(1), Component::Bridge(2)];
    for bridge in bridges {
        world.signal(bridge, Signal::SIGSTOP);
    }
    let script = bug.script();
    let mut redis = world.redis_connection().await.expect("Redis");
    let mut history = History::default();
    // With the quota outside the script, all applicants check it before any of them is granted a place.
    let was_left = has_left(&mut redis, campaign).await;
    for person in 0..PEOPLE {
        // Every applicant clicks twice.
        for _ in 0..2 {
            let began = Instant::now();
            let reply = match was_left {
                true => decide(&mut redis, &script, campaign, person).await,
                false => Reply::SoldOut,
            };
            let (user_id, ended) = (format!("user-{person}"), Instant::now());
            history.note(Call {
                user_id,
                began,
                ended,
                reply,
            });
        }
    }
    for bridge in bridges {
        world.signal(bridge, Signal::SIGCONT);
    }
    (Expected::once(QUOTA, PEOPLE), history)
}

/// Whether the gate has a coupon left.
async fn has_left(redis: &mut MultiplexedConnection, campaign: &str) -> bool {
    let rounds = Keys::of(&campaign.parse().expect("a campaign")).rounds();
    let mut command = redis::cmd("HMGET");
    command.arg(rounds).arg("once/granted").arg("once/quota");
    let (granted, quota): (u32, u32) = command.query_async(redis).await.expect("a round");
    granted < quota
}

async fn decide(
    redis: &mut MultiplexedConnection,
    script: &str,
    campaign: &str,
    person: u32,
) -> Reply {
    let applicant = format!("user-{person}").parse().expect("an applicant");
    let call = apply::call(&campaign.parse().expect("a campaign"), &applicant);
    let mut command = redis::cmd("EVAL");
    command.arg(script);
    // The mutated script takes the place of the real one.
    for argument in call.arguments(Eval::BySource).skip(1) {
        command.arg(argument);
    }
    let (decision, round, serial, ..): (String, String, u32, i64, i64, String, i64) =
        command.query_async(redis).await.expect("a decision");
    match decision.as_str() {
        "granted" => Reply::Granted(Place::new(&round, serial)),
        "already_granted" => Reply::AlreadyGranted(Place::new(&round, serial)),
        "sold_out" => Reply::SoldOut,
        other => Reply::Unexplained(other.to_owned()),
    }
}

impl Bug {
    /// The failpoint of the bug in bridge or consumer.
    fn failpoint(self) -> Option<&'static str> {
        match self {
            Self::AckBeforeReport => Some("bug::ack_before_report"),
            Self::OffsetsBeforeCommit => Some("bug::offsets_before_commit"),
            Self::InsertIgnore => Some("bug::insert_ignore"),
            Self::ConfirmBlindly => Some("bug::confirm_blindly"),
            _ => None,
        }
    }

    /// `apply.lua` with the bug.
    fn script(self) -> String {
        let source = apply::SCRIPT.source();
        let (right, wrong) = match self {
            Self::Maxlen => ("stream, '*'", "stream, 'MAXLEN', 1, '*'"),
            Self::QuotaOutside => ("(free > 0 or granted < quota)", "true"),
            Self::DuplicateAfterCount => (
                "if held then\n",
                "if held then\n  redis.call('HINCRBY', KEYS[3], round .. '/granted', 1)\n",
            ),
            _ => return source.to_owned(),
        };
        assert!(
            source.contains(right),
            "{self:?} has no place in apply.lua any more: {right}"
        );
        source.replace(right, wrong)
    }
}
