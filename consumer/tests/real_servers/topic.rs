//! Creates a separate Kafka topic for each test, and observes the consumer groups that read it.

use crate::{CAMPAIGN, setting, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use rushgate_testbed::wait::{until, until_blocking};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// A topic. It is deleted from the broker when this is dropped.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) group: String,
    partitions: i32,
    producer: BaseProducer,
}

/// A record to publish.
pub(crate) struct TestRecord<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a [u8],
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl Topic {
    pub(crate) async fn new(partitions: i32) -> Self {
        let name = unique("coupon_create");
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let made = admin().create_topics(&[topic], &AdminOptions::new()).await;
        made.expect("asks")[0].clone().expect("is made");
        Self {
            group: unique("rushgate-consumer"),
            partitions,
            producer: client()
                .set("partitioner", "murmur2_random")
                .set("linger.ms", "5")
                .create()
                .expect("a producer"),
            name,
        }
    }

    /// Switches to a new group, which reads the topic from the start.
    pub(crate) fn read_again(&mut self) {
        self.group = unique("rushgate-consumer");
    }

    /// Publishes grants in order: serial n to user `u{n}`.
    pub(crate) fn publish_grants(&self, serials: RangeInclusive<u32>) {
        self.publish_grants_to(serials, |serial| format!("u{serial}"));
    }

    /// Publishes grants in order: serial n to user `user_id(n)`.
    pub(crate) fn publish_grants_to(
        &self,
        serials: RangeInclusive<u32>,
        user_id: impl Fn(u32) -> String,
    ) {
        for serial in serials {
            self.send_event("granted", serial, &user_id(serial));
        }
        self.flush();
    }

    /// Publishes one event in the documented format.
    pub(crate) fn publish(&self, what: &str, serial: u32, user_id: &str) {
        self.send_event(what, serial, user_id);
        self.flush();
    }

    pub(crate) fn publish_record(&self, record: &TestRecord<'_>) {
        self.send(record);
        self.flush();
    }

    /// Publishes one grant of the given campaign in the documented format.
    pub(crate) fn publish_grant_of(&self, campaign: &str, serial: u32, user_id: &str) {
        self.send_event_of(campaign, "granted", serial, user_id);
        self.flush();
    }

    fn send_event(&self, what: &str, serial: u32, user_id: &str) {
        self.send_event_of(CAMPAIGN, what, serial, user_id);
    }

    fn send_event_of(&self, campaign: &str, what: &str, serial: u32, user_id: &str) {
        let value = format!(
            r#"{{"type":"coupon.{what}","campaign":"{campaign}","round":"once","serial":{serial},"user_id":"{user_id}","at":1796086800123}}"#
        );
        self.send(&TestRecord {
            key: &format!("{campaign}/once/{serial}"),
            value: value.as_bytes(),
            headers: &[("content-type", "application/json")],
        });
    }

    /// Sends one record; [`flush`](Self::flush) waits for it.
    pub(crate) fn send(&self, record: &TestRecord<'_>) {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(*value),
                })
            });
        let mut record = BaseRecord::to(&self.name)
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        while let Err((error, again)) = self.producer.send(record) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            self.producer.poll(Duration::from_millis(10));
            record = again;
        }
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(LONG).expect("is published");
    }

    /// The sum of the offsets that the group has committed.
    pub(crate) fn committed(&self) -> i64 {
        let consumer: BaseConsumer = client()
            .set("group.id", &self.group)
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, self.partitions - 1);
        let committed = until_blocking("the group has a coordinator", || {
            match consumer.committed_offsets(list.clone(), LONG) {
                Err(error) if has_no_coordinator_yet(&error) => None,
                committed => Some(committed.expect("answers")),
            }
        });
        let offset = |offset| match offset {
            Offset::Offset(offset) => offset,
            _ => 0,
        };
        committed
            .elements()
            .iter()
            .map(|element| offset(element.offset()))
            .sum()
    }

    /// How often the group has committed, by the broker's own records.
    pub(crate) fn commits(&self) -> usize {
        const COMMITTED: &str = "__consumer_offsets";
        let consumer: BaseConsumer = client()
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(COMMITTED), LONG);
        let partitions = metadata.expect("answers").topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).expect("few") {
            list.add_partition_offset(COMMITTED, partition, Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&list).expect("assigns");
        let (mut commits, mut ended) = (0, BTreeSet::new());
        while ended.len() < partitions {
            match consumer.poll(LONG).expect("a record or an end") {
                Ok(record) => {
                    let key = record.key().unwrap_or_default();
                    let has =
                        |name: &str| key.windows(name.len()).any(|part| part == name.as_bytes());
                    commits += usize::from(has(&self.group) && has(&self.name));
                }
                Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
                Err(error) => panic!("{error}"),
            }
        }
        commits
    }

    /// Waits until the group has committed this number of records.
    pub(crate) async fn until_committed(&self, records: i64) {
        until("the offsets are committed", async || {
            self.committed() == records
        })
        .await;
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let (name, group) = (self.name.clone(), self.group.clone());
        aside(async move {
            // A topic that cannot be deleted does no harm.
            let _ = admin().delete_topics(&[&name], &AdminOptions::new()).await;
            let _ = admin().delete_groups(&[&group], &AdminOptions::new()).await;
        });
    }
}

/// A broker that has just started does not know yet which broker keeps the offsets of a group.
fn has_no_coordinator_yet(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(
        error.rdkafka_error_code(),
        Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
    )
}

/// Runs async work to its end inside a destructor.
pub(crate) fn aside(work: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(work);
    });
    let _ = thread.join();
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", setting("KAFKA_BROKERS"));
    config
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().expect("an admin client")
}
