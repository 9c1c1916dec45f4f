//! Tests of the tables without the consumer: unique keys, foreign keys and CHECK constraints make invalid rows
//! impossible for any client.

use crate::database::Database;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, MySqlConnection};

/// Inserts a coupon into a round with quota 100. Returns the error number if the database refuses it.
async fn insert(connection: &mut MySqlConnection, serial: u32, user_id: &str) -> Result<(), u16> {
    let values =
        format!("'welcome', 'once', {serial}, '{user_id}', 100, '', '2026-12-01 01:00:00.123'");
    refused(
        connection,
        format!(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
             VALUES ({values})"
        ),
    )
    .await
}

async fn refused(connection: &mut MySqlConnection, sql: String) -> Result<(), u16> {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|error| {
        let error = error.into_database_error().expect("the server's");
        error.downcast_ref::<MySqlDatabaseError>().number()
    })
}

/// The error number of a CHECK, on MySQL and on MariaDB.
const CHECK: [u16; 2] = [3819, 4025];
const DUPLICATE: u16 = 1062;

#[tokio::test(flavor = "multi_thread")]
async fn a_101st_coupon_is_impossible() {
    let database = Database::new(100).await;
    let mut connection = database.connect().await;
    for serial in 1..=100 {
        insert(&mut connection, serial, &format!("u{serial}"))
            .await
            .expect("within the quota");
    }
    for serial in [0, 101] {
        let number = insert(&mut connection, serial, "late")
            .await
            .expect_err("outside of the quota");
        assert!(CHECK.contains(&number), "serial {serial}: {number}");
    }
    for serial in 1..=100 {
        assert_eq!(
            insert(&mut connection, serial, "late").await,
            Err(DUPLICATE)
        );
    }
    assert_eq!(database.active().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_or_a_person_twice_is_impossible_until_revoked() {
    let database = Database::new(100).await;
    let mut connection = database.connect().await;
    insert(&mut connection, 1, "a").await.expect("free");
    assert_eq!(
        insert(&mut connection, 1, "b").await,
        Err(DUPLICATE),
        "the serial is taken"
    );
    assert_eq!(
        insert(&mut connection, 2, "a").await,
        Err(DUPLICATE),
        "the person has one"
    );
    insert(&mut connection, 3, "A")
        .await
        .expect("another person: ids are compared byte by byte");

    database
        .execute(
            "UPDATE coupons SET state = 'revoked', revoked_at = UTC_TIMESTAMP(3) WHERE serial = 1",
        )
        .await;
    assert_eq!(
        insert(&mut connection, 1, "a").await,
        Err(DUPLICATE),
        "that grant has had its row"
    );
    insert(&mut connection, 1, "b")
        .await
        .expect("the serial is free again");
    insert(&mut connection, 2, "a")
        .await
        .expect("the person is free again");
    assert_eq!(database.number("SELECT COUNT(*) FROM coupons").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_without_its_round_or_half_revoked() {
    let database = Database::new(100).await;
    let mut connection = database.connect().await;
    insert(&mut connection, 1, "a").await.expect("free");
    for sql in [
        "UPDATE coupons SET state = 'revoked'",
        "UPDATE coupons SET revoked_at = UTC_TIMESTAMP(3)",
        "UPDATE coupons SET state = 'lost'",
        "UPDATE coupons SET person_scope = 'elsewhere'",
        "UPDATE campaigns SET state = 'gone'",
        "UPDATE campaigns SET one_per = 'day'",
        "UPDATE rounds SET quota = 0",
        "UPDATE rounds SET quota = 100000001",
        "UPDATE rounds SET opens_at = '2026-12-01', closes_at = '2026-12-01'",
    ] {
        let number = refused(&mut connection, sql.to_owned())
            .await
            .expect_err(sql);
        assert!(CHECK.contains(&number), "{sql}: {number}");
    }
    for sql in [
        "DELETE FROM rounds",
        "DELETE FROM campaigns",
        "UPDATE rounds SET round_id = 'x'",
    ] {
        assert_eq!(
            refused(&mut connection, sql.to_owned()).await,
            Err(1451),
            "{sql}"
        );
    }
    assert_eq!(
        refused(
            &mut connection,
            "UPDATE coupons SET round_id = 'x'".to_owned()
        )
        .await,
        Err(1452)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_fails_once_but_a_recreated_topic_has_other_records() {
    let database = Database::new(1).await;
    let mut connection = database.connect().await;
    let insert = |partition: u32, offset: u64, timestamp: u64| {
        format!(
            "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, headers, reason, \
             detail) VALUES ('t', {partition}, {offset}, {timestamp}, '{{}}', 'undecodable', '')"
        )
    };
    refused(&mut connection, insert(0, 0, 1))
        .await
        .expect("new");
    assert_eq!(
        refused(&mut connection, insert(0, 0, 1)).await,
        Err(DUPLICATE)
    );
    for (partition, offset, timestamp) in [(0, 0, 2), (0, 1, 1), (1, 0, 1)] {
        refused(&mut connection, insert(partition, offset, timestamp))
            .await
            .expect("another record");
    }
}
