//! Reads instants from columns of the type DATETIME(3).

use super::rounds::instant;
use anyhow::Result;
use rushgate_gate::Millis;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

/// An RFC 3339 time in UTC with milliseconds, from a column.
macro_rules! time {
    ($column:literal) => {
        concat!(
            "CONCAT(LEFT(DATE_FORMAT(",
            $column,
            ", '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z')"
        )
    };
}
pub(super) use time;

/// The instant in a column that was selected with [`time`].
pub(super) fn instant_of(row: &MySqlRow, column: &str) -> Result<Option<Millis>> {
    let text = row.try_get::<Option<String>, _>(column)?;
    text.map(|text| instant(&text)).transpose()
}
