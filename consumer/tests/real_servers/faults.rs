//! Tests of database faults: after the fault, every record becomes a row, and none becomes a dead letter.

use crate::database::{Database, run};
use crate::server::Server;
use crate::topic::Topic;
use crate::{ONLY_FULL_BATCHES, Rig};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;

/// A transaction that locks this row holds up every batch at its first statement.
const LOCK_THE_ROUND: &str = "SELECT quota FROM rounds FOR UPDATE";

/// A transaction that has run this statement and is open holds up a batch at serial 290.
const HALF_WAY: &str = "INSERT INTO coupons \
    (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
    VALUES ('welcome', 'once', 290, 'u290', 300, '', '2026-12-01')";

const INSERT: &str = "INSERT INTO coupons";

/// A test setup with its own database server.
async fn private(quota: u32, partitions: i32) -> (Server, Rig) {
    let server = Server::start().await;
    let rig = Rig {
        database: Database::on(&server.app(), quota).await,
        topic: Topic::new(partitions).await,
    };
    (server, rig)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_too_long_is_waited_for() {
    let rig = Rig::new(100, 1).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    // In the middle of the batch's INSERT.
    run(&mut holder, HALF_WAY.replace("290", "50")).await;
    rig.topic.publish_grants(1..=100);
    let consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "100")]);
    consumer
        .until_at_least(r#"rushgate_consumer_retries_total{code="1205"}"#, 1.0)
        .await;
    assert_eq!((rig.database.active().await, rig.topic.committed()), (0, 0));
    run(&mut holder, "ROLLBACK").await;
    rig.topic.until_committed(100).await;
    rig.database.assert_exact(100).await;
}

/// An operator's command locks the campaign and then its rounds. A consumer that locked in the opposite order
/// would deadlock with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_is_being_changed_is_not_waited_for() {
    let rig = Rig::new(100, 1).await;
    let mut operator = rig.database.connect().await;
    run(&mut operator, "BEGIN").await;
    run(&mut operator, "UPDATE campaigns SET waitlist = 5").await;
    rig.topic.publish_grants(1..=100);
    let _consumer = rig.consumer(&[]);
    until("the rows are there", async || {
        rig.database.active().await == 100
    })
    .await;
    run(&mut operator, "ROLLBACK").await;
    rig.database.assert_exact(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_retries() {
    let (server, rig) = private(10_000, 1).await;
    let mut rival = rig.database.connect().await;
    let insert = |serials: std::ops::Range<u32>| {
        let rows: Vec<_> = serials
            .map(|serial| {
                format!("('welcome', 'once', {serial}, 'u{serial}', 10000, '', '2026-12-01')")
            })
            .collect();
        format!(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) VALUES {}",
            rows.join(", ")
        )
    };
    // The rival transaction locks serial 5, and has written so much that the database rolls back the other one.
    run(&mut rival, "BEGIN").await;
    run(&mut rival, insert(5_000..6_000)).await;
    run(&mut rival, insert(5..6)).await;
    rig.topic.publish_grants(1..=8);
    let consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "8")]);
    // The consumer has inserted 1 to 4 and waits for 5. Now the rival wants 1.
    server.until_waiting(INSERT).await;
    run(&mut rival, insert(1..2)).await;
    consumer
        .until_at_least(r#"rushgate_consumer_retries_total{code="1213"}"#, 1.0)
        .await;
    run(&mut rival, "ROLLBACK").await;
    rig.topic.until_committed(8).await;
    rig.database.assert_exact(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_in_the_middle_of_a_transaction_is_replaced() {
    let (server, rig) = private(300, 1).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    // The first rows of the batch are inserted; then the consumer waits.
    run(&mut holder, HALF_WAY).await;
    rig.topic.publish_grants(1..=300);
    let consumer = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "300")]);
    let mut killed = 0;
    until("its connection is killed twice", async || {
        killed += server.kill_waiting(INSERT).await;
        killed >= 2
    })
    .await;
    until("the kills are noticed", async || {
        let mut retries = 0.0;
        for code in [0, 1317, 1927] {
            retries += consumer
                .metric(&format!(
                    r#"rushgate_consumer_retries_total{{code="{code}"}}"#
                ))
                .await
                .unwrap_or(0.0);
        }
        retries >= 2.0
    })
    .await;
    run(&mut holder, "ROLLBACK").await;
    rig.topic.until_committed(300).await;
    rig.database.assert_exact(300).await;
}

