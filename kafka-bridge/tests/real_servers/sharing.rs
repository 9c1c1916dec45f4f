//! Tests which bridge reads which entries: after a crash, after another bridge has died, and with two bridges on one
//! stream.

use crate::kafka::Topic;
use crate::redis_server::{Campaign, RedisServer};
use crate::support::Bridge;
use redis::Commands as _;
use redis::streams::{StreamInfoConsumersReply, StreamRangeReply};
use rushgate_gate::keys::BRIDGE_GROUP;
use rushgate_testbed::wait::until_blocking;

#[test]
fn entries_pending_under_its_own_name_are_delivered_first() {
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
fn entries_of_a_dead_bridge_are_claimed_and_those_of_a_live_one_are_not() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=25);
    campaign.give_to("dead", 20);
    let patient = Bridge::start(&redis, &topic, &["--claim-idle", "60m"]);
    until_blocking("the new ones are delivered", || campaign.length() == 20);
    // It claims before it reads new entries.
    assert_eq!(pending_under(&mut campaign, "dead"), 20);
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

fn pending_under(campaign: &mut Campaign, name: &str) -> usize {
    let stream = campaign.keys.stream();
    let consumers: StreamInfoConsumersReply =
        (campaign.redis.xinfo_consumers(stream, BRIDGE_GROUP)).expect("XINFO CONSUMERS");
    let mut consumers = consumers.consumers.iter();
    let consumer = consumers.find(|consumer| consumer.name == name);
    consumer.map_or(0, |consumer| consumer.pending)
}

fn names(campaign: &mut Campaign) -> Vec<String> {
    let stream = campaign.keys.stream();
    let consumers: redis::RedisResult<StreamInfoConsumersReply> =
        campaign.redis.xinfo_consumers(stream, BRIDGE_GROUP);
    let consumers = consumers.map_or(vec![], |consumers| consumers.consumers);
    consumers
        .into_iter()
        .map(|consumer| consumer.name)
        .collect()
}

#[test]
fn a_bridge_that_stops_removes_its_name_unless_something_is_pending_under_it() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let (mut one, mut other) = (redis.campaign("one"), redis.campaign("other"));
    for number in 0..20 {
        let name = format!("pod-{number}");
        let bridge = Bridge::start(&redis, &topic, &["--consumer-name", &name]);
        one.grant([number + 1]);
        one.wait_until_empty();
        until_blocking("it reads both", || {
            names(&mut one) == [name.as_str()] && names(&mut other) == [name.as_str()]
        });
        bridge.drain();
        assert_eq!(names(&mut one), [""; 0]);
        assert_eq!(names(&mut other), [""; 0]);
    }
    topic.assert_each_once("one", 20);

    // Removing the name would also drop its pending entries.
    other.grant([1]);
    other.give_to("pod-21", 1);
    let bridge = Bridge::start(&redis, &topic, &["--consumer-name", "pod-22"]);
    until_blocking("it reads", || names(&mut other).len() == 2);
    bridge.drain();
    assert_eq!(names(&mut other), ["pod-21"]);
    assert_eq!(other.pending(), 1);

    // So would what is pending under its own name, which only the script sees.
    let bridge = Bridge::start(&redis, &topic, &["--consumer-name", "pod-22"]);
    until_blocking("it reads", || names(&mut other).len() == 2);
    let stream = other.keys.stream();
    let entries: StreamRangeReply = other.redis.xrange_all(&stream).expect("XRANGE");
    let mut claim = redis::cmd("XCLAIM");
    claim.arg(&stream).arg(BRIDGE_GROUP).arg("pod-22").arg(0);
    let claim = claim.arg(&entries.ids[0].id).exec(&mut other.redis);
    claim.expect("XCLAIM");
    bridge.drain();
    assert_eq!(names(&mut other), ["pod-21", "pod-22"]);
    assert_eq!(other.pending(), 1);
}

#[test]
fn names_of_silent_bridges_are_removed_when_nothing_is_pending_under_them() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant([1, 2]);
    campaign.give_to("pending", 1);
    campaign.give_to("empty", 1);
    let stream = campaign.keys.stream();
    let entries: StreamRangeReply = campaign.redis.xrange_all(&stream).expect("XRANGE");
    let of_the_empty_one = [&entries.ids[1].id];
    let acked: usize = campaign
        .redis
        .xack(&stream, BRIDGE_GROUP, &of_the_empty_one)
        .expect("XACK");
    assert_eq!(acked, 1);
    let impatient = ["--consumer-name", "living", "--claim-idle", "1440m"];
    let forgetful = [&impatient[..], &["--forget-idle", "1ms"]].concat();
    // With the default of one day, the names stay.
    let patient = Bridge::start(&redis, &topic, &impatient);
    until_blocking("it reads", || names(&mut campaign).len() == 3);
    patient.drain();
    assert_eq!(names(&mut campaign), ["empty", "pending"]);
    let _forgetful = Bridge::start(&redis, &topic, &forgetful);
    // With such a short time, its own name is removed while it waits for entries, and created again by its next
    // read.
    until_blocking("the empty one is forgotten", || {
        let names = names(&mut campaign);
        let is_there = |name: &str| names.iter().any(|there| there == name);
        is_there("pending") && !is_there("empty")
    });
    assert_eq!(campaign.pending(), 1);
}

#[test]
fn two_bridges_share_a_stream() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let bridges = ["one", "two"].map(|name| {
        let flags = ["--consumer-name", name, "--read-count", "10"];
        Bridge::start(&redis, &topic, &flags)
    });
    until_blocking("both read", || names(&mut campaign).len() == 2);
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
        until_blocking("some are delivered", || campaign.length() <= enough);
        bridge.crash();
    }
    assert!(campaign.length() > 0, "it crashed before the end");
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 5000);
}

#[test]
fn at_shutdown_delivered_entries_are_acked_and_no_others_are_read() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=20_000);
    let bridge = Bridge::start(&redis, &topic, &["--window", "500"]);
    until_blocking("some are delivered", || campaign.length() < 18_000);
    bridge.drain();
    let left = campaign.length();
    assert!(left > 0, "it ended before everything was read");
    assert_eq!(campaign.pending(), 0);
    assert_eq!(topic.count(), 20_000 - left);
}
