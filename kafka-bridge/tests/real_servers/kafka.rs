//! Creates a separate Kafka topic for each test, and reads its records.

use crate::support::{block_on, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rushgate_testbed::wait::until_blocking;
use std::collections::BTreeMap;
use std::time::Duration;

const PARTITIONS: i32 = 3;

/// A topic. It is deleted when this is dropped.
pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) name: String,
    admin: Option<AdminClient<DefaultClientContext>>,
}

/// The parts of a record that tests check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
}

fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS is not set: run `cargo xtask test`")
}

impl Topic {
    pub(crate) fn create() -> Self {
        let (brokers, name) = (brokers(), unique("bridge-test"));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers);
        let admin: AdminClient<_> = config.create().expect("an admin client");
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
        let created = block_on(admin.create_topics([&topic], &AdminOptions::new()));
        assert_eq!(created.expect("an answer"), [Ok(name.clone())]);
        Self {
            brokers,
            name,
            admin: Some(admin),
        }
    }

    /// On a mock cluster, which can inject faults.
    pub(crate) fn on_mock(cluster: &MockCluster<'static, DefaultProducerContext>) -> Self {
        let name = unique("bridge-test");
        cluster.create_topic(&name, PARTITIONS, 1).expect("a topic");
        Self {
            brokers: cluster.bootstrap_servers(),
            name,
            admin: None,
        }
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.name)
            .set("enable.auto.commit", "false");
        config.create().expect("a consumer")
    }

    /// The number of records in the topic.
    pub(crate) fn count(&self) -> usize {
        self.ends(&self.consumer())
            .values()
            .map(|end| *end as usize)
            .sum()
    }

    fn ends(&self, consumer: &BaseConsumer) -> BTreeMap<i32, i64> {
        let patience = Duration::from_secs(10);
        let end = |partition| {
            let marks = consumer.fetch_watermarks(&self.name, partition, patience);
            marks.expect("watermarks").1
        };
        (0..PARTITIONS)
            .map(|partition| (partition, end(partition)))
            .collect()
    }

    /// All records in the topic.
    pub(crate) fn records(&self) -> Vec<Found> {
        let consumer = self.consumer();
        let ends = self.ends(&consumer);
        let expected: usize = ends.values().map(|end| *end as usize).sum();
        let mut partitions = TopicPartitionList::new();
        for partition in ends.keys() {
            let added = partitions.add_partition_offset(&self.name, *partition, Offset::Beginning);
            added.expect("a partition");
        }
        consumer.assign(&partitions).expect("assign");
        let mut found = Vec::new();
        until_blocking("all records are read", || {
            while found.len() < expected
                && let Some(record) = consumer.poll(Duration::from_millis(100))
            {
                let record = record.expect("a record");
                let headers = record
                    .headers()
                    .into_iter()
                    .flat_map(|headers| headers.iter());
                let text = |bytes: &[u8]| String::from_utf8(bytes.into()).expect("a text");
                found.push(Found {
                    key: text(record.key().expect("a key")),
                    value: record.payload().expect("a value").into(),
                    headers: headers
                        .map(|header| (header.key.to_owned(), text(header.value.expect("a value"))))
                        .collect(),
                });
            }
            found.len() == expected
        });
        found
    }

    /// How often each key occurs.
    pub(crate) fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for record in self.records() {
            *keys.entry(record.key).or_default() += 1;
        }
        keys
    }

    /// Asserts that every serial of the campaign up to `last` is in the topic, and no other key.
    pub(crate) fn assert_all(&self, campaign: &str, last: u32) -> BTreeMap<String, usize> {
        let keys = self.keys();
        for serial in 1..=last {
            assert!(
                keys.contains_key(&format!("{campaign}/once/{serial}")),
                "{serial} is missing"
            );
        }
        assert_eq!(keys.len(), last as usize, "nothing else is there");
        keys
    }

    /// Asserts that every serial of the campaign up to `last` is in the topic exactly once, and no other key.
    pub(crate) fn assert_each_once(&self, campaign: &str, last: u32) {
        let keys = self.assert_all(campaign, last);
        let twice: Vec<_> = keys.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "more than once: {twice:?}");
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if let Some(admin) = &self.admin {
            let _ = block_on(admin.delete_topics(&[&self.name], &AdminOptions::new()));
        }
    }
}

pub(crate) fn mock() -> MockCluster<'static, DefaultProducerContext> {
    MockCluster::new(1).expect("a mock cluster")
}
