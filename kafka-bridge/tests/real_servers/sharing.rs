//! Who gets which entries: after a crash, from dead peers, beside others.

use crate::kafka::Topic;
use crate::redis_server::RedisServer;
use crate::support::{Bridge, eventually, for_a_while};
use redis::Commands as _;
use redis::streams::StreamInfoConsumersReply;
use rushgate_gate::keys::BRIDGE_GROUP;

#[test]
fn what_was_pending_under_its_own_name_is_delivered_first() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=25);
    campaign.give_to("one", 20);
    // Pages of 3.
    let _bridge = Bridge::start(&redis, &topic, &["--read-count", "3"]);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 25);
}

#[test]
fn what_a_dead_peer_left_is_claimed_and_what_a_living_one_has_is_not() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=25);
    campaign.give_to("dead", 20);
    let patient = Bridge::start(&redis, &topic, &["--claim-idle", "60m"]);
    eventually("the new ones are delivered", || campaign.length() == 20);
    for_a_while("the others wait", || campaign.pending() == 20);
    patient.drain();
    let hurried = [
        "--claim-idle",
        "200ms",
        "--read-count",
        "3",
        "--consumer-name",
        "two",
    ];
    let _hurried = Bridge::start(&redis, &topic, &hurried);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 25);
}

#[test]
fn two_bridges_share_a_stream() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let bridges = ["one", "two"].map(|name| {
        let flags = ["--consumer-name", name, "--read-count", "10"];
        Bridge::start(&redis, &topic, &flags)
    });
    let consumers = |campaign: &mut crate::redis_server::Campaign| {
        let consumers: redis::RedisResult<StreamInfoConsumersReply> = campaign
            .redis
            .xinfo_consumers(campaign.keys.stream(), BRIDGE_GROUP);
        consumers.map_or(0, |consumers| consumers.consumers.len())
    };
    eventually("both read", || consumers(&mut campaign) == 2);
    for first in (1..=2000).step_by(100) {
        campaign.grant(first..first + 100);
    }
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 2000);
    bridges.into_iter().for_each(Bridge::drain);
}

#[test]
fn a_crash_in_mid_flow_loses_nothing() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=5000);
    for crash in 1..=3 {
        let bridge = Bridge::start(&redis, &topic, &["--window", "200", "--read-count", "50"]);
        let enough = 5000 - crash * 500;
        eventually("some are delivered", || campaign.length() <= enough);
        bridge.crash();
    }
    assert!(campaign.length() > 0, "it crashed before the end");
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 5000);
}

#[test]
fn at_the_end_what_was_delivered_is_acked_and_the_rest_not_begun() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=20_000);
    let bridge = Bridge::start(&redis, &topic, &["--window", "500"]);
    eventually("some are delivered", || campaign.length() < 18_000);
    bridge.drain();
    let left = campaign.length();
    assert!(left > 0, "it ended before everything was read");
    assert_eq!(campaign.pending(), 0);
    assert_eq!(topic.count(), 20_000 - left);
}
