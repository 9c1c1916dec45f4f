//! Starts everything in containers, breaks it, and checks after each fault that all services are healthy again and that
//! each coupon was given out exactly once. At the end nothing is left on the engine.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, outside #[test] functions"
)]

mod compose;
mod world;

use compose::{Kill, compose, docker, everything, healthy, inspect, run, rushgate, services, up};
use std::time::Instant;
use world::World;

/// The services that a request passes. While one of them is frozen, no application is decided.
const IN_FRONT: [&str; 3] = ["edge", "handler", "redis"];

/// The steps of this test, with their times.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, step: &str) {
        eprintln!("{:>7.1} s  {step}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: `cargo xtask test --images` runs it"]
async fn containers() {
    let before = everything().await;
    let mut steps = Steps(Instant::now());
    up().await;
    steps.done("up");
    let world = World::connect().await;
    rushgate(&["campaign", "create", "--id=welcome", "--quota=100"]).await;
    assert_eq!(world.applies("welcome", "42").await, 201);
    assert_eq!(world.applies("welcome", "42").await, 200);
    world.rush("rush", async || {}).await;
    steps.done("rush");

    let first = world.give_a_half("lost").await;
    let data = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}}{{end}}{{end}}";
    let volume = inspect("redis", data).await;
    compose(&["rm", "--stop", "--force", "redis"]).await;
    docker(&["volume", "rm", &volume]).await;
    compose(&["up", "--detach", "--wait", "--no-deps", "redis"]).await;
    rushgate(&["setup"]).await;
    for campaign in ["welcome", "rush", "lost"] {
        rushgate(&["restore", campaign]).await;
        rushgate(&["audit", campaign]).await;
    }
    healthy().await;
    world.give_the_rest("lost", first).await;
    steps.done("the Redis volume lost and restored");

    for service in services().await {
        let kill = Kill::of(&service).await;
        let starts = inspect(&service, "{{.RestartCount}}").await;
        world
            .rush(&format!("killed-{service}"), async || kill.now().await)
            .await;
        assert_ne!(inspect(&service, "{{.RestartCount}}").await, starts);
        steps.done(&format!("{service} killed"));
    }
    for service in services().await {
        let campaign = format!("frozen-{service}");
        let freeze = async || {
            compose(&["pause", &service]).await;
            if IN_FRONT.contains(&service.as_str()) {
                world.is_not_ready().await;
            } else {
                world.has_granted_everything(&campaign).await;
            }
            compose(&["unpause", &service]).await;
        };
        world.rush(&campaign, freeze).await;
        steps.done(&format!("{service} frozen"));
    }

    match std::env::var("RUSHGATE_ENGINE_SCRIPT") {
        Ok(engine) => {
            run(&engine, &["stop"]).await.expect("stopped");
            run(&engine, &["start"]).await.expect("started");
            healthy().await;
            world.rush("engine-restarted", async || {}).await;
            steps.done("the engine restarted");
        }
        Err(_) => steps.done("the engine is not ours: not restarted"),
    }

    compose(&["down"]).await;
    up().await;
    let world = World::connect().await;
    assert_eq!(world.applies("welcome", "42").await, 200);
    world.rush("up-again", async || {}).await;
    steps.done("down, and up again on the old volumes");

    compose(&["down", "--volumes"]).await;
    let left: Vec<_> = everything().await.difference(&before).cloned().collect();
    assert_eq!(left, Vec::<String>::new(), "left on the engine");
    steps.done("down with the volumes: nothing is left");
}
