//! Publishes records again.

use super::client::{Kafka, Publisher};
use crate::waiting::{PATIENCE, noting};
use anyhow::Result;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rushgate_gate::{dead_letter, record};

impl Kafka {
    /// Publishes a record again, to the partition that the bridge chose, and waits for the delivery report.
    pub async fn publish(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[dead_letter::Header],
    ) -> Result<()> {
        let Publisher {
            producer,
            partitions,
        } = self.connected().await?;
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic);
        if let Some(key) = key {
            let partition = record::partition(key, *partitions);
            record = record.key(key).partition(partition);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: value.as_ref(),
                })
            });
        let sending = producer.send(record.headers(headers), PATIENCE);
        noting("Kafka has not answered yet", Some(PATIENCE), sending)
            .await
            .map_err(|(error, _)| self.unusable(&error))?;
        Ok(())
    }

    /// Connects for publishing, if not connected yet.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses. Nothing was published then.
    pub async fn connect(&self) -> Result<()> {
        self.connected().await.map(drop)
    }

    async fn connected(&self) -> Result<&Publisher> {
        let publisher = self.producer.get_or_try_init(|| self.ask(Self::publisher));
        publisher.await
    }

    fn publisher(&self) -> Result<Publisher> {
        let mut client = self.client.clone();
        client
            .set("acks", "all")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer = client.create_with_context(self.last_error.clone())?;
        let partitions = self.partitions(&self.consumer()?)?;
        Ok(Publisher {
            producer,
            partitions: i32::try_from(partitions.len())?,
        })
    }
}
