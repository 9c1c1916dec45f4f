//! Tests of normal operation: inserts, redeliveries, revocations, limits and shutdown.

use crate::confirm::Gate;
use crate::topic::TestRecord;
use crate::{ONLY_FULL_BATCHES, Rig};
use rushgate_testbed::process::Signal;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn grants_become_rows_and_offsets_are_committed() {
    let rig = Rig::new(1_000, 3).await;
    let mut consumer = rig.consumer(&[]);
    consumer.until_ready().await;
    rig.topic.publish_grants(1..=1_000);
    rig.topic.until_committed(1_000).await;
    rig.database.assert_exact(1_000).await;
    let as_granted = "SELECT COUNT(*) FROM coupons WHERE granted_at = '2026-12-01 01:00:00.123' AND quota = 1000 \
        AND person_scope = '' AND ABS(TIMESTAMPDIFF(SECOND, issued_at, UTC_TIMESTAMP(3))) < 300";
    assert_eq!(rig.database.number(as_granted).await, 1_000);
    assert_eq!(
        consumer.metric("rushgate_consumer_inserted_total").await,
        Some(1_000.0)
    );
    assert_eq!(
        consumer
            .metric("rushgate_consumer_already_done_total")
            .await,
        Some(0.0)
    );
    consumer.stop().await;
}