/// Like a virtual machine that freezes or is cut off: the database does not learn that the client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_freezes_in_a_transaction_does_not_hold_up_the_next_owner_for_long() {
    let (server, rig) = private(300, 1).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    run(&mut holder, HALF_WAY).await;
    rig.topic.publish_grants(1..=300);
    let mut silent = rig.consumer(&[ONLY_FULL_BATCHES, ("CONSUMER_BATCH_SIZE", "300")]);
    server.until_waiting(INSERT).await;
    silent.signal(Signal::SIGSTOP);
    // Its rows are inserted now, and the transaction stays open.
    run(&mut holder, "ROLLBACK").await;
    let mut next = rig.consumer(&[]);
    rig.topic.until_committed(300).await;
    rig.database.assert_exact(300).await;
    next.stop().await;
    silent.signal(Signal::SIGCONT);
    silent.stop().await;
    rig.database.assert_exact(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_pause_no_batch_is_retried() {
    let (server, rig) = private(2, 1).await;
    let consumer = rig.consumer(&[]);
    for serial in 1..=2 {
        rig.topic.publish_grants(serial..=serial);
        rig.topic.until_committed(serial.into()).await;
        server.until_it_has_closed_idle_sessions().await;
    }
    let retries = consumer.metric(r#"rushgate_consumer_retries_total{code="0"}"#);
    assert_eq!(retries.await, None);
    rig.database.assert_exact(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_waited_for() {
    let (server, rig) = private(200, 1).await;
    rig.topic.publish_grants(1..=100);
    let consumer = rig.consumer(&[]);
    rig.topic.until_committed(100).await;
    let mut root = server.root().await;
    run(&mut root, "SET GLOBAL read_only = 1").await;
    rig.topic.publish_grants(101..=200);
    consumer
        .until_at_least(r#"rushgate_consumer_retries_total{code="1290"}"#, 4.0)
        .await;
    assert_eq!(consumer.metric("rushgate_consumer_ready").await, Some(0.0));
    assert_eq!(
        (rig.database.active().await, rig.topic.committed()),
        (100, 100)
    );
    run(&mut root, "SET GLOBAL read_only = 0").await;
    rig.topic.until_committed(200).await;
    rig.database.assert_exact(200).await;
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_again_and_again_is_waited_for() {
    let (mut server, rig) = private(6_000, 3).await;
    server.kill();
    // The database is not running when the consumer starts.
    let mut consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "3000")]);
    until("it says what it waits for", async || {
        consumer.log().contains("the database cannot be used yet")
    })
    .await;
    server.restart().await;
    consumer.until_ready().await;
    rig.topic.publish_grants(1..=6_000);
    for rows in [500.0, 2_000.0, 4_000.0] {
        consumer
            .until_at_least("rushgate_consumer_inserted_total", rows)
            .await;
        server.kill();
        consumer
            .until_at_least(r#"rushgate_consumer_retries_total{code="0"}"#, 1.0)
            .await;
        server.restart().await;
    }
    rig.topic.until_committed(6_000).await;
    rig.database.assert_exact(6_000).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_it_waits_for_the_migrations() {
    let rig = Rig::new(10, 1).await;
    rig.database
        .execute("RENAME TABLE failed_events TO not_yet")
        .await;
    rig.topic.publish_grants(1..=10);
    let mut consumer = rig.consumer(&[]);
    until("it says what it waits for", async || {
        consumer
            .log()
            .contains("run the migrations with `rushgate setup`")
    })
    .await;
    assert_eq!(consumer.metric("rushgate_consumer_ready").await, Some(0.0));
    rig.database
        .execute("RENAME TABLE not_yet TO failed_events")
        .await;
    rig.topic.until_committed(10).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_read_are_written_before_the_consumer_stops() {
    let (server, rig) = private(100, 1).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    run(&mut holder, HALF_WAY.replace("290", "50")).await;
    rig.topic.publish_grants(1..=100);
    let mut consumer = rig.consumer(&[]);
    server.until_waiting(INSERT).await;
    consumer.signal(Signal::SIGTERM);
    until("it drains", async || {
        consumer.log().contains("partitions are given back when")
    })
    .await;
    run(&mut holder, "ROLLBACK").await;
    assert!(consumer.until_exit().await.success());
    rig.database.assert_exact(100).await;
    assert_eq!(rig.topic.committed(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_the_consumer_in_time_also_when_the_database_does_not_answer() {
    let rig = Rig::new(10, 1).await;
    let mut holder = rig.database.connect().await;
    run(&mut holder, "BEGIN").await;
    run(&mut holder, LOCK_THE_ROUND).await;
    rig.topic.publish_grants(1..=10);
    let mut consumer = rig.consumer(&[]);
    consumer
        .until_at_least(r#"rushgate_consumer_retries_total{code="1205"}"#, 1.0)
        .await;
    let asked = std::time::Instant::now();
    consumer.stop().await;
    assert!(asked.elapsed().as_secs() < 40, "{:?}", asked.elapsed());
    run(&mut holder, "ROLLBACK").await;
    assert_eq!((rig.database.active().await, rig.topic.committed()), (0, 0));
    let _again = rig.consumer(&[]);
    rig.topic.until_committed(10).await;
    rig.database.assert_exact(10).await;
}
