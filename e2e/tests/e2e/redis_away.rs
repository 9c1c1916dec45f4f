//! Tests the handler while Redis is down, hangs, has restarted, is full, or has lost data or scripts.

use futures::future::join_all;
use reqwest::{Client, Response};
use rushgate_e2e::system::System;
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::{DEADLINE, until};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::time::timeout;

async fn apply(system: &System, user_id: u32) -> Response {
    Client::new()
        .post(format!(
            "{}/v1/campaigns/welcome/applications",
            system.url()
        ))
        .header("content-type", "application/json")
        .body(format!(r#"{{"user_id":{user_id}}}"#))
        .send()
        .await
        .expect("an answer")
}

async fn assert_unavailable(response: Response) {
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let problem: serde_json::Value =
        serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
    assert_eq!(problem["code"], "gate_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_died_is_503_until_it_is_back_and_knows_its_winners() {
    let mut system = System::welcome().await;
    assert_eq!(apply(&system, 1).await.status(), 201);

    system.crash_redis();
    let response = timeout(DEADLINE, apply(&system, 2)).await;
    assert_unavailable(response.expect("it does not wait for Redis")).await;
    let ready = reqwest::get(format!("{}/readyz", system.url()))
        .await
        .expect("an answer");
    assert_unavailable(ready).await;
    let health = reqwest::get(format!("{}/healthz", system.url()))
        .await
        .expect("an answer");
    assert_eq!(health.status(), 200);

    system.start_redis();
    let response = apply(&system, 1).await;
    assert_eq!(response.status(), 200, "acknowledged, so it is still there");
    assert_eq!(response.headers()["rushgate-serial"], "1");
    let response = apply(&system, 2).await;
    assert_eq!(response.headers()["rushgate-serial"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_503_for_all_who_wait() {
    let system = System::welcome().await;
    assert_eq!(apply(&system, 1).await.status(), 201);

    system.redis().signal(Signal::SIGSTOP).expect("a signal");
    let answers: Vec<_> = (2..34).map(|user_id| apply(&system, user_id)).collect();
    for answer in join_all(answers).await {
        assert_unavailable(answer).await;
    }
    system.redis().signal(Signal::SIGCONT).expect("a signal");
    until("it answers again", async || {
        (apply(&system, 1).await.status() == 200).then_some(())
    })
    .await;
}

/// POST and GET of an application, and GET of the campaign: status and code, or the campaign's state.
async fn told(system: &System, campaign: &str, user_id: &str) -> [String; 3] {
    let url = format!("{}/v1/campaigns/{campaign}", system.url());
    let client = Client::new();
    let post = client
        .post(format!("{url}/applications"))
        .header("content-type", "application/json")
        .body(format!(r#"{{"user_id":"{user_id}"}}"#));
    let application = client.get(format!("{url}/applications/{user_id}"));
    let answers = [post, application, client.get(&url)].map(async |request| {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let may_wait = response.headers().contains_key("retry-after");
        let body: Value = response.json().await.expect("JSON");
        // An application that may still change says when to ask again.
        assert!(may_wait || status != 503, "{body}");
        let word = ["code", "decision", "state"].map(|field| body[field].as_str());
        let word = word.into_iter().flatten().next().expect("a word");
        format!("{status} {word}")
    });
    join_all(answers).await.try_into().expect("three")
}

/// Waits until all three return this: answers are cached for a moment.
async fn is_told(system: &System, campaign: &str, user_id: &str, expected: [&str; 3]) {
    until(&format!("{campaign}: {expected:?}"), async || {
        let told = told(system, campaign, user_id).await;
        (told == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_that_lost_something_does_not_know_is_503_and_not_404() {
    let system = System::welcome().await;
    system.operator.create("other", 10).await.expect("created");
    assert_eq!(apply(&system, 1).await.status(), 201);
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut does = async |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut redis).await.expect(words[0]);
    };
    let unknown = ["404 campaign_not_found"; 3];
    let incomplete = ["503 books_incomplete"; 3];
    is_told(&system, "nope", "1", unknown).await;

    // Redis has lost a grant, and then the campaign is halted for it.
    does(&["HDEL", "rushgate:{welcome}:grants", "1"]).await;
    does(&["HSET", "rushgate:{welcome}:campaign", "state", "halted"]).await;
    let halted = ["503 halted", "503 halted", "200 halted"];
    is_told(&system, "welcome", "1", halted).await;

    // One campaign beside others.
    does(&[
        "DEL",
        "rushgate:{welcome}:campaign",
        "rushgate:{welcome}:grants",
    ])
    .await;
    is_told(&system, "welcome", "1", incomplete).await;
    is_told(&system, "nope", "1", unknown).await;
    // An earlier version ran `setup`, and has left no mark.
    does(&["DEL", rushgate_gate::keys::SET_UP]).await;
    is_told(&system, "nope", "1", unknown).await;

    // All keys.
    does(&["FLUSHALL"]).await;
    for campaign in ["welcome", "other", "nope"] {
        is_told(&system, campaign, "1", incomplete).await;
    }
    let list = reqwest::get(format!("{}/v1/campaigns", system.url())).await;
    assert_eq!(list.expect("an answer").status(), 503);
    // Set up again, as at every start of the stack; or another campaign is created: the lost ones stay lost.
    system.operator.create("third", 10).await.expect("created");
    is_told(&system, "nope", "1", unknown).await;
    is_told(&system, "welcome", "1", incomplete).await;
    does(&["FLUSHALL"]).await;
    system.operator.run(&["setup"]).await.expect("set up");
    is_told(&system, "nope", "1", unknown).await;
    for campaign in ["welcome", "other"] {
        is_told(&system, campaign, "1", incomplete).await;
    }
    // Only the set of campaigns: an unknown campaign may have been in it.
    does(&["DEL", rushgate_gate::keys::CAMPAIGNS]).await;
    for campaign in ["welcome", "other", "nope"] {
        is_told(&system, campaign, "1", incomplete).await;
    }
    system.operator.run(&["setup"]).await.expect("set up");
    is_told(&system, "nope", "1", unknown).await;
    // The effect of the first confirmation.
    does(&["HSET", "rushgate:{welcome}:campaign", "state", "halted"]).await;
    is_told(&system, "welcome", "1", halted).await;
    let found = system.operator.run(&["coupon", "find", "1"]).await;
    let found = found.expect("an answer");
    for line in [
        "campaign welcome: unknown to the gate: Redis has lost grants",
        "campaign other: the gate does not know this campaign",
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_scripts_are_sent_again() {
    let system = System::welcome().await;
    let mut redis = system.redis_connection().await.expect("Redis");
    for user_id in 1..=3 {
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut redis)
            .await
            .expect("SCRIPT FLUSH");
        assert_eq!(apply(&system, user_id).await.status(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_503_and_its_winners_still_learn_that_they_won() {
    let system = System::welcome().await;
    assert_eq!(apply(&system, 1).await.status(), 201);
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut config = async |value: &str| {
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory")
            .arg(value)
            .exec_async(&mut redis)
            .await
            .expect("CONFIG SET");
    };
    config("1").await;
    assert_unavailable(apply(&system, 2).await).await;
    assert_eq!(apply(&system, 1).await.status(), 200);
    config("0").await;
    assert_eq!(apply(&system, 2).await.headers()["rushgate-serial"], "2");
}

/// Scripts that Redis has run, and connections that it has accepted, since it started.
async fn effort(system: &System) -> (u64, u64) {
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut info = async |section: &str, field: &str| {
        let info: redis::InfoDict = redis::cmd("INFO")
            .arg(section)
            .query_async(&mut redis)
            .await
            .expect("INFO");
        info.get::<String>(field).unwrap_or_default()
    };
    let calls = info("commandstats", "cmdstat_evalsha").await;
    let calls = calls
        .strip_prefix("calls=")
        .and_then(|rest| rest.split(',').next());
    let connections = info("stats", "total_connections_received").await;
    (
        calls.unwrap_or("0").parse().expect("a number"),
        connections.parse().expect("a number"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_redis_replies_with_is_handed_on_and_nothing_is_called_again() {
    const PEOPLE: u64 = 60;
    let system = System::welcome().await;
    assert_eq!(apply(&system, 1).await.status(), 201);
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut full = redis::cmd("CONFIG");
    full.arg("SET").arg("maxmemory").arg("1");
    full.exec_async(&mut redis).await.expect("CONFIG SET");

    let before = effort(&system).await;
    let mut waits = BTreeSet::new();
    for user_id in 0..PEOPLE {
        let response = apply(&system, 100 + user_id as u32).await;
        let wait = response.headers()["retry-after"]
            .to_str()
            .expect("a number");
        waits.insert(wait.to_owned());
        assert_unavailable(response).await;
    }
    let after = effort(&system).await;
    let (scripts, connections) = (after.0 - before.0, after.1 - before.1);
    // A new instance of the component opens a new connection, and this test asks as well.
    assert!(
        scripts <= PEOPLE && connections < PEOPLE / 4,
        "{PEOPLE} requests: {scripts} scripts and {connections} connections"
    );
    // Requests that were refused together do not come back together.
    assert!(
        waits.len() > 1,
        "all were told to come back after {waits:?}"
    );
}