/// A commit for each batch would be as much work for the broker as the records themselves.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_ten_times_a_second_at_most() {
    let rig = Rig::new(300, 1).await;
    let mut gate = Gate::open(300).await;
    let mut consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "1")]);
    consumer.until_ready().await;
    let begun = Instant::now();
    gate.grant_all(&rig, 300).await;
    rig.topic.until_committed(300).await;
    consumer.stop().await;
    let most = begun.elapsed().as_millis() / 100 + 1;
    let commits = rig.topic.commits();
    assert!(
        (1..=most).contains(&(commits as u128)),
        "{commits} of {most}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn delivering_everything_again_changes_nothing() {
    let mut rig = Rig::new(700, 2).await;
    rig.topic.publish_grants(1..=700);
    rig.topic.publish("revoked", 7, "u7");
    rig.topic.publish("granted", 7, "v7");
    rig.topic.publish("granted", 8, "v8"); // the serial of another applicant: a dead letter
    let mut first = rig.consumer(&[]);
    rig.topic.until_committed(703).await;
    first.stop().await;
    let before = rig.database.everything().await;
    assert_eq!(
        before.len(),
        702,
        "700 grants, one handed on, one dead letter"
    );

    rig.topic.read_again();
    let mut second = rig.consumer(&[("CONSUMER_BATCH_SIZE", "100")]);
    rig.topic.until_committed(703).await;
    assert_eq!(rig.database.everything().await, before);
    assert_eq!(
        second.metric("rushgate_consumer_inserted_total").await,
        Some(0.0)
    );
    assert_eq!(
        second.metric("rushgate_consumer_already_done_total").await,
        Some(702.0)
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_in_one_batch_are_absorbed() {
    let rig = Rig::new(50, 1).await;
    for _ in 0..3 {
        rig.topic.publish_grants(1..=50);
    }
    let consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "150")]);
    rig.topic.until_committed(150).await;
    rig.database.assert_exact(50).await;
    assert_eq!(
        consumer
            .metric("rushgate_consumer_batch_records_count")
            .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_value_is_the_user_id() {
    let rig = Rig::new(10, 1).await;
    let user_id = 9_000_000_000_000_000_000i64;
    rig.topic.publish_record(&TestRecord {
        key: "welcome/once/3",
        value: &user_id.to_be_bytes(),
        headers: &[
            ("content-type", "application/octet-stream"),
            ("ce_type", "coupon.granted"),
            ("ce_time", "2026-12-01T01:00:00.123Z"),
        ],
    });
    let _consumer = rig.consumer(&[]);
    rig.topic.until_committed(1).await;
    let rows = rig
        .database
        .texts("SELECT CONCAT_WS(' ', serial, user_id, granted_at) FROM coupons")
        .await;
    assert_eq!(rows, [format!("3 {user_id} 2026-12-01 01:00:00.123")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_serial_goes_to_the_next_applicant_also_within_one_batch() {
    let rig = Rig::new(10, 1).await;
    rig.topic.publish("granted", 1, "a");
    rig.topic.publish("revoked", 1, "a");
    rig.topic.publish("granted", 1, "b");
    rig.topic.publish("revoked", 1, "b");
    rig.topic.publish("granted", 1, "c");
    rig.topic.publish("granted", 2, "a"); // once more, in another place
    let consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "6")]);
    rig.topic.until_committed(6).await;
    let rows = rig
        .database
        .texts("SELECT CONCAT_WS(' ', serial, user_id, state, revoked_at) FROM coupons ORDER BY id")
        .await;
    let at = "2026-12-01 01:00:00.123";
    assert_eq!(
        rows,
        [
            format!("1 a revoked {at}"),
            format!("1 b revoked {at}"),
            "1 c active".into(),
            "2 a active".into()
        ]
    );
    assert_eq!(rig.database.failed().await, 0);
    assert_eq!(
        consumer
            .metric("rushgate_consumer_batch_records_count")
            .await,
        Some(1.0)
    );
    assert_eq!(
        consumer.metric("rushgate_consumer_revoked_total").await,
        Some(2.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_that_comes_again_stays_revoked() {
    let rig = Rig::new(10, 1).await;
    let consumer = rig.consumer(&[]);
    for (records, what) in [
        (1, "granted"),
        (2, "revoked"),
        (3, "granted"),
        (4, "revoked"),
    ] {
        rig.topic.publish(what, 1, "a");
        rig.topic.until_committed(records).await;
    }
    let rows = rig
        .database
        .texts("SELECT CONCAT_WS(' ', serial, user_id, state) FROM coupons")
        .await;
    assert_eq!(rows, ["1 a revoked"]);
    assert_eq!(rig.database.failed().await, 0);
    let done = consumer
        .metric("rushgate_consumer_already_done_total")
        .await;
    assert_eq!(done, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_per_round_allows_one_in_each() {
    let rig = Rig::new(10, 1).await;
    rig.database
        .execute("UPDATE campaigns SET one_per = 'round'")
        .await;
    rig.database
        .execute("INSERT INTO rounds (campaign_id, round_id, quota) VALUES ('welcome', 'two', 10)")
        .await;
    rig.topic.publish("granted", 1, "a");
    rig.topic.publish_record(&TestRecord {
        key: "welcome/two/1",
        value: br#"{"type":"coupon.granted","campaign":"welcome","round":"two","serial":1,"user_id":"a","at":0}"#,
        headers: &[],
    });
    rig.topic.publish("granted", 2, "a"); // the same round again
    let _consumer = rig.consumer(&[]);
    rig.topic.until_committed(3).await;
    let rows = rig
        .database
        .texts("SELECT CONCAT_WS(' ', round_id, serial, person_scope) FROM coupons ORDER BY 1")
        .await;
    assert_eq!(rows, ["once 1 once", "two 1 two"]);
    assert_eq!(
        rig.database.texts("SELECT reason FROM failed_events").await,
        ["already_holds"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_written_at_the_configured_rate() {
    let rig = Rig::new(600, 1).await;
    rig.topic.publish_grants(1..=600);
    let _consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "200")]);
    rig.topic.until_committed(600).await;
    // By the clock of the database. 600 rows at 200 a second, in batches of 20: the last one starts 2.9 s after the
    // first, or later.
    let took = "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, MIN(issued_at), MAX(issued_at)) DIV 1000 AS SIGNED) FROM coupons";
    let took = rig.database.number(took).await;
    assert!(took >= 2_500, "{took} ms");
    rig.database.assert_exact(600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_backlog_waits_in_kafka_and_not_in_memory() {
    const BACKLOG: u32 = 200_000;
    const MIB: u64 = 1 << 20;
    let rig = Rig::new(BACKLOG, 4).await;
    rig.topic
        .publish_grants_to(1..=BACKLOG, |serial| format!("{serial:0>64}"));
    // Slow enough that without a limit everything would be fetched ahead by then.
    let mut consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "100")]);
    consumer
        .until_at_least("rushgate_consumer_inserted_total", 500.0)
        .await;
    let peak = consumer.peak_memory();
    eprintln!("at most {} MiB of a backlog of {BACKLOG}", peak / MIB);
    // The program (about 14 MiB), 8 MiB fetched ahead and about as much again in the Kafka client, a response
    // of 1 MiB from each partition, and a few batches.
    assert!(peak < 64 * MIB, "{peak}");
    let log = consumer.log();
    assert_eq!(log.matches("partitions revoked").count(), 0, "{log}");
    consumer.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_the_consumer_with_the_offset_of_every_row_committed() {
    let rig = Rig::new(5_000, 3).await;
    rig.topic.publish_grants(1..=5_000);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "1000")]);
        consumer
            .until_at_least("rushgate_consumer_inserted_total", 500.0)
            .await;
        consumer.signal(signal);
        let status = consumer.until_exit().await;
        assert_eq!(status.code(), Some(0), "{signal}");
        let rows = rig.database.active().await;
        assert_eq!(rig.topic.committed(), rows, "{signal}");
        assert!(rows < 5_000, "{signal} came too late to show anything");
    }
    let mut rest = rig.consumer(&[]);
    rig.topic.until_committed(5_000).await;
    rig.database.assert_exact(5_000).await;
    assert_eq!(
        rest.metric("rushgate_consumer_already_done_total").await,
        Some(0.0)
    );
    rest.stop().await;
}
