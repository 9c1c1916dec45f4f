//! Parks records that have their rows, because their grants cannot be confirmed at the gate.

use crate::kafka::record::Delivery;
use crate::rejection::{Reason, Rejection};
use crate::table::dead_letter::insert_failed_event;
use crate::table::error::StoreError;
use crate::table::session::Session;
use sqlx::Connection;
use sqlx::mysql::MySqlConnectOptions;

pub(crate) struct Parking {
    session: Session,
    topic: String,
}

impl Parking {
    /// It connects when it is first needed.
    pub(crate) fn new(options: MySqlConnectOptions, topic: String) -> Self {
        Self {
            session: Session::new(options),
            topic,
        }
    }

    /// Parks the records with the reason `unconfirmed`.
    ///
    /// # Errors
    /// When the database does not answer or refuses. It is safe to call it again.
    pub(crate) async fn park(
        &mut self,
        records: &[&Delivery],
        why: &str,
    ) -> Result<(), StoreError> {
        let mut connection = self.session.take().await?;
        let rejection = Rejection::new(Reason::Unconfirmed, why);
        let mut transaction = connection.begin().await?;
        for delivery in records {
            if !insert_failed_event(&mut transaction, &self.topic, delivery, &rejection).await? {
                // The record had a dead letter already.
                let record = &delivery.record;
                sqlx::query(
                    "UPDATE failed_events SET reason = ?, detail = ? WHERE topic = ? AND kafka_partition = ? \
                     AND kafka_offset = ? AND kafka_timestamp = ? AND resolution IS NULL",
                )
                .bind(rejection.reason.as_str())
                .bind(&rejection.detail)
                .bind(&self.topic)
                .bind(record.partition)
                .bind(record.offset)
                .bind(record.timestamp)
                .execute(&mut *transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        self.session.put_back(connection);
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.session.close().await;
    }
}
