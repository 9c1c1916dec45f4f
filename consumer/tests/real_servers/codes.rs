//! Tests that rows of campaigns with codes have the codes of their grants, and that codes appear nowhere else.

use crate::topic::TestRecord;
use crate::{CAMPAIGN, Rig};
use rushgate_gate::{CodeKeys, Event};
use rushgate_testbed::wait::until;

const KEY: &str = "a key of codes of 32 characters.";

#[tokio::test(flavor = "multi_thread")]
async fn rows_have_the_codes_of_their_grants_in_whatever_order_records_arrive() {
    let mut rig = Rig::new(10, 1).await;
    let keys = CodeKeys::new([KEY]);
    let key = keys.newest().expect("a key");
    rig.database.add("foreign", 10).await;
    for (campaign, key) in [(CAMPAIGN, key.to_string()), ("foreign", "00c0ffee".into())] {
        let codes = "UPDATE campaigns SET codes = 'signed', code_key";
        let sql = format!("{codes} = '{key}' WHERE campaign_id = '{campaign}'");
        rig.database.execute(sql).await;
    }
    let value = |what: &str, campaign: &str, serial: u32, turn: u32, user_id: &str| {
        format!(
            r#"{{"type":"coupon.{what}","campaign":"{campaign}","round":"once","serial":{serial},"turn":{turn},"user_id":"{user_id}","at":1796086800123}}"#
        )
    };
    let values = [
        value("granted", CAMPAIGN, 1, 1, "a"),
        value("revoked", CAMPAIGN, 1, 1, "a"),
        value("granted", CAMPAIGN, 1, 2, "b"),
        // The revocation before its grant, and a grant that a later one supersedes.
        value("revoked", CAMPAIGN, 2, 1, "c"),
        value("granted", CAMPAIGN, 2, 1, "c"),
        value("granted", CAMPAIGN, 3, 2, "e"),
        value("granted", CAMPAIGN, 3, 1, "d"),
        // Parked until the quota is raised.
        value("granted", CAMPAIGN, 11, 1, "f"),
        // Of a campaign with a key that this consumer does not have.
        value("granted", "foreign", 1, 1, "a"),
        value("granted", "foreign", 2, 1, "b"),
    ];
    let settings = [("COUPON_CODE_KEYS", KEY)];
    let mut consumer = rig.consumer(&settings);
    let mut expected = vec![];
    for value in &values {
        let event: Event = serde_json::from_str(value).expect("an event");
        rig.topic.publish_record(&TestRecord {
            key: &event.key().to_string(),
            value: value.as_bytes(),
            headers: &[],
        });
        let code = match event.campaign.as_str() {
            CAMPAIGN => keys.code(key, (&event).into()).expect("a code").to_string(),
            _ => "none".to_owned(),
        };
        expected.push(format!("{} {} {code}", event.key(), event.applicant));
    }
    expected.sort();
    expected.dedup();
    rig.topic.until_committed(10).await;
    let raised = "UPDATE rounds SET quota = 11 WHERE campaign_id = 'welcome'";
    rig.database.execute(raised).await;
    // Without a gate, the consumer has halted the campaign, and the parked records of a halted campaign wait.
    let running = "UPDATE campaigns SET state = 'running'";
    rig.database.execute(running).await;
    const ROWS: &str = "SELECT CONCAT(campaign_id, '/once/', serial, ' ', user_id, ' ', IFNULL(code, 'none')) \
        FROM coupons ORDER BY 1";
    until("the parked record has its row", async || {
        rig.database.texts(ROWS).await.len() == expected.len()
    })
    .await;
    assert_eq!(rig.database.texts(ROWS).await, expected);
    let without = consumer.metric("rushgate_consumer_rows_without_code_total");
    assert_eq!(without.await, Some(2.0));
    let log = consumer.log();
    assert_eq!(
        log.matches("lacks the key of a campaign").count(),
        1,
        "{log}"
    );
    let code = |row: &String| row.rsplit(' ').next().map(str::to_owned);
    let codes = expected.iter().filter_map(code);
    for code in codes.filter(|code| code != "none") {
        assert!(!log.contains(&code), "{code} is in {log}");
    }
    consumer.stop().await;

    rig.topic.read_again();
    let mut again = rig.consumer(&settings);
    rig.topic.until_committed(10).await;
    assert_eq!(rig.database.texts(ROWS).await, expected);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_a_code_that_is_given_twice_stays_with_its_first_row_and_stops_no_other_record()
{
    let rig = Rig::new(10, 1).await;
    let codes = "UPDATE campaigns SET codes = 'pool' WHERE campaign_id = 'welcome'";
    rig.database.execute(codes).await;
    let value = |what: &str, serial: u32, turn: u32, user_id: &str, number: u32| {
        format!(
            r#"{{"type":"coupon.{what}","campaign":"welcome","round":"once","serial":{serial},"turn":{turn},"user_id":"{user_id}","code_number":{number},"at":1796086800123}}"#
        )
    };
    let values = [
        value("granted", 1, 1, "a", 1),
        value("granted", 2, 1, "b", 1),
        value("revoked", 2, 1, "b", 1),
        // The revocation before its grant, and a grant that a later one supersedes.
        value("revoked", 3, 1, "c", 1),
        value("granted", 3, 1, "c", 1),
        value("granted", 4, 2, "d", 2),
        value("granted", 4, 1, "e", 1),
        value("granted", 5, 1, "f", 3),
    ];
    let mut consumer = rig.consumer(&[]);
    for value in &values {
        let event: Event = serde_json::from_str(value).expect("an event");
        rig.topic.publish_record(&TestRecord {
            key: &event.key().to_string(),
            value: value.as_bytes(),
            headers: &[],
        });
    }
    rig.topic.until_committed(8).await;
    const ROWS: &str = "SELECT CONCAT(serial, ' ', user_id, ' ', state, ' ', IFNULL(code_number, 'none')) FROM coupons \
        ORDER BY 1";
    assert_eq!(
        rig.database.texts(ROWS).await,
        [
            "1 a active 1",
            "2 b revoked none",
            "3 c revoked none",
            "4 d active 2",
            "4 e revoked none",
            "5 f active 3"
        ]
    );
    let refused =
        "SELECT CONCAT(CONVERT(record_key USING utf8mb4), ' ', reason) FROM failed_events";
    let refused = rig.database.texts(refused).await;
    assert_eq!(refused, ["welcome/once/2 row_refused"]);
    consumer.stop().await;
}
