//! Tests how much the bridge asks of Redis in a steady flow of grants.

use crate::kafka::Topic;
use crate::redis_server::RedisServer;
use crate::support::Bridge;

/// Each ack is a transaction, and Redis may have to wait for its disk.
#[test]
fn acks_gather_as_long_as_entries_do() {
    const READS: u64 = 30;
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    let bridge = Bridge::start(&redis, &topic, &[]);
    campaign.grant([1]);
    campaign.wait_until_empty();
    let before = campaign.calls("xreadgroup");
    let acks_before = campaign.calls("exec");
    let mut serials = 2..;
    while campaign.calls("xreadgroup") < before + READS {
        campaign.grant(serials.next());
    }
    let acks = campaign.calls("exec") - acks_before;
    // Without gathering, each read has several: its records are in several partitions. One of two may come between a
    // late report and the next read.
    assert!((1..=READS * 3 / 2).contains(&acks), "{acks} acks");
    campaign.wait_until_empty();
    bridge.drain();
}
