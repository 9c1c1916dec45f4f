//! Defines every metric of the bridge with its labels and its meaning.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

/// The metrics of a bridge. Without a metrics endpoint, they are recorded nowhere.
pub struct Metrics {
    /// `rushgate_bridge_ready`: 1 if Redis, the consumer groups and Kafka work, 0 if one of them does not.
    pub ready: Gauge,
    /// `rushgate_bridge_in_flight`: entries that wait for their delivery report.
    pub in_flight: Gauge,
    /// `rushgate_bridge_unsettled`: entries that Redis has not yet confirmed as acked or moved.
    pub unacked: Gauge,
    /// `rushgate_bridge_oldest_grant_without_row_seconds`: the age of the oldest grant without a row, over all
    /// campaigns; 0 if every grant has its row.
    pub oldest_without_row: Gauge,
    /// `rushgate_bridge_unread_campaigns`: campaigns whose streams are not read, because they take user ids
    /// that `KAFKA_VALUE_FORMAT=long` cannot carry.
    pub unread_campaigns: Gauge,
    /// `rushgate_bridge_published_total`: records that Kafka has confirmed.
    pub published: Counter,
    /// `rushgate_bridge_delivery_failures_total`: records that Kafka has not confirmed. Their entries are sent
    /// again.
    pub delivery_failures: Counter,
    /// `rushgate_bridge_acked_total`: entries that Redis has confirmed as acked and deleted.
    pub acked: Counter,
    /// `rushgate_bridge_redelivered_total`: entries sent to Kafka that a bridge had read before. Their records
    /// may be in the topic twice.
    pub redelivered: Counter,
    /// `rushgate_bridge_dead_letters_total`: entries moved to the dead letters.
    pub dead_letters: Counter,
    /// `rushgate_bridge_lost_entries_total`: entries that another client deleted before they were delivered.
    pub lost_entries: Counter,
    /// `rushgate_bridge_errors_total{doing="reading"}`: failed reads.
    pub read_errors: Counter,
    /// `rushgate_bridge_errors_total{doing="settling"}`: failed acks and dead letters. They are tried again.
    pub completion_errors: Counter,
}

impl Metrics {
    pub fn register() -> Self {
        let errors = "rushgate_bridge_errors_total";
        describe_counter!(
            errors,
            "Failed commands to Redis, by activity: reading or settling (acking)."
        );
        Self {
            ready: described_gauge(
                "rushgate_bridge_ready",
                "1 if Redis, the consumer groups and Kafka work, else 0.",
            ),
            in_flight: described_gauge(
                "rushgate_bridge_in_flight",
                "Entries that wait for their delivery report.",
            ),
            unacked: described_gauge(
                "rushgate_bridge_unsettled",
                "Entries that Redis has not yet confirmed as acked or moved.",
            ),
            oldest_without_row: described_gauge(
                "rushgate_bridge_oldest_grant_without_row_seconds",
                "Age of the oldest grant without a row, over all campaigns; 0 if every grant has its row.",
            ),
            unread_campaigns: described_gauge(
                "rushgate_bridge_unread_campaigns",
                "Campaigns whose streams are not read, because KAFKA_VALUE_FORMAT=long cannot carry their user ids.",
            ),
            published: described_counter(
                "rushgate_bridge_published_total",
                "Records that Kafka has confirmed.",
            ),
            delivery_failures: described_counter(
                "rushgate_bridge_delivery_failures_total",
                "Records that Kafka has not confirmed; their entries are sent again.",
            ),
            acked: described_counter(
                "rushgate_bridge_acked_total",
                "Entries acked and deleted from their stream.",
            ),
            redelivered: described_counter(
                "rushgate_bridge_redelivered_total",
                "Entries sent to Kafka that a bridge had read before.",
            ),
            dead_letters: described_counter(
                "rushgate_bridge_dead_letters_total",
                "Entries moved to the dead letters.",
            ),
            lost_entries: described_counter(
                "rushgate_bridge_lost_entries_total",
                "Entries that another client deleted before they were delivered.",
            ),
            read_errors: counter!(errors, "doing" => "reading"),
            completion_errors: counter!(errors, "doing" => "settling"),
        }
    }
}

fn described_counter(name: &'static str, meaning: &'static str) -> Counter {
    describe_counter!(name, meaning);
    counter!(name)
}

fn described_gauge(name: &'static str, meaning: &'static str) -> Gauge {
    describe_gauge!(name, meaning);
    gauge!(name)
}
