//! Tests the content of the records in Kafka, and what happens to entries that cannot become records.

use crate::kafka::{Found, Topic};
use crate::redis_server::RedisServer;
use crate::support::Bridge;
use redis::Commands as _;
use redis::streams::StreamRangeReply;
use rushgate_testbed::wait::until_blocking;
use std::collections::BTreeMap;

fn headers(campaign: &str, serial: u32, content_type: &str) -> Vec<(String, String)> {
    [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", format!("{campaign}/once/{serial}/coupon.granted")),
        ("ce_source", format!("/rushgate/{campaign}")),
        ("ce_type", "coupon.granted".to_owned()),
        ("ce_time", "2026-12-01T01:00:00.123Z".to_owned()),
        ("content-type", content_type.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[test]
fn a_json_record_is_exactly_as_documented() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let bridge = Bridge::start(&redis, &topic, &[]);
    campaign.grant([42]);
    campaign.wait_until_empty();
    let value = r#"{"type":"coupon.granted","campaign":"welcome","round":"once","serial":42,"user_id":"42","at":1796086800123}"#;
    let expected = Found {
        key: "welcome/once/42".to_owned(),
        value: value.into(),
        headers: headers("welcome", 42, "application/json"),
    };
    assert_eq!(topic.records(), [expected]);
    bridge.drain();
}

#[test]
fn a_long_is_the_user_id_in_eight_bytes_and_anything_else_a_dead_letter() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let mut named = campaign.fields(1);
    named[4].1 = "anna".to_owned();
    campaign.add(&named);
    campaign.grant([258]);
    // The campaign is older than `--user-ids`: the gate knows it without that field.
    let known = campaign.keys.campaign();
    campaign
        .redis
        .hset::<_, _, _, ()>(known, "state", "running")
        .expect("HSET");
    let _bridge = Bridge::start(&redis, &topic, &["--value-format", "long"]);
    campaign.wait_until_empty();
    let expected = Found {
        key: "welcome/once/258".to_owned(),
        value: vec![0, 0, 0, 0, 0, 0, 1, 2],
        headers: headers("welcome", 258, "application/octet-stream"),
    };
    assert_eq!(topic.records(), [expected]);
    let dead: usize = campaign
        .redis
        .xlen(campaign.keys.dead_letters())
        .expect("XLEN");
    assert_eq!(dead, 1);
}

#[test]
fn a_malformed_entry_becomes_a_dead_letter_and_blocks_no_other() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let mut broken = campaign.fields(1);
    broken.retain(|(name, _)| *name != "serial");
    let id = campaign.add(&broken);
    campaign.grant([2]);
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    assert_eq!(topic.keys(), [("welcome/once/2".to_owned(), 1)].into());

    let dead: StreamRangeReply = campaign
        .redis
        .xrange_all(campaign.keys.dead_letters())
        .expect("XRANGE");
    let [letter] = dead.ids.as_slice() else {
        panic!("not one dead letter: {dead:?}")
    };
    let mut expected: BTreeMap<&str, String> = broken.into_iter().collect();
    expected.insert("reason", "not an event: field serial is missing".to_owned());
    expected.insert("entry_id", id);
    let found = letter
        .map
        .keys()
        .map(|name| (name.as_str(), letter.get(name).expect("a text")));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn a_campaign_that_comes_later_is_found() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut first = redis.campaign("first");
    let _bridge = Bridge::start(&redis, &topic, &[]);
    first.grant([1]);
    first.wait_until_empty();
    let mut second = redis.campaign("second");
    second.grant([1]);
    second.wait_until_empty();
    assert_eq!(topic.count(), 2);
}

#[test]
fn more_campaigns_than_one_read_takes_are_all_served() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let campaigns = 0..600;
    let mut all: Vec<_> = campaigns
        .map(|number| redis.campaign(&format!("c{number}")))
        .collect();
    let _bridge = Bridge::start(&redis, &topic, &[]);
    for campaign in &mut all {
        campaign.grant([1, 2]);
    }
    for campaign in &mut all {
        campaign.wait_until_empty();
    }
    let keys = topic.keys();
    assert_eq!(keys.len(), 1200);
    assert!(keys.values().all(|count| *count == 1));
}

#[test]
fn a_key_that_is_not_a_stream_does_not_disturb_the_others() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let (mut odd, mut good) = (redis.campaign("odd"), redis.campaign("good"));
    odd.redis
        .set::<_, _, ()>(odd.keys.stream(), "not a stream")
        .expect("SET");
    good.grant(1..=10);
    let _bridge = Bridge::start(&redis, &topic, &[]);
    good.wait_until_empty();
    topic.assert_each_once("good", 10);
    odd.redis.del::<_, ()>(odd.keys.stream()).expect("DEL");
    odd.grant([1]);
    until_blocking("the other comes too", || odd.length() == 0);
    assert_eq!(topic.count(), 11);
}
