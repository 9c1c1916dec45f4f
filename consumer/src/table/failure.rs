//! Classifies database errors by their error numbers as retryable, permanent or duplicate.

use rushgate_startup::advice;
use sqlx::mysql::MySqlDatabaseError;
use std::fmt;

/// What a database error means for the rows that were being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// The rows are fine: the same transaction may succeed later.
    Retryable,
    /// At least one of the rows can never be written.
    Permanent,
    /// A unique key collided with at least one of the rows. The existing rows must be read.
    Duplicate,
}

/// A unique key collided. 1022 and 1586 are rare variants of 1062.
const DUPLICATE: &[u16] = &[1022, 1062, 1586];

/// The row itself is refused: NULL (1048), out of range (1264, 1690), truncated or invalid value (1265, 1292,
/// 1366, 1406, 1411), invalid string for its character set (1300, 3854), missing parent row (1216, 1452), no
/// partition for it (1526), failed CHECK (3819 on MySQL).
const PERMANENT: &[u16] = &[
    1048, 1216, 1264, 1265, 1292, 1300, 1366, 1406, 1411, 1452, 1526, 1690, 3819, 3854,
];

/// A failed CHECK on MariaDB. On MySQL the number has another meaning, but with another SQLSTATE.
const MARIADB_CHECK: (u16, &str) = (4025, "23000");

/// Errors that pass, or that an operator repairs: out of disk (1021, 1114), too many connections (1040, 1203),
/// shutdown (1053), killed (1317, 1927), read-only (1290, 1792, 1836), lock wait timeout (1205), deadlock
/// (1213), log full (1026, 1197, 1598), statement timeout (1969, 3024), rolled back by replication (3101), and
/// errors that a migration, a GRANT or another login repairs (1044, 1045, 1049, 1054, 1130, 1142, 1143, 1146, 1227, 1364,
/// 1370, 1698, 1820, 1862, 3118, 3159).
const RETRYABLE: &[u16] = &[
    1021, 1026, 1040, 1044, 1045, 1049, 1053, 1054, 1114, 1130, 1142, 1143, 1146, 1197, 1203, 1205,
    1213, 1227, 1290, 1317, 1364, 1370, 1598, 1698, 1792, 1820, 1836, 1862, 1927, 1969, 3024, 3101,
    3118, 3159,
];

/// The only place that decides what an error means, by its number.
///
/// Unknown errors and errors of the connection are retryable. The alternative would be worse: a row that can
/// never be written only blocks its partition, visibly, until an operator acts, and nothing is lost. Treating
/// an unknown error as permanent could turn good rows into dead letters, for example because of a full disk
/// with a number that is not listed here.
pub(crate) fn classify(error: &sqlx::Error) -> ErrorClass {
    mysql(error).map_or(ErrorClass::Retryable, |error| {
        classify_number(error.number(), error.code().unwrap_or_default())
    })
}

/// [`classify`] by MySQL's error number and SQLSTATE.
pub(crate) fn classify_number(number: u16, sqlstate: &str) -> ErrorClass {
    if DUPLICATE.contains(&number) {
        ErrorClass::Duplicate
    } else if PERMANENT.contains(&number) || (number, sqlstate) == MARIADB_CHECK {
        ErrorClass::Permanent
    } else {
        ErrorClass::Retryable
    }
}

/// MySQL's error number; 0 if the error is not from the server.
pub(crate) fn number(error: &sqlx::Error) -> u16 {
    mysql(error).map_or(0, MySqlDatabaseError::number)
}

/// Formats an error for the log, with what to do about it. The server's message is shown only for errors known not to contain user data.
/// The message of 1062, for example, quotes the row.
pub(crate) struct Loggable<'a>(pub(crate) &'a sqlx::Error);

impl fmt::Display for Loggable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match mysql(self.0) {
            Some(error) if !RETRYABLE.contains(&error.number()) => write!(
                f,
                "error {} ({})",
                error.number(),
                error.code().unwrap_or_default()
            ),
            Some(error) => write!(f, "error {error}"),
            None => self.0.fmt(f),
        }?;
        match advice(self.0) {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

fn mysql(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_decide() {
        for number in [1062, 1586] {
            assert_eq!(
                classify_number(number, "23000"),
                ErrorClass::Duplicate,
                "{number}"
            );
        }
        for (number, sqlstate) in [
            (1406, "22001"),
            (1452, "23000"),
            (3819, "HY000"),
            (4025, "23000"),
        ] {
            assert_eq!(
                classify_number(number, sqlstate),
                ErrorClass::Permanent,
                "{number} {sqlstate}"
            );
        }
        // MySQL's 4025 is about tablespaces; 65000 does not exist.
        for (number, sqlstate) in [(4025, "HY000"), (1213, "40001"), (65_000, "23000")] {
            assert_eq!(
                classify_number(number, sqlstate),
                ErrorClass::Retryable,
                "{number} {sqlstate}"
            );
        }
        for lost in [
            sqlx::Error::PoolTimedOut,
            std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(),
        ] {
            assert_eq!(classify(&lost), ErrorClass::Retryable, "{lost:?}");
        }
    }

    #[test]
    fn no_number_has_two_meanings() {
        for number in RETRYABLE {
            assert_eq!(
                classify_number(*number, "23000"),
                ErrorClass::Retryable,
                "{number}"
            );
        }
        assert!(PERMANENT.iter().all(|number| !DUPLICATE.contains(number)));
    }
}
