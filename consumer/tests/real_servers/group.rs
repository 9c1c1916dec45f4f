//! Tests of several consumers in one consumer group, some of which are killed or paused.

use crate::Rig;
use crate::consumer::Consumer;
use crate::database::run;
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_come_and_go_write_every_row_once() {
    let rig = Rig::new(9_000, 6).await;
    let rate_limit = [("CONSUMER_MAX_ROWS_PER_SECOND", "800")];
    rig.topic.publish_grants(1..=3_000);
    let mut first = rig.consumer(&rate_limit);
    first
        .until_at_least("rushgate_consumer_inserted_total", 200.0)
        .await;
    let mut second = rig.consumer(&rate_limit);
    second
        .until_at_least("rushgate_consumer_partitions_assigned", 3.0)
        .await;
    rig.topic.publish_grants(3_001..=6_000);
    second
        .until_at_least("rushgate_consumer_inserted_total", 200.0)
        .await;
    first.stop().await;
    let third = rig.consumer(&rate_limit);
    third
        .until_at_least("rushgate_consumer_partitions_assigned", 3.0)
        .await;
    rig.topic.publish_grants(6_001..=9_000);
    third
        .until_at_least("rushgate_consumer_inserted_total", 200.0)
        .await;
    rig.topic.until_committed(9_000).await;
    rig.database.assert_exact(9_000).await;
    // The first consumer wrote and committed everything it had read before it gave partitions away.
    for (name, consumer) in [("second", &second), ("third", &third)] {
        let again = consumer
            .metric("rushgate_consumer_already_done_total")
            .await;
        assert_eq!(again, Some(0.0), "{name}");
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_in_the_middle_and_started_again_writes_every_row_once() {
    let rig = Rig::new(6_000, 3).await;
    rig.topic.publish_grants(1..=6_000);
    let mut rows = 0.0;
    for _ in 0..3 {
        let mut consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "1500")]);
        consumer
            .until_at_least("rushgate_consumer_inserted_total", 300.0)
            .await;
        rows += 300.0;
        consumer.kill();
        assert!(rig.topic.committed() <= rig.database.active().await);
    }
    assert!(rig.database.active().await as f64 >= rows);
    let mut last = rig.consumer(&[]);
    rig.topic.until_committed(6_000).await;
    rig.database.assert_exact(6_000).await;
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_a_database_keeps_polling_and_lets_others_join() {
    let rig = Rig::new(5_000, 4).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    run(&mut holder, "SELECT quota FROM rounds FOR UPDATE").await;
    // More than it can hold, so that it stops reading.
    rig.topic.publish_grants(1..=5_000);
    let mut stuck = rig.consumer(&[]);
    until("it pauses fetching", async || {
        stuck.log().contains("fetching paused")
    })
    .await;
    let mut second = rig.consumer(&[]);
    second
        .until_at_least("rushgate_consumer_partitions_assigned", 2.0)
        .await;
    until("the first has given two away", async || {
        stuck.metric("rushgate_consumer_partitions_assigned").await == Some(2.0)
    })
    .await;
    run(&mut holder, "ROLLBACK").await;
    rig.topic.until_committed(5_000).await;
    rig.database.assert_exact(5_000).await;
    stuck.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_paused_past_its_session_breaks_nothing() {
    let rig = Rig::new(4_000, 2).await;
    rig.topic.publish_grants(1..=4_000);
    let mut sleeper = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "500")]);
    sleeper
        .until_at_least("rushgate_consumer_inserted_total", 200.0)
        .await;
    sleeper.signal(Signal::SIGSTOP);
    let rows = rig.database.active().await;
    assert!(rows < 4_000, "it was paused too late to show anything");
    let assignments = |sleeper: &Consumer| sleeper.log().matches("partitions assigned").count();
    let before = assignments(&sleeper);
    let mut next = rig.consumer(&[]);
    rig.topic.until_committed(4_000).await;
    sleeper.signal(Signal::SIGCONT);
    until("it has joined again", async || {
        assignments(&sleeper) > before
    })
    .await;
    rig.topic.publish("granted", 4_000, "u4000"); // redelivered
    rig.topic.until_committed(4_001).await;
    rig.database.assert_exact(4_000).await;
    next.stop().await;
    sleeper.stop().await;
}
