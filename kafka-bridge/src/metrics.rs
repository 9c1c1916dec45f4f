//! What can be measured, and how it is served: names, labels and meanings of all metrics are here.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use std::net::SocketAddr;

/// The metrics of a bridge. Made after [`serve`], they are served; without it they cost next to nothing.
pub struct Metrics {
    /// `rushgate_bridge_ready`: 1 once Redis, the groups and Kafka answer, 0 while one of them does not.
    pub ready: Gauge,
    /// `rushgate_bridge_in_flight`: entries that wait for their delivery report.
    pub in_flight: Gauge,
    /// `rushgate_bridge_unsettled`: entries that Redis has still to confirm as acked or moved.
    pub unacked: Gauge,
    /// `rushgate_bridge_oldest_grant_without_row_seconds`: for how long the oldest grant has been without a row, of all
    /// campaigns; 0 if all have one.
    pub oldest_without_row: Gauge,
    /// `rushgate_bridge_unread_campaigns`: campaigns whose stream is left unread, because they take user ids that
    /// `KAFKA_VALUE_FORMAT=long` cannot carry.
    pub unread_campaigns: Gauge,
    /// `rushgate_bridge_published_total`: records that Kafka has, by their delivery reports.
    pub published: Counter,
    /// `rushgate_bridge_delivery_failures_total`: records that Kafka does not have, or may not have; their
    /// entries are sent again.
    pub delivery_failures: Counter,
    /// `rushgate_bridge_acked_total`: entries that Redis has confirmed as acked and removed.
    pub acked: Counter,
    /// `rushgate_bridge_redelivered_total`: entries sent to Kafka that had been given out before, to this
    /// bridge or to another; a consumer may see them twice.
    pub redelivered: Counter,
    /// `rushgate_bridge_dead_letters_total`: entries moved to the dead letters.
    pub dead_letters: Counter,
    /// `rushgate_bridge_lost_entries_total`: entries that somebody deleted before they were delivered.
    pub lost_entries: Counter,
    /// `rushgate_bridge_errors_total{doing="reading"}`: failed reads.
    pub read_errors: Counter,
    /// `rushgate_bridge_errors_total{doing="settling"}`: failed acks and dead letters; tried again.
    pub completion_errors: Counter,
}

impl Metrics {
    /// Registers all metrics.
    pub fn register() -> Self {
        let errors = "rushgate_bridge_errors_total";
        describe_counter!(errors, "Failed requests to Redis, by what they were doing.");
        Self {
            ready: described_gauge(
                "rushgate_bridge_ready",
                "1 once Redis, the consumer groups and Kafka answer.",
            ),
            in_flight: described_gauge(
                "rushgate_bridge_in_flight",
                "Entries that wait for their delivery report.",
            ),
            unacked: described_gauge(
                "rushgate_bridge_unsettled",
                "Entries that Redis has still to confirm as acked.",
            ),
            oldest_without_row: described_gauge(
                "rushgate_bridge_oldest_grant_without_row_seconds",
                "For how long the oldest grant has been without a row.",
            ),
            unread_campaigns: described_gauge(
                "rushgate_bridge_unread_campaigns",
                "Campaigns left unread, whose user ids KAFKA_VALUE_FORMAT=long cannot carry.",
            ),
            published: described_counter(
                "rushgate_bridge_published_total",
                "Records that Kafka has, by their delivery reports.",
            ),
            delivery_failures: described_counter(
                "rushgate_bridge_delivery_failures_total",
                "Records that Kafka does not have; their entries are sent again.",
            ),
            acked: described_counter(
                "rushgate_bridge_acked_total",
                "Entries acked and removed from their stream.",
            ),
            redelivered: described_counter(
                "rushgate_bridge_redelivered_total",
                "Entries sent to Kafka that had been given out before.",
            ),
            dead_letters: described_counter(
                "rushgate_bridge_dead_letters_total",
                "Entries moved to the dead letters.",
            ),
            lost_entries: described_counter(
                "rushgate_bridge_lost_entries_total",
                "Entries that somebody deleted before they were delivered.",
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

/// Serves metrics as Prometheus' text at `address`, whatever the path.
///
/// # Errors
/// When nothing can listen there.
pub fn serve(address: SocketAddr) -> Result<(), BuildError> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
}
