//! Reads the topic: which events it holds, and which of them the consumers have not committed.

use super::client::Kafka;
use crate::waiting::PATIENCE;
use anyhow::{Result, bail};
use backon::{BlockingRetryable, ConstantBuilder};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedHeaders;
use rdkafka::{Message, Offset, TopicPartitionList};
use rushgate_gate::event::EventKey;
use rushgate_gate::{CampaignId, Event, record};
use rushgate_startup::{LastKafkaError, kafka_headers};
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
enum From {
    Beginning,
    Committed,
}

/// A record whose key is one of ours.
struct Seen<'a> {
    key: &'a [u8],
    value: &'a [u8],
    headers: Option<&'a BorrowedHeaders>,
    /// The consumers have not committed it yet.
    waits: bool,
}

impl<'a> Seen<'a> {
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        kafka_headers(self.headers?)
            .find(|(found, _)| found.is_some_and(|found| found.eq_ignore_ascii_case(name)))?
            .1
    }
}

impl Kafka {
    /// Events of `campaign` that the consumers have not committed yet. Reads all of them, so it takes longer the more
    /// the consumers lag.
    pub async fn waiting(&self, campaign: &CampaignId) -> Result<usize> {
        let campaign = campaign.clone();
        self.ask(move |kafka| {
            let mut waiting = 0;
            kafka.read(From::Committed, |key, _| {
                waiting += usize::from(key.campaign == campaign);
            })?;
            Ok(waiting)
        })
        .await
    }

    /// Every event of `campaign` that the topic still holds, each with whether consumers have yet to commit it. Skips
    /// records without an event or without the bridge's signature: the consumers make dead letters of them.
    pub async fn events(&self, campaign: &CampaignId) -> Result<Vec<(Event, bool)>> {
        let campaign = campaign.clone();
        self.ask(move |kafka| {
            let mut events = vec![];
            kafka.read(From::Beginning, |key, record| {
                if key.campaign != campaign {
                    return;
                }
                let header = |name: &str| record.header(name);
                let is_doubtful = || {
                    kafka
                        .trust
                        .problem(record.key, record.value, header)
                        .is_some()
                };
                if kafka.trust.is_strict() && is_doubtful() {
                    return;
                }
                let event = record::event(record.key, record.value, header);
                events.extend(event.ok().map(|event| (event, record.waits)));
            })?;
            Ok(events)
        })
        .await
    }

    /// Passes every record with one of our keys to `each`, from `from` to the present end of the topic.
    fn read(&self, from: From, mut each: impl FnMut(EventKey, Seen<'_>)) -> Result<()> {
        let consumer = self.consumer()?;
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(&consumer)? {
            asked.add_partition(&self.topic, partition);
        }
        let committed = self.committed(&consumer, &asked)?;

        let mut unread = TopicPartitionList::new();
        let mut bounds = HashMap::new();
        for partition in committed.elements() {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition.partition(), PATIENCE)
                .map_err(|error| self.unusable(&error))?;
            let next = match partition.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            let first = match from {
                From::Beginning => low,
                From::Committed => next,
            };
            if first < high {
                unread.add_partition_offset(
                    &self.topic,
                    partition.partition(),
                    Offset::Offset(first),
                )?;
                bounds.insert(partition.partition(), (next, high));
            }
        }
        consumer.assign(&unread)?;

        let mut heard = Instant::now();
        while !bounds.is_empty() {
            let record = match consumer.poll(PATIENCE) {
                Some(Ok(record)) => record,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    bounds.remove(&partition);
                    continue;
                }
                // librdkafka has lost its connections, and connects again by itself.
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
                        && !self.last_error.is_refusal()
                        && heard.elapsed() < PATIENCE =>
                {
                    continue;
                }
                Some(Err(error)) => return Err(self.unusable(&error)),
                None => bail!(
                    "reading the topic: Kafka did not return records below the end offset that it reports"
                ),
            };
            heard = Instant::now();
            let Some((next, high)) = bounds.get(&record.partition()).copied() else {
                continue;
            };
            let key = record.key().unwrap_or_default();
            if let Some(Ok(event_key)) = str::from_utf8(key).ok().map(str::parse) {
                let seen = Seen {
                    key,
                    value: record.payload().unwrap_or_default(),
                    headers: record.headers(),
                    waits: record.offset() >= next,
                };
                each(event_key, seen);
            }
            if record.offset() + 1 >= high {
                bounds.remove(&record.partition());
            }
        }
        Ok(())
    }

    /// The consumers' committed offsets. A broker that has just started, or does not know the group, first has to find
    /// the group's coordinator.
    pub(super) fn committed(
        &self,
        consumer: &BaseConsumer<LastKafkaError>,
        asked: &TopicPartitionList,
    ) -> Result<TopicPartitionList> {
        use RDKafkaErrorCode::{
            CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator,
        };
        let deadline = Instant::now() + PATIENCE;
        let pauses = ConstantBuilder::new()
            .with_delay(Duration::from_millis(100))
            .without_max_times();
        let committed = (|| consumer.committed_offsets(asked.clone(), PATIENCE))
            .retry(pauses)
            .when(|error| {
                let code = error.rdkafka_error_code();
                Instant::now() < deadline
                    && matches!(
                        code,
                        Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
                    )
            });
        committed.call().map_err(|error| {
            // Without the right to find the coordinator, there is no answer. librdkafka says why only while polling.
            while consumer.poll(Duration::from_millis(10)).is_some() {}
            self.unusable(&error)
        })
    }
}
