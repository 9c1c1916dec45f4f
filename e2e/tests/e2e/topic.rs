//! Tests how the topic is created, and what happens to grants that Kafka has confirmed and then lost.

use crate::view::{View, granted};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How many partitions `rushgate setup` gives a topic.
const PARTITIONS: i32 = 4;

/// How long the oldest grant has had no row, from the bridge's metrics; none before the first look.
async fn oldest(system: &System) -> Option<f64> {
    let metrics = system.metrics("bridge-0").await.expect("metrics");
    let gauge = "rushgate_bridge_oldest_grant_without_row_seconds ";
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(gauge))?;
    Some(value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_confirmed_and_lost_is_found_and_put_back() {
    let settings = [("BRIDGE_OVERDUE_EVERY", "200ms")];
    let mut system = System::start_with(Size::NO_CONSUMER, &settings).await;
    system.operator.create("launch", 5).await.expect("created");
    {
        let launch = View::of(&system, "launch");
        for (serial, user_id) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(
                launch.apply(user_id).await,
                granted(serial as u32 + 1),
                "{user_id}"
            );
        }
        until("the grants are in Kafka", async || {
            let evidence = system.stores().read("launch").await.ok()?;
            (evidence.lag == 3 && evidence.entries == 0).then_some(())
        })
        .await;
    }
    system.stores().empty_topic().await.expect("emptied");
    system.start_consumer().await;
    let launch = View::of(&system, "launch");

    // Later grants are not delayed, and do not hide the loss.
    assert_eq!(launch.apply("d").await, granted(4));
    launch.has_rows(1).await;
    until("the gauge tells of it", async || {
        (oldest(&system).await > Some(1.0)).then_some(())
    })
    .await;
    let found = launch.exits(2, &["audit", "launch"]).await;
    let missing = "is held at the gate and has no row: it has left the stream, and Kafka holds no record of it now";
    assert!(
        found.contains("3 findings") && found.contains(missing),
        "{found}"
    );
    launch.exits(0, &["audit", "launch", "--repair"]).await;
    launch.has_rows(4).await;
    launch.exits(0, &["audit", "launch"]).await;
    until("the gauge tells that all have rows", async || {
        (oldest(&system).await == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_made_so_that_it_keeps_what_it_confirms_or_setup_says_that_it_cannot() {
    let system = System::start(Size::NONE).await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", server("KAFKA_BROKERS"))
        .create()
        .expect("a client");
    let topic = [ResourceSpecifier::Topic(system.topic())];
    let described = admin.describe_configs(&topic, &AdminOptions::new()).await;
    let described = described.expect("Kafka").pop().expect("a topic");
    let described = described.expect("its settings");
    for (name, expected) in [
        // The tests have one broker.
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
        ("cleanup.policy", "delete"),
        ("retention.ms", "2592000000"),
        ("retention.bytes", "-1"),
    ] {
        let setting = described.get(name).expect(name);
        assert_eq!(setting.value.as_deref(), Some(expected), "{name}");
        assert!(!setting.is_default, "{name} is left to the broker");
    }
    let again = system.operator.end_of(&["setup"]).await.expect("run");
    assert_eq!(again.code, Some(0), "{again:?}");
    let warning = format!("warning: topic {} has one replica", system.topic());
    assert!(again.stderr.contains(&warning), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_producer_delays_no_grant() {
    const LONG: Duration = Duration::from_secs(30);
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 5).await.expect("created");
    let launch = View::of(&system, "launch");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", server("KAFKA_BROKERS"))
        .set("transactional.id", system.topic())
        .create()
        .expect("a producer");
    // It is left open, in every partition.
    let begun = spawn_blocking({
        let topic = system.topic().to_owned();
        move || {
            producer.init_transactions(LONG).expect("init");
            producer.begin_transaction().expect("begin");
            for partition in 0..PARTITIONS {
                let record = BaseRecord::to(&topic).key("x").payload("{");
                let sent = producer.send(record.partition(partition));
                sent.map_err(|(error, _)| error).expect("sent");
            }
            producer.flush(LONG).expect("flushed");
            producer
        }
    });
    let producer = begun.await.expect("a transaction");
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    // Each partition ends with its mark, which no consumer gets.
    let aborted = spawn_blocking(move || producer.abort_transaction(LONG));
    aborted.await.expect("run").expect("aborted");
    until("all that was in it are dead letters", async || {
        let list = launch.json(&["failed", "list"]).await;
        (list.len() == PARTITIONS as usize).then_some(())
    })
    .await;
    launch.exits(0, &["audit", "launch"]).await;
    launch.does(&["restore", "launch", "--halt"]).await;
}
