//! Tests that a campaign with a problem does not affect other campaigns, and that its parked records become coupons
//! automatically once the problem is solved.

use crate::confirm::Gate;
use crate::topic::TestRecord;
use crate::{CAMPAIGN, Rig};
use redis::AsyncTypedCommands;
use rushgate_gate::Keys;
use rushgate_testbed::wait::until;

const DEAD_LETTERS: &str = "SELECT CONCAT_WS(' ', reason, COALESCE(resolution, 'open'), COUNT(*)) FROM failed_events \
     GROUP BY reason, resolution ORDER BY 1";

/// Without parking, each of these records would stop every campaign.
#[tokio::test(flavor = "multi_thread")]
async fn missing_terms_of_one_campaign_stop_no_other_and_its_rows_come_when_they_exist() {
    let rig = Rig::new(5, 1).await;
    let mut gate = Gate::open(5).await;
    rig.database.add("small", 1).await;
    for campaign in ["small", "late"] {
        gate.add(campaign, 20).await;
        for person in 1..=20 {
            gate.grant_of(campaign, &rig, &format!("u{person}")).await;
        }
    }
    for person in 1..=5 {
        gate.grant_of(CAMPAIGN, &rig, &format!("u{person}")).await;
    }
    let consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "1")]);
    rig.topic.until_committed(45).await;
    assert_eq!(rig.database.active().await, 6);
    gate.until_issued_of(CAMPAIGN, "u5").await;
    let parked = ["over_quota open 19", "unknown_round open 20"];
    assert_eq!(rig.database.texts(DEAD_LETTERS).await, parked);

    rig.database
        .execute("UPDATE rounds SET quota = 20 WHERE campaign_id = 'small'")
        .await;
    rig.database.add("late", 20).await;
    until("all of them have their rows", async || {
        rig.database.active().await == 45
    })
    .await;
    let replayed = ["over_quota replayed 19", "unknown_round replayed 20"];
    until("nothing is parked any more", async || {
        rig.database.texts(DEAD_LETTERS).await == replayed
    })
    .await;
    for campaign in ["small", "late"] {
        for person in 1..=20 {
            gate.until_issued_of(campaign, &format!("u{person}")).await;
        }
    }
    let replayed = consumer.metric("rushgate_consumer_replayed_total").await;
    assert_eq!(replayed, Some(39.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_cannot_be_confirmed_holds_up_no_other_and_is_confirmed_when_it_can_be() {
    const PEOPLE: u32 = 40;
    let rig = Rig::new(PEOPLE, 1).await;
    let mut gate = Gate::open(PEOPLE).await;
    rig.database.add("sick", PEOPLE).await;
    gate.add("sick", PEOPLE).await;
    for person in 1..=PEOPLE {
        for campaign in ["sick", CAMPAIGN] {
            gate.grant_of(campaign, &rig, &format!("u{person}")).await;
        }
    }
    let rounds = Keys::of(&"sick".parse().expect("an id")).rounds();
    gate.redis.rename(&rounds, "away").await.expect("RENAME");
    gate.redis.set(&rounds, "no hash").await.expect("SET");
    let consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "1")]);
    rig.topic.until_committed(2 * i64::from(PEOPLE)).await;
    assert_eq!(rig.database.active().await, 2 * i64::from(PEOPLE));
    for person in 1..=PEOPLE {
        gate.until_issued_of(CAMPAIGN, &format!("u{person}")).await;
    }
    assert_eq!(
        rig.database.texts(DEAD_LETTERS).await,
        ["unconfirmed open 40"]
    );
    assert!(consumer.log().contains("campaign=sick"), "its name");

    gate.redis.rename("away", &rounds).await.expect("RENAME");
    for person in 1..=PEOPLE {
        gate.until_issued_of("sick", &format!("u{person}")).await;
    }
    until("nothing is parked any more", async || {
        rig.database.texts(DEAD_LETTERS).await == ["unconfirmed replayed 40"]
    })
    .await;
    let issued = gate.redis.hget(&rounds, "once/issued").await.expect("HGET");
    assert_eq!(issued.as_deref(), Some("40"), "each was counted once");
    let log = "SELECT CONCAT_WS('|', campaign_id, action) FROM campaign_log";
    assert_eq!(rig.database.texts(log).await, Vec::<String>::new());
}

