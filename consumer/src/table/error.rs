//! Says why a batch was not written, and whether another attempt may succeed.

use crate::rejection::Reason;
use crate::table::failure::Loggable;
use rushgate_startup::advice;

/// Why a batch was not written. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}", Loggable(.0))]
    Database(#[from] sqlx::Error),
    #[error("the database did not answer in time")]
    TimedOut,
    /// The outcome of a record is unknown.
    #[error("the outcome of a record of the batch is unknown")]
    Unresolved,
    /// Too many dead letters in a row, of several campaigns.
    #[error(
        "{in_a_row} dead letters in a row, of {campaigns} campaigns: all {records} records of a batch were refused, the first one as {reason} \
         (partition {partition}, offset {offset}). This looks like a wrong deployment and not like wrong data. Nothing of the batch was \
         written, and its offsets are not committed. Check that the topic, the database and the versions of bridge and consumer fit \
         together, then start the consumer again. If the records are to become dead letters, start it once \
         with CONSUMER_ALL_BAD_STOPS_AT=0"
    )]
    AllBad {
        /// The number of dead letters since the last good record.
        in_a_row: usize,
        campaigns: usize,
        records: usize,
        /// Why the first record was refused.
        reason: Reason,
        partition: i32,
        offset: i64,
    },
    /// The database refuses the dead letter as well.
    #[error(
        "writing the dead letter of partition {partition}, offset {offset}: the database refused it (error {number}). \
         Run the migrations with `rushgate setup`, then start the consumer again. The record's offset is not committed"
    )]
    DeadLetterRefused {
        partition: i32,
        offset: i64,
        number: u16,
    },
}

impl StoreError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_) | Self::TimedOut | Self::Unresolved)
    }

    /// Whether the login, a certificate or a right is wrong, so that no campaign can be written.
    pub fn is_about_the_user(&self) -> bool {
        matches!(self, Self::Database(error) if advice(error).is_some())
    }
}
