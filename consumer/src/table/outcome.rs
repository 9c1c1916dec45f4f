//! What became of a record in the table.

use crate::rejection::{Reason, Rejection};
use crate::table::error::StoreError;
use crate::table::failure::{ErrorClass, classify, number};

/// The outcome for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordOutcome {
    /// A row was inserted.
    Inserted,
    /// The row existed already.
    AlreadyInserted,
    /// The row existed already and has been revoked since.
    AlreadyRevoked,
    /// A row was inserted as revoked: a later grant of the serial had arrived before.
    InsertedRevoked,
    Revoked,
    /// The record is a dead letter.
    Rejected(Rejection),
}

impl RecordOutcome {
    pub(crate) fn is_inserted(&self) -> bool {
        matches!(self, Self::Inserted | Self::InsertedRevoked)
    }
}

/// The outcome of a record whose own statement failed.
///
/// # Errors
/// When the whole transaction must be tried again.
pub(crate) fn refused(error: sqlx::Error) -> Result<RecordOutcome, StoreError> {
    if classify(&error) != ErrorClass::Permanent {
        return Err(error.into());
    }
    Ok(row_refused(&error))
}

pub(crate) fn row_refused(error: &sqlx::Error) -> RecordOutcome {
    let number = number(error);
    let detail = format_args!("error {number}: {error}");
    RecordOutcome::Rejected(Rejection::new(Reason::RowRefused, detail))
}