/// As after a consumer died between writing the row and marking the dead letter, with two consumers that replay
/// at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_interrupted_is_completed_once_by_whichever_consumer() {
    let rig = Rig::new(1, 2).await;
    let mut gate = Gate::open(20).await;
    for person in 1..=20 {
        gate.grant_of(CAMPAIGN, &rig, &format!("u{person}")).await;
    }
    let mut first = rig.consumer(&[("REDIS_URL", &gate.url)]);
    rig.topic.until_committed(20).await;
    first.stop().await;
    assert_eq!(
        rig.database.texts(DEAD_LETTERS).await,
        ["over_quota open 19"]
    );
    rig.database.execute("UPDATE rounds SET quota = 20").await;
    rig.database
        .execute(format!(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
             VALUES ('{CAMPAIGN}', 'once', 7, 'u7', 20, '', '2026-12-01 01:00:00.123')"
        ))
        .await;
    // A dead letter that an operator discarded stays discarded.
    rig.database
        .execute(
            "UPDATE failed_events SET resolution = 'discarded', resolved_at = UTC_TIMESTAMP(3) \
             WHERE record_key = 'welcome/once/8'",
        )
        .await;
    let _both = [(); 2].map(|()| rig.consumer(&[("REDIS_URL", &gate.url)]));
    until("nothing is parked any more", async || {
        let dead_letters = rig.database.texts(DEAD_LETTERS).await;
        dead_letters == ["over_quota discarded 1", "over_quota replayed 18"]
    })
    .await;
    assert_eq!(rig.database.active().await, 19);
    for person in (1..=20).filter(|person| *person != 8) {
        gate.until_issued_of(CAMPAIGN, &format!("u{person}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_known_is_parked_until_it_is() {
    let rig = Rig::new(5, 1).await;
    let mut gate = Gate::open(5).await;
    gate.add("other", 5).await;
    let event = |what: &str, serial: u32| {
        format!(
            r#"{{"type":"coupon.{what}","campaign":"{CAMPAIGN}","round":"once","serial":{serial},"user_id":"u{serial}","at":0}}"#
        )
    };
    let serial = gate.grant_of("other", &rig, "u1").await;
    assert_eq!(serial, 1);
    const LAST_ATTEMPT: (&str, &str) = ("ce_attempt", "4294967295");
    for (serial, what, headers) in [
        (1, "lent", &[][..]),
        (1, "granted", &[("ce_version", "2")][..]),
        (9, "granted", &[("ce_version", "2"), LAST_ATTEMPT][..]),
    ] {
        rig.topic.publish_record(&TestRecord {
            key: &format!("welcome/once/{serial}"),
            value: event(what, serial).as_bytes(),
            headers,
        });
    }
    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "1")]);
    rig.topic.until_committed(4).await;
    let parked = ["unknown_round open 1", "unknown_version open 3"];
    assert_eq!(rig.database.texts(DEAD_LETTERS).await, parked);
    assert_eq!(rig.database.active().await, 0);
    // As if a consumer that knows version 2 had started. (The gate never made this grant, so the campaign is
    // halted.)
    rig.database
        .execute("UPDATE failed_events SET all_headers = REPLACE(all_headers, '\"2\"', '\"1\"')")
        .await;
    until("it has its row", async || rig.database.active().await == 1).await;
    // One that was tried as often as can be counted, and is above the quota, keeps none of the others.
    let parked = [
        "over_quota open 1",
        "unknown_round open 1",
        "unknown_version open 1",
        "unknown_version replayed 1",
    ];
    until("that is noted", async || {
        rig.database.texts(DEAD_LETTERS).await == parked
    })
    .await;
}

/// A backlog that cannot be replayed leaves the rate of rows to the rows.
#[tokio::test(flavor = "multi_thread")]
async fn parked_records_that_fail_again_leave_the_rate_to_rows() {
    const ROWS: u32 = 20;
    let rig = Rig::new(1 + ROWS, 1).await;
    for campaign in ["v1", "v2", "v3", "v4", "v5"] {
        rig.database
            .execute(format!(
                "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, \
                 headers, all_headers, reason, detail) \
                 WITH RECURSIVE serials (serial) AS (SELECT 1 UNION ALL SELECT serial + 1 FROM serials WHERE serial < 200) \
                 SELECT '{campaign}', 0, serial, 0, CONCAT('{campaign}/once/', serial), '{{}}', '{{}}', \
                 '[[\"ce_version\",\"2\"]]', 'unknown_version', '' FROM serials"
            ))
            .await;
    }
    // One that can be replayed, and is looked at before these.
    rig.database
        .execute(format!(
            "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, headers, \
             all_headers, reason, detail) VALUES ('first', 0, 0, 0, '{CAMPAIGN}/once/1', '{{\"type\":\"coupon.granted\",\
             \"campaign\":\"{CAMPAIGN}\",\"round\":\"once\",\"serial\":1,\"user_id\":\"u1\",\"at\":0}}', '{{}}', '[]', \
             'unknown_round', '')"
        ))
        .await;
    // At this rate, the rows take 4 s, and a look at all parked records would take 200 s.
    let _consumer = rig.consumer(&[("CONSUMER_MAX_ROWS_PER_SECOND", "5")]);
    until("replaying begins", async || {
        rig.database.active().await == 1
    })
    .await;
    rig.topic.publish_grants(2..=1 + ROWS);
    until("they have their rows", async || {
        rig.database.active().await == 1 + i64::from(ROWS)
    })
    .await;
}

/// As a later version, a trigger of another application, or a hand may leave it.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_rows_of_one_campaign_delay_no_other() {
    let rig = Rig::new(20, 1).await;
    for campaign in ["rule", "row", "trigger"] {
        rig.database.add(campaign, 20).await;
    }
    for sql in [
        "ALTER TABLE campaigns DROP CONSTRAINT campaigns_one_per_is_known",
        "UPDATE campaigns SET one_per = 'week' WHERE campaign_id = 'rule'",
        "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at, turn) \
         VALUES ('row', 'once', 1, 'x', 20, '', '2026-12-01 01:00:00.123', 0)",
        "CREATE TRIGGER foreign_key_of_others BEFORE INSERT ON coupons FOR EACH ROW IF NEW.campaign_id = 'trigger' \
         THEN SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1062; END IF",
    ] {
        rig.database.execute(sql).await;
    }
    for serial in 1..=4 {
        for campaign in ["rule", "row", "trigger", CAMPAIGN] {
            rig.topic
                .publish_grant_of(campaign, serial, &format!("u{serial}"));
        }
    }
    let _consumer = rig.consumer(&[]);
    rig.topic.until_committed(16).await;
    let active =
        "SELECT CONCAT_WS(' ', campaign_id, COUNT(*)) FROM coupons GROUP BY campaign_id ORDER BY 1";
    let active = rig.database.texts(active).await;
    assert_eq!(active, ["row 4", "welcome 4"]);
    let dead_letters = ["row_refused open 5", "unknown_round open 4"];
    assert_eq!(rig.database.texts(DEAD_LETTERS).await, dead_letters);
}
