//! Tests the way of grants from the request to the row, with one of each program and with two of each.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rushgate_e2e::check::Expected;
use rushgate_e2e::rush;
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Process;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_of_thousands_gives_each_coupon_once() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system
        .operator
        .create("launch", 100)
        .await
        .expect("created");
    let outcome = rush::run(&system.rush("launch", 3_000), || ())
        .await
        .expect("a rush");
    assert_eq!(outcome.history.granted, 100);
    assert!(outcome.history.sold_out > 0 && outcome.history.rejected > 0);
    let expected = Expected::once(100, 3_000);
    assert_eq!(system.check(&expected, "launch", &outcome).await, vec![]);
    system.drained("launch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_are_as_exact_as_one() {
    let mut system = System::start(Size::TWO_OF_EACH).await;
    system
        .operator
        .create("launch", 500)
        .await
        .expect("created");
    let outcome = rush::run(&system.rush("launch", 2_000), || ())
        .await
        .expect("a rush");
    let expected = Expected::once(500, 2_000);
    assert_eq!(system.check(&expected, "launch", &outcome).await, vec![]);
    system.drained("launch").await;

    // Each program ends with 0 after SIGTERM.
    let parts = system.bridges.drain(..).chain(system.consumers.drain(..));
    let codes: Vec<_> = parts.map(Process::terminate).collect();
    assert_eq!(codes, [Some(0); 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_not_reached_leaves_the_rest() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("quiet", 50).await.expect("created");
    let outcome = rush::run(&system.rush("quiet", 20), || ())
        .await
        .expect("a rush");
    assert_eq!((outcome.history.granted, outcome.history.sold_out), (20, 0));
    let expected = Expected::once(50, 20);
    assert_eq!(system.check(&expected, "quiet", &outcome).await, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_are_eight_bytes_and_become_rows_too() {
    let long = [("KAFKA_VALUE_FORMAT", "long")];
    let mut system = System::start_with(Size::ONE_OF_EACH, &long).await;
    let create = ["campaign", "create", "--id", "spring", "--quota", "5"];
    let numeric = [&create[..], &["--user-ids", "numeric"]].concat();
    system.operator.run(&numeric).await.expect("created");
    // In a campaign without restrictions on user ids, every grant waits for a bridge that can publish it.
    system.operator.create("anybody", 1).await.expect("created");
    let client = reqwest::Client::new();
    let anna = client
        .post(format!(
            "{}/v1/campaigns/anybody/applications",
            system.url()
        ))
        .header("content-type", "application/json")
        .body(r#"{"user_id":"anna"}"#);
    assert_eq!(anna.send().await.expect("an answer").status(), 201);
    let anna = client
        .post(format!("{}/v1/campaigns/spring/applications", system.url()))
        .header("content-type", "application/json")
        .body(r#"{"user_id":"anna"}"#);
    let refused = anna.send().await.expect("an answer");
    assert_eq!(refused.status(), 422);
    let problem: serde_json::Value = refused.json().await.expect("a problem");
    assert_eq!(problem["code"], "user_id_not_numeric");
    assert_eq!(problem["field"], "user_id");
    for user_id in [7_i64, i64::MAX] {
        let response = client
            .post(format!("{}/v1/campaigns/spring/applications", system.url()))
            .header("content-type", "application/json")
            .body(format!(r#"{{"user_id":{user_id}}}"#))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 201, "{user_id}");
    }
    let topic = system.topic().to_owned();
    let records = tokio::task::spawn_blocking(move || records(&topic, 2))
        .await
        .expect("records");
    for record in &records {
        let key = str::from_utf8(record.key().expect("a key")).expect("a text");
        let user_id = match key {
            "spring/once/1" => 7,
            "spring/once/2" => i64::MAX,
            other => panic!("{other}"),
        };
        assert_eq!(record.payload(), Some(&i64::to_be_bytes(user_id)[..]));
        let headers = record.headers().expect("headers");
        let id = headers
            .iter()
            .find(|header| header.key == "ce_id")
            .and_then(|header| header.value);
        assert_eq!(id, Some(format!("{key}/coupon.granted").as_bytes()));
    }
    rushgate_testbed::wait::until("both have rows", async || {
        let rows = system.database.rows("spring").await.expect("the database");
        let held: Vec<_> = rows
            .iter()
            .map(|row| (row.place.serial, row.user_id.as_str()))
            .collect();
        (held == [(1, "7"), (2, "9223372036854775807")]).then_some(())
    })
    .await;

    let shown = system.operator.json(&["campaign", "show", "anybody"]).await;
    let shown = shown.expect("shown").remove(0);
    for (what, expected) in [("in_stream", 1), ("bridge_dead_letters", 0)] {
        assert_eq!(shown[what], expected, "{what}: {shown}");
    }
    let log = system.bridges[0].log();
    assert_eq!(
        log.matches("the stream of this campaign is not read")
            .count(),
        1,
        "{log}"
    );
    assert!(log.contains("campaign=anybody"), "{log}");

    assert_eq!(system.bridges.remove(0).terminate(), Some(0));
    system.set("KAFKA_VALUE_FORMAT", "json");
    system.start_bridge().await;
    rushgate_testbed::wait::until("anna has her row", async || {
        let rows = system.database.rows("anybody").await.expect("the database");
        (rows.len() == 1 && rows[0].user_id == "anna").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_say_everything_twice() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    for _ in 0..2 {
        system.operator.run(&["setup"]).await.expect("setup");
        system
            .operator
            .create("welcome", 10)
            .await
            .expect("created");
    }
    let error = system
        .operator
        .create("welcome", 11)
        .await
        .expect_err("other terms")
        .to_string();
    assert!(
        error.contains("exists with other terms (quota 10"),
        "{error}"
    );
    let error = system
        .operator
        .run(&["campaign", "show", "nope"])
        .await
        .expect_err("unknown")
        .to_string();
    assert!(error.contains("there is no campaign nope"), "{error}");
    let list = system
        .operator
        .json(&["campaign", "list"])
        .await
        .expect("a list");
    let names: Vec<_> = list.iter().map(|listed| &listed["campaign"]).collect();
    assert_eq!(names, ["welcome"]);

    // A gate that has lost its winners is not started again from nothing.
    let mut redis = system.redis_connection().await.expect("Redis");
    redis::cmd("FLUSHALL")
        .exec_async(&mut redis)
        .await
        .expect("FLUSHALL");
    let error = system
        .operator
        .create("welcome", 10)
        .await
        .expect_err("lost")
        .to_string();
    assert!(error.contains("Redis has lost campaign welcome"), "{error}");
}

/// The first `count` records of `topic`.
fn records(topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server("KAFKA_BROKERS"))
        .set("group.id", format!("{topic}-reader"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut records = Vec::new();
    while records.len() < count {
        assert!(
            Instant::now() < deadline,
            "only {} records came",
            records.len()
        );
        // After an error, librdkafka goes on by itself.
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            records.push(record.detach());
        }
    }
    records
}
