//! Tests how much the bridge asks of Redis in a steady flow of grants, and for a backlog.

use crate::kafka::Topic;
use crate::redis_server::RedisServer;
use crate::support::Bridge;
use std::time::Instant;

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

/// A read covers 256 streams, and gives up to 1,000 entries in all.
#[test]
fn a_backlog_of_one_campaign_among_many_is_read_in_large_pieces() {
    const CAMPAIGNS: usize = 300;
    const BACKLOG: u32 = 3_000;
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaigns: Vec<_> = (0..CAMPAIGNS)
        .map(|number| redis.campaign(&format!("c{number:03}")))
        .collect();
    let [hot, .., last] = campaigns.as_mut_slice() else {
        panic!("too few campaigns");
    };
    hot.grant(1..=BACKLOG);
    last.grant([1]);
    let begun = Instant::now();
    let bridge = Bridge::start(&redis, &topic, &[]);
    last.wait_until_empty();
    hot.wait_until_empty();
    let reads = hot.calls("xreadgroup");
    // With three entries of each stream at a time, the backlog alone would take 1,000 reads. A read that finds nothing
    // waits for 50 ms, because it takes two to read all streams.
    let idle = begun.elapsed().as_millis() / 50;
    assert!(
        u128::from(reads) < 100 + idle,
        "{reads} reads, of which {idle} may be idle"
    );
    assert_eq!(topic.records().len(), BACKLOG as usize + 1);
    bridge.drain();
}
