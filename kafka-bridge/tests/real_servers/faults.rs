//! Tests of faults of Redis and Kafka: a server is unavailable, has lost data, or refuses requests.

use crate::kafka::{Topic, mock};
use crate::redis_server::RedisServer;
use crate::support::Bridge;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use redis::Commands as _;
use rushgate_gate::keys::{BRIDGE_GROUP, CAMPAIGNS};
use rushgate_testbed::port::Port;
use rushgate_testbed::wait::until_blocking;

#[test]
fn a_destroyed_group_is_made_again_and_everything_in_the_stream_delivered() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let _bridge = Bridge::start(&redis, &topic, &[]);
    for round in 0..5 {
        until_blocking("there is a group", || campaign.has_group());
        campaign.grant(round * 10 + 1..=round * 10 + 10);
        let stream = campaign.keys.stream();
        let destroyed: bool =
            (campaign.redis.xgroup_destroy(stream, BRIDGE_GROUP)).expect("XGROUP");
        assert!(destroyed);
        until_blocking("the stream is empty", || campaign.length() == 0);
    }
    topic.assert_all("welcome", 50);
}

#[test]
fn a_wiped_redis_is_served_again() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.grant([1]);
    campaign.wait_until_empty();
    redis::cmd("FLUSHALL")
        .exec(&mut campaign.redis)
        .expect("FLUSHALL");
    redis.until_bridge_has_gone_on();
    let is_made_up: bool = (campaign.redis.exists(campaign.keys.stream())).expect("EXISTS");
    assert!(!is_made_up, "the bridge has created a stream");
    campaign
        .redis
        .sadd::<_, _, ()>(CAMPAIGNS, "welcome")
        .expect("SADD");
    campaign.grant([2]);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 2);
}

#[test]
fn redis_may_come_late_and_go_away() {
    let (mut redis, topic) = (RedisServer::stopped(), Topic::create());
    let _bridge = Bridge::start(&redis, &topic, &[]);
    redis.until_clients_have_come();
    redis.restart();
    redis.campaign("welcome").grant(1..=100);
    redis.campaign("welcome").wait_until_empty();
    for round in 1..=3 {
        redis
            .campaign("welcome")
            .grant(round * 100 + 1..=round * 100 + 100);
        redis.restart();
    }
    redis.campaign("welcome").wait_until_empty();
    topic.assert_all("welcome", 400);
}

#[test]
fn without_kafka_the_stream_keeps_everything() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=1000);
    // No server listens here.
    let closed = Port::free().expect("a free port");
    let address = closed.address().to_string();
    let nowhere = ["--kafka-brokers", &address, "--window", "100"];
    let nowhere = Bridge::start(&redis, &topic, &nowhere);
    until_blocking("it has made its group", || campaign.has_group());
    redis.until_bridge_has_gone_on();
    assert_eq!((campaign.length(), campaign.pending()), (1000, 0));
    nowhere.drain();
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 1000);
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    // librdkafka retries after these errors. They last for the whole test.
    let unwilling = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    kafka.request_errors(RDKafkaApiKey::Produce, &[unwilling; 10_000]);
    campaign.grant(1..=500);
    let _bridge = Bridge::start(&redis, &topic, &["--window", "50", "--read-count", "20"]);
    until_blocking("the window is full", || campaign.pending() > 40);
    redis.until_bridge_has_gone_on();
    let (length, pending) = (campaign.length(), campaign.pending());
    assert!(length == 500 && pending <= 50, "{pending} of {length}");
    kafka.clear_request_errors(RDKafkaApiKey::Produce);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 500);
}

#[test]
fn records_that_kafka_refused_are_sent_again_without_being_claimed() {
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    kafka.request_errors(RDKafkaApiKey::Produce, &[refused; 5]);
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.grant(1..=100);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 100);
}

