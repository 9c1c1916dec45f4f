//! Tests of one consumer with two writers: the first one writes serials 1 to 512, the second one serials 513 to 1,024.

use crate::database::run;
use crate::topic::TestRecord;
use crate::{CAMPAIGN, Rig};
use rushgate_testbed::wait::until;
use sqlx::MySqlConnection;

const WRITERS: (&str, &str) = ("CONSUMER_WRITERS", "2");

/// Long enough to read the whole topic before the first batch is written.
const GATHERING: (&str, &str) = ("CONSUMER_BATCH_AGE", "1s");

/// The number of serials from 1 to 1,000 that the second writer writes.
const OF_SECOND: i64 = 488;

impl Rig {
    /// A transaction that has inserted these serials, and holds up every other one that wants to, until
    /// ROLLBACK.
    async fn hold_up(&self, serials: &[u32]) -> MySqlConnection {
        let mut holder = self.database.connect().await;
        run(&mut holder, "BEGIN").await;
        for serial in serials {
            let sql = format!(
                "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
                 VALUES ('{CAMPAIGN}', 'once', {serial}, 'u{serial}', 1000, '', '2026-12-01')"
            );
            run(&mut holder, sql).await;
        }
        holder
    }

    async fn until_active(&self, rows: i64) {
        let what = format!("{rows} rows stand");
        until(&what, async || self.database.active().await == rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_held_up_holds_up_the_offsets_but_not_the_other_writer() {
    let rig = Rig::new(1_000, 1).await;
    let mut holder = rig.hold_up(&[50]).await;
    rig.topic.publish_grants(1..=1_000);
    let consumer = rig.consumer(&[WRITERS, GATHERING]);
    rig.until_active(OF_SECOND).await;
    for retries in [1.0, 3.0] {
        consumer
            .until_at_least(r#"rushgate_consumer_retries_total{code="1205"}"#, retries)
            .await;
        assert_eq!(
            (rig.database.active().await, rig.topic.committed()),
            (OF_SECOND, 0),
            "{retries} retries"
        );
    }
    assert_eq!(consumer.metric("rushgate_consumer_ready").await, Some(0.0));
    run(&mut holder, "ROLLBACK").await;
    rig.topic.until_committed(1_000).await;
    rig.database.assert_exact(1_000).await;
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_with_one_writer_ahead_of_the_other_loses_nothing() {
    let rig = Rig::new(1_000, 1).await;
    let mut holder = rig.hold_up(&[50]).await;
    rig.topic.publish_grants(1..=1_000);
    let mut consumer = rig.consumer(&[WRITERS, GATHERING]);
    rig.until_active(OF_SECOND).await;
    // By the third attempt of the first writer, the second one has committed everything that it could.
    consumer
        .until_at_least(r#"rushgate_consumer_retries_total{code="1205"}"#, 3.0)
        .await;
    consumer.kill();
    run(&mut holder, "ROLLBACK").await;
    assert_eq!(rig.topic.committed(), 0);
    let again = rig.consumer(&[WRITERS]);
    rig.topic.until_committed(1_000).await;
    rig.database.assert_exact(1_000).await;
    let done = again.metric("rushgate_consumer_already_done_total").await;
    assert_eq!(done, Some(OF_SECOND as f64));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_given_back_when_both_writers_are_finished() {
    let rig = Rig::new(1_000, 2).await;
    let mut holder = rig.hold_up(&[50, 600]).await;
    rig.topic.publish_grants(1..=1_000);
    let first = rig.consumer(&[WRITERS, GATHERING]);
    // The second writer's transaction is held up too.
    first
        .until_at_least(r#"rushgate_consumer_retries_total{code="1205"}"#, 2.0)
        .await;
    let second = rig.consumer(&[WRITERS]);
    until("it is to give partitions away", async || {
        first.log().contains("partitions are given back when")
    })
    .await;
    assert_eq!((rig.database.active().await, rig.topic.committed()), (0, 0));
    run(&mut holder, "ROLLBACK").await;
    rig.topic.until_committed(1_000).await;
    second
        .until_at_least("rushgate_consumer_partitions_assigned", 1.0)
        .await;
    rig.database.assert_exact(1_000).await;
    for consumer in [&first, &second] {
        let again = consumer
            .metric("rushgate_consumer_already_done_total")
            .await;
        assert_eq!(again, Some(0.0));
    }
    // Both writers had the same problem.
    let log = first.log();
    assert_eq!(log.matches("writing a batch failed").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_in_a_row_are_counted_over_both_writers() {
    let rig = Rig::new(100, 1).await;
    for serial in 101..=110 {
        for serial in [serial, 500 + serial] {
            // Each in its own campaign, so that every dead letter counts.
            let (campaign, user_id) = (format!("c{serial}"), format!("u{serial}"));
            rig.topic.publish_grant_of(&campaign, serial, &user_id);
        }
    }
    let mut consumer = rig.consumer(&[
        WRITERS,
        ("CONSUMER_BATCH_SIZE", "1"),
        ("CONSUMER_ALL_BAD_STOPS_AT", "6"),
    ]);
    assert_eq!(consumer.until_exit().await.code(), Some(1));
    let log = consumer.log();
    assert!(
        log.contains("6 dead letters in a row, of 6 campaigns"),
        "{log}"
    );
    assert_eq!(rig.database.failed().await, 5);
    assert!(rig.topic.committed() <= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_same_people_end_the_same_with_two_writers() {
    const PEOPLE: u32 = 200;
    let rig = Rig::new(1_000, 1).await;
    let publish = |what: &str, serial: u32, person: u32, win: u32| {
        let value = format!(
            r#"{{"type":"coupon.{what}","campaign":"{CAMPAIGN}","round":"once","serial":{serial},"user_id":"p{person}","at":0,"win":{win}}}"#
        );
        rig.topic.send(&TestRecord {
            key: &format!("{CAMPAIGN}/once/{serial}"),
            value: value.as_bytes(),
            headers: &[("content-type", "application/json")],
        });
    };
    for person in 1..=PEOPLE {
        publish("granted", person, person, 1);
        publish("revoked", person, person, 1);
        // For the other writer and in reverse order, so that the two collide.
        publish("granted", 1_000 - person, person, 2);
    }
    rig.topic.flush();
    let _consumer = rig.consumer(&[WRITERS, GATHERING]);
    rig.topic.until_committed(3 * i64::from(PEOPLE)).await;
    let wrong = "SELECT COUNT(*) FROM coupons WHERE (state = 'active') <> (serial > 512)";
    assert_eq!(rig.database.number(wrong).await, 0);
    assert_eq!(rig.database.active().await, i64::from(PEOPLE));
    let rows = rig.database.number("SELECT COUNT(*) FROM coupons").await;
    assert_eq!(
        (rows, rig.database.failed().await),
        (2 * i64::from(PEOPLE), 0)
    );
}

/// `CONSUMER_WRITERS` was called `CONSUMER_LANES`; a deployment that still sets the old name keeps its number of writers.
#[tokio::test(flavor = "multi_thread")]
async fn consumer_lanes_still_sets_the_number_of_writers_with_a_warning() {
    let rig = Rig::new(1, 1).await;
    for (settings, connections, is_warned) in [
        (
            [("CONSUMER_LANES", "3"), ("CONSUMER_WRITERS", " ")],
            3,
            true,
        ),
        (
            [("CONSUMER_LANES", " "), ("CONSUMER_WRITERS", "1")],
            1,
            false,
        ),
    ] {
        let mut consumer = rig.consumer(&settings);
        consumer.until_ready().await;
        let log = consumer.log();
        assert_eq!(
            log.contains("CONSUMER_LANES (--lanes) was renamed"),
            is_warned,
            "{settings:?}: {log}"
        );
        let started = format!("writers={connections}");
        assert!(log.contains(&started), "{settings:?}: {log}");
        consumer.stop().await;
    }
}
