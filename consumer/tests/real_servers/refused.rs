//! Tests that records that can never become coupons end in the table `failed_events`, and that no other records do.

use crate::topic::TestRecord;
use crate::{ONLY_FULL_BATCHES, Rig};

const FAILED: &str = "SELECT CONCAT_WS(' ', kafka_partition, kafka_offset, reason, detail) FROM failed_events ORDER BY id";

#[tokio::test(flavor = "multi_thread")]
async fn three_bad_rows_of_512_become_dead_letters_alone() {
    let rig = Rig::new(512, 1).await;
    // Only the database can tell that these are bad, so the batch must be bisected.
    rig.database
        .execute("ALTER TABLE coupons ADD CONSTRAINT no_x CHECK (user_id NOT LIKE 'x%')")
        .await;
    rig.topic.publish_grants_to(1..=512, |serial| {
        let bad = [1, 300, 511].contains(&serial);
        format!("{}{serial}", if bad { "x" } else { "u" })
    });
    let mut consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "512")]);
    rig.topic.until_committed(512).await;
    assert_eq!(
        consumer
            .metric("rushgate_consumer_batch_records_count")
            .await,
        Some(1.0)
    );
    assert_eq!(rig.database.active().await, 509);
    let failed = rig
        .database
        .texts("SELECT CONCAT_WS(' ', kafka_offset, reason) FROM failed_events ORDER BY 1")
        .await;
    assert_eq!(
        failed,
        ["0 row_refused", "299 row_refused", "510 row_refused"]
    );
    assert_eq!(
        consumer
            .metric(r#"rushgate_consumer_failed_events_total{reason="row_refused"}"#)
            .await,
        Some(3.0)
    );
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_dead_letters_only_stops_the_consumer_without_committing_offsets() {
    let rig = Rig::new(100, 1).await;
    rig.topic.publish_grants(1..=5);
    let mut good = rig.consumer(&[]);
    rig.topic.until_committed(5).await;
    good.stop().await;
    for serial in 101..=104 {
        for campaign in ["welcome", "no-such", "none-either"] {
            rig.topic
                .publish_grant_of(campaign, serial, &format!("u{serial}"));
        }
    }
    for _ in 0..2 {
        let mut consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "12")]);
        let status = consumer.until_exit().await;
        assert_eq!(status.code(), Some(1));
        let log = consumer.log();
        assert!(log.contains("12 dead letters in a row, of 3 campaigns: all 12 records of a batch were refused, the first one as over_quota (partition 0, offset 5)"), "{log}");
        assert!(log.contains("CONSUMER_ALL_BAD_STOPS_AT=0"), "{log}");
        assert_eq!((rig.topic.committed(), rig.database.failed().await), (5, 0));
    }
    // As the error message advises.
    let mut consumer = rig.consumer(&[("CONSUMER_ALL_BAD_STOPS_AT", "0")]);
    rig.topic.until_committed(17).await;
    assert_eq!(
        (rig.database.active().await, rig.database.failed().await),
        (5, 12)
    );
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_in_a_row_stop_the_consumer_also_one_by_one() {
    let rig = Rig::new(100, 1).await;
    let mut consumer = rig.consumer(&[
        ("CONSUMER_BATCH_SIZE", "1"),
        ("CONSUMER_ALL_BAD_STOPS_AT", "3"),
    ]);
    // A good record ends the streak, and one campaign alone does not make it too long.
    for (campaign, serial) in [
        ("a", 1),
        ("b", 1),
        ("welcome", 1),
        ("a", 2),
        ("a", 3),
        ("b", 2),
        ("welcome", 101),
        ("c", 1),
    ] {
        rig.topic
            .publish_grant_of(campaign, serial, &format!("u{serial}"));
    }
    assert_eq!(consumer.until_exit().await.code(), Some(1));
    let log = consumer.log();
    assert!(
        log.contains("4 dead letters in a row, of 3 campaigns"),
        "{log}"
    );
    assert_eq!((rig.topic.committed(), rig.database.failed().await), (6, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_that_contradict_coupons_do_not_stop_the_consumer() {
    let rig = Rig::new(100, 1).await;
    rig.topic.publish_grants(1..=20);
    let mut consumer = rig.consumer(&[("CONSUMER_ALL_BAD_STOPS_AT", "3")]);
    rig.topic.until_committed(20).await;
    // As after Redis went back in time: every serial is granted to another applicant.
    for serial in 1..=20 {
        rig.topic
            .publish("granted", serial, &format!("late-{serial}"));
    }
    rig.topic.until_committed(40).await;
    assert_eq!(rig.database.failed().await, 20);
    assert_eq!(rig.database.active().await, 20);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_dead_letters_do_not_stop_the_consumer() {
    let mut rig = Rig::new(100, 1).await;
    for serial in 101..=112 {
        rig.topic.publish("granted", serial, &format!("u{serial}"));
    }
    let mut consumer = rig.consumer(&[("CONSUMER_ALL_BAD_STOPS_AT", "0")]);
    rig.topic.until_committed(12).await;
    consumer.stop().await;
    rig.topic.read_again();
    let mut again = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "12")]);
    rig.topic.until_committed(12).await;
    assert_eq!(rig.database.failed().await, 12);
    again.stop().await;
}

/// A revocation, or a superseded grant, that the database refuses must not be retried forever.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_the_database_refuses_becomes_a_dead_letter_alone() {
    let rig = Rig::new(10, 1).await;
    rig.database
        .execute(
            "ALTER TABLE coupons ADD CONSTRAINT x_stays CHECK (user_id NOT LIKE 'x%' OR state = 'active')",
        )
        .await;
    rig.topic.publish("granted", 1, "x1");
    rig.topic.publish("revoked", 1, "x1"); // its row is there
    rig.topic.publish("revoked", 2, "x2"); // its row is not
    rig.topic.publish_record(&TestRecord {
        key: "welcome/once/1",
        value: br#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":1,"turn":2,"user_id":"b","at":0}"#,
        headers: &[],
    }); // it supersedes x1
    rig.topic.publish_record(&TestRecord {
        key: "welcome/once/3",
        value: br#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":3,"turn":2,"user_id":"c","at":0}"#,
        headers: &[],
    });
    rig.topic.publish("granted", 3, "x3"); // c has superseded it
    rig.topic.publish("granted", 4, "d");
    let mut consumer = rig.consumer(&[("CONSUMER_BATCH_SIZE", "1")]);
    rig.topic.until_committed(7).await;
    let rows = "SELECT CONCAT_WS(' ', serial, user_id, state) FROM coupons ORDER BY serial";
    assert_eq!(
        rig.database.texts(rows).await,
        ["1 x1 active", "3 c active", "4 d active"]
    );
    let failed = "SELECT CONCAT_WS(' ', kafka_offset, reason) FROM failed_events ORDER BY 1";
    assert_eq!(
        rig.database.texts(failed).await,
        [
            "1 row_refused",
            "2 row_refused",
            "3 row_refused",
            "5 row_refused"
        ]
    );
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_say_what_is_in_the_way_and_no_log_names_an_applicant() {
    let rig = Rig::new(10, 1).await;
    rig.topic.publish("granted", 1, "alice");
    rig.topic.publish("granted", 1, "mallory");
    rig.topic.publish("granted", 2, "alice");
    rig.topic.publish("granted", 2, "bob"); // free: what was refused has not taken it
    rig.topic.publish("revoked", 3, "carol"); // its grant may still come
    let mut consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "5")]);
    rig.topic.until_committed(5).await;
    let rows = rig
        .database
        .texts("SELECT CONCAT_WS(' ', serial, user_id, state) FROM coupons ORDER BY serial")
        .await;
    assert_eq!(rows, ["1 alice active", "2 bob active", "3 carol revoked"]);
    let expected = [
        "0 1 serial_taken welcome/once/1 of user_id mallory, but welcome/once/1 is held by user_id alice",
        "0 2 already_holds welcome/once/2 of user_id alice, but welcome/once/1 is held by user_id alice",
    ];
    assert_eq!(rig.database.texts(FAILED).await, expected);
    consumer.stop().await;
    let log = consumer.log();
    for user_id in ["alice", "mallory", "bob", "carol"] {
        assert!(!log.contains(user_id), "{user_id}: {log}");
    }
    assert!(
        log.contains("dead letter") && log.contains("serial_taken"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_with_rows_of_earlier_batches_are_found_among_good_ones() {
    let rig = Rig::new(400, 1).await;
    rig.topic.publish_grants(1..=100);
    let consumer = rig.consumer(&[("CONSUMER_BATCH_AGE", "300ms")]);
    rig.topic.until_committed(100).await;
    rig.topic.publish_grants(50..=300); // 51 again, 200 new
    rig.topic.publish("granted", 60, "w60");
    rig.topic.publish("granted", 301, "u61");
    rig.topic.until_committed(353).await;
    assert_eq!(rig.database.active().await, 300);
    let reasons = rig
        .database
        .texts("SELECT reason FROM failed_events ORDER BY id")
        .await;
    assert_eq!(reasons, ["serial_taken", "already_holds"]);
    assert_eq!(
        consumer
            .metric("rushgate_consumer_already_done_total")
            .await,
        Some(51.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_an_event_is_kept_as_it_is() {
    let rig = Rig::new(10, 1).await;
    let headers = [
        ("content-type", "application/json"),
        ("ce_id", "x"),
        ("trace", "y"),
        ("trace", "z"),
    ];
    let large = vec![b'x'; 70_000];
    for (key, value) in [
        ("welcome/once/1", &b"\x00\xff{"[..]),
        ("welcome/once/2", br#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":3,"user_id":"a","at":0}"#),
        ("welcome/nowhere/1", br#"{"type":"coupon.granted","campaign":"welcome","round":"nowhere","serial":1,"user_id":"a","at":0}"#),
        ("welcome/once/4", &large),
    ] {
        rig.topic.publish_record(&TestRecord { key, value, headers: &headers });
    }
    rig.topic.publish("granted", 11, "b");
    rig.topic.publish("granted", 5, "c");
    let _consumer = rig.consumer(&[]);
    rig.topic.until_committed(6).await;
    assert_eq!(
        rig.database
            .texts("SELECT CONCAT(user_id) FROM coupons")
            .await,
        ["c"]
    );
    let expected = [
        "0 0 undecodable value: expected value at line 1 column 1",
        "0 1 key_mismatch the key names welcome/once/2, but the value names welcome/once/3",
        "0 2 unknown_round no round welcome/nowhere",
        "0 3 undecodable value has 70000 bytes, more than the limit of 65535; only the first ones are kept here",
        "0 4 over_quota welcome/once/11 is above the round's quota of 10",
    ];
    assert_eq!(rig.database.texts(FAILED).await, expected);
    let kept = "SELECT CONCAT_WS(' ', CONVERT(record_key USING utf8mb4), HEX(payload), headers, all_headers, attempts, kafka_timestamp > 0, \
        resolution IS NULL) FROM failed_events WHERE kafka_offset = 0";
    assert_eq!(
        rig.database.texts(kept).await,
        [
            r#"welcome/once/1 00FF7B {"ce_id":"x","content-type":"application/json","trace":"z"} [["content-type","application/json"],["ce_id","x"],["trace","y"],["trace","z"]] 1 1 1"#
        ]
    );
    assert_eq!(
        rig.database
            .number("SELECT LENGTH(payload) FROM failed_events WHERE kafka_offset = 3")
            .await,
        65_535
    );
}