#[test]
fn records_that_kafka_did_not_confirm_in_time_are_sent_again() {
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    let unwilling = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    kafka.request_errors(RDKafkaApiKey::Produce, &[unwilling; 10_000]);
    let _bridge = Bridge::start(&redis, &topic, &["--delivery-timeout", "300ms"]);
    campaign.grant(1..=100);
    until_blocking("given to it twice", || {
        let pending: redis::streams::StreamPendingCountReply = campaign
            .redis
            .xpending_count(campaign.keys.stream(), BRIDGE_GROUP, "-", "+", 1)
            .unwrap_or_default();
        pending
            .ids
            .first()
            .is_some_and(|entry| entry.times_delivered > 2)
    });
    kafka.clear_request_errors(RDKafkaApiKey::Produce);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 100);
}

#[test]
fn a_producer_with_a_fatal_error_is_replaced() {
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    kafka.request_errors(RDKafkaApiKey::InitProducerId, &[fatal; 2]);
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.grant(1..=100);
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 100);
}

#[test]
fn refused_acks_are_retried_and_nothing_is_sent_twice() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let acks = |redis: &mut redis::Connection, rule| {
        let command = redis::cmd("ACL")
            .arg("SETUSER")
            .arg("default")
            .arg(rule)
            .exec(redis);
        command.expect("ACL SETUSER");
    };
    acks(&mut campaign.redis, "-xack");
    campaign.grant(1..=500);
    let _bridge = Bridge::start(&redis, &topic, &["--window", "50", "--read-count", "20"]);
    until_blocking("the window is full", || campaign.pending() > 40);
    until_blocking("acks are refused again", || campaign.refused_commands() > 1);
    redis.until_bridge_has_gone_on();
    let (length, pending) = (campaign.length(), campaign.pending());
    assert!(length == 500 && pending <= 50, "{pending} of {length}");
    acks(&mut campaign.redis, "+xack");
    campaign.wait_until_empty();
    topic.assert_each_once("welcome", 500);
}

/// Here the dead letters of one campaign cannot be written, as with a Redis ACL that lacks the key.
#[test]
fn an_ack_that_redis_refuses_does_not_hold_up_other_campaigns() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let (mut welcome, mut sick) = (redis.campaign("welcome"), redis.campaign("sick"));
    let stream = sick.keys.stream();
    sick.add(&[("type", "nothing".to_owned())]);
    welcome.grant(1..=2_000);
    let keys = ["resetkeys", "~rushgate:campaigns", "~rushgate:{welcome}:*"];
    let mut rules = redis::cmd("ACL");
    rules.arg("SETUSER").arg("default").arg(&keys);
    let rules = rules.arg(format!("~{stream}")).exec(&mut sick.redis);
    rules.expect("ACL SETUSER");
    let _bridge = Bridge::start(&redis, &topic, &["--window", "50", "--read-count", "20"]);
    welcome.wait_until_empty();
    assert_eq!(sick.pending(), 1);
    topic.assert_each_once("welcome", 2_000);
}

#[test]
fn entries_deleted_while_pending_do_not_stay_pending() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=4);
    campaign.give_to("one", 2);
    campaign.give_to("dead", 1);
    let entries: redis::streams::StreamRangeReply = campaign
        .redis
        .xrange_all(campaign.keys.stream())
        .expect("XRANGE");
    for entry in [&entries.ids[0].id, &entries.ids[2].id] {
        campaign
            .redis
            .xdel::<_, _, ()>(campaign.keys.stream(), &[entry])
            .expect("XDEL");
    }
    let _bridge = Bridge::start(&redis, &topic, &["--claim-idle", "100ms"]);
    campaign.wait_until_empty();
    let keys: Vec<_> = topic.keys().into_keys().collect();
    assert_eq!(keys, ["welcome/once/2", "welcome/once/4"]);
}

#[test]
fn the_drain_is_limited_and_undelivered_entries_stay_pending() {
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    let unwilling = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    kafka.request_errors(RDKafkaApiKey::Produce, &[unwilling; 10_000]);
    campaign.grant(1..=10);
    // Without its limit, the drain would take as long as a delivery.
    let limits = ["--drain-timeout", "300ms", "--delivery-timeout", "60m"];
    let bridge = Bridge::start(&redis, &topic, &limits);
    until_blocking("all are in flight", || campaign.pending() == 10);
    bridge.drain();
    assert_eq!((campaign.length(), campaign.pending()), (10, 10));
    kafka.clear_request_errors(RDKafkaApiKey::Produce);
    let _bridge = Bridge::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 10);
}
