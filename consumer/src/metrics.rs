//! Defines every metric of the consumer with its labels. No label contains a campaign, a round or a user id.

use crate::rejection::Reason;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use std::time::Duration;

/// Gauge: 1 if the database works for every writer and the group has assigned partitions.
pub(crate) const READY: &str = "rushgate_consumer_ready";
/// Gauge: the number of assigned partitions.
pub(crate) const PARTITIONS: &str = "rushgate_consumer_partitions_assigned";
/// Counter: rows inserted into `coupons`.
pub(crate) const INSERTED: &str = "rushgate_consumer_inserted_total";
/// Counter: rows inserted without the signed code that they should have, because this consumer lacks the key.
pub(crate) const WITHOUT_CODE: &str = "rushgate_consumer_rows_without_code_total";
/// Counter: records whose row existed already, because they were delivered before.
pub(crate) const ALREADY_DONE: &str = "rushgate_consumer_already_done_total";
/// Counter: rows of `coupons` that became revoked.
pub(crate) const REVOKED: &str = "rushgate_consumer_revoked_total";
/// Counter, label `reason`: records that became dead letters (a redelivered record counts again).
pub(crate) const FAILED: &str = "rushgate_consumer_failed_events_total";
/// Counter: parked records that were replayed.
pub(crate) const REPLAYED: &str = "rushgate_consumer_replayed_total";
/// Counter: accepted records without a valid signature (a redelivered record counts again).
pub(crate) const UNSIGNED: &str = "rushgate_consumer_unsigned_records_total";
/// Counter, label `code` (MySQL's error number; 0 for a lost connection or a timeout): failed attempts to write
/// a batch.
pub(crate) const RETRIES: &str = "rushgate_consumer_retries_total";
/// Counter: grants that were confirmed at the gate (a redelivered one counts again).
pub(crate) const CONFIRMED: &str = "rushgate_consumer_confirmed_total";
/// Counter: failed attempts to confirm.
pub(crate) const CONFIRM_RETRIES: &str = "rushgate_consumer_confirm_retries_total";
/// Histogram, seconds: from the first attempt to confirm grants to the reply, including all attempts.
pub(crate) const CONFIRM: &str = "rushgate_consumer_confirm_seconds";
/// Counter: committed grants that the gate did not know when their campaign was halted.
pub(crate) const LOST: &str = "rushgate_consumer_lost_grants_total";
/// Counter: failed offset commits.
pub(crate) const COMMITS_FAILED: &str = "rushgate_consumer_offset_commits_failed_total";
/// Histogram, seconds: from the first attempt to write a batch to its COMMIT, including all attempts.
pub(crate) const BATCH: &str = "rushgate_consumer_batch_seconds";
/// Histogram: records in a batch.
pub(crate) const BATCH_RECORDS: &str = "rushgate_consumer_batch_records";
/// Histogram, seconds: from the gate's decision (Redis' clock) to the COMMIT of the row (the consumer's clock).
pub(crate) const GRANT_TO_ROW: &str = "rushgate_consumer_grant_to_row_seconds";

/// The buckets of the histograms.
///
/// # Errors
/// Never: there are buckets.
pub fn with_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
    let seconds = [
        0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    ];
    let records = [
        1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0,
    ];
    builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Full(BATCH_RECORDS.to_owned()), &records)
}

/// Describes the metrics, and registers those that must exist from the start.
pub fn describe() {
    describe_gauge!(
        READY,
        "1 if the database works for every writer and the group has assigned partitions"
    );
    describe_gauge!(PARTITIONS, "Partitions assigned");
    describe_counter!(INSERTED, "Rows inserted into coupons");
    describe_counter!(
        WITHOUT_CODE,
        "Rows inserted without their signed code, because the key is missing"
    );
    describe_counter!(ALREADY_DONE, "Records whose row existed already");
    describe_counter!(REVOKED, "Coupons revoked");
    describe_counter!(FAILED, "Records that became dead letters, by reason");
    describe_counter!(REPLAYED, "Parked records replayed");
    describe_counter!(UNSIGNED, "Accepted records without a valid signature");
    describe_counter!(RETRIES, "Failed attempts to write a batch, by error number");
    describe_counter!(CONFIRMED, "Grants confirmed at the gate");
    describe_counter!(CONFIRM_RETRIES, "Failed attempts to confirm grants");
    describe_histogram!(
        CONFIRM,
        "From the first attempt to confirm grants to the reply"
    );
    describe_counter!(LOST, "Committed grants that the gate did not know");
    describe_counter!(COMMITS_FAILED, "Failed offset commits");
    describe_histogram!(
        BATCH,
        "From the first attempt to write a batch to its COMMIT"
    );
    describe_histogram!(BATCH_RECORDS, "Records in a batch");
    describe_histogram!(GRANT_TO_ROW, "From the gate's decision to the COMMIT");
    ready(false);
    assigned(0);
    // An alarm cannot see the first increase of a counter that did not exist before. (That of RETRIES waits for more.)
    for name in [
        INSERTED,
        WITHOUT_CODE,
        ALREADY_DONE,
        REVOKED,
        REPLAYED,
        UNSIGNED,
        CONFIRMED,
        CONFIRM_RETRIES,
        LOST,
        COMMITS_FAILED,
    ] {
        counter!(name).absolute(0);
    }
    for reason in Reason::ALL {
        counter!(FAILED, "reason" => reason.as_str()).absolute(0);
    }
}

pub(crate) fn ready(ready: bool) {
    gauge!(READY).set(f64::from(u8::from(ready)));
}

pub(crate) fn assigned(partitions: usize) {
    gauge!(PARTITIONS).set(partitions as f64);
}

/// Counts rows in [`INSERTED`], and records in [`GRANT_TO_ROW`] how long each took.
pub(crate) fn inserted(since_grants: &[Duration]) {
    counter!(INSERTED).increment(since_grants.len() as u64);
    let grant_to_row = histogram!(GRANT_TO_ROW);
    for since_grant in since_grants {
        grant_to_row.record(since_grant.as_secs_f64());
    }
}

pub(crate) fn without_code(rows: usize) {
    counter!(WITHOUT_CODE).increment(rows as u64);
}

pub(crate) fn already_done() {
    counter!(ALREADY_DONE).increment(1);
}

pub(crate) fn revoked() {
    counter!(REVOKED).increment(1);
}

pub(crate) fn failed(reason: &'static str) {
    counter!(FAILED, "reason" => reason).increment(1);
}

/// Counts replayed records, and in [`INSERTED`] those that were inserted.
pub(crate) fn replayed(records: usize, inserted: usize) {
    counter!(REPLAYED).increment(records as u64);
    counter!(INSERTED).increment(inserted as u64);
}

pub(crate) fn unsigned() {
    counter!(UNSIGNED).increment(1);
}

pub(crate) fn retry(code: u16) {
    counter!(RETRIES, "code" => code.to_string()).increment(1);
}

pub(crate) fn confirmed(grants: u64, took: Duration) {
    counter!(CONFIRMED).increment(grants);
    histogram!(CONFIRM).record(took.as_secs_f64());
}

pub(crate) fn confirm_retry() {
    counter!(CONFIRM_RETRIES).increment(1);
}

pub(crate) fn lost(grants: u64) {
    counter!(LOST).increment(grants);
}

pub(crate) fn commit_failed() {
    counter!(COMMITS_FAILED).increment(1);
}

pub(crate) fn batch(records: usize, took: Duration) {
    histogram!(BATCH).record(took.as_secs_f64());
    histogram!(BATCH_RECORDS).record(records as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_alarms_watch_exists_from_the_start() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        let page = recorder.handle().render();
        for reason in Reason::ALL {
            let counter = format!("{FAILED}{{reason=\"{reason}\"}} 0\n");
            assert!(page.contains(&counter), "{page}");
        }
        assert!(page.contains(&format!("{LOST} 0\n")), "{page}");
    }
}
