//! What an error of the database means, and how long to wait before the next attempt.

use sqlx::mysql::MySqlDatabaseError;
use std::fmt;
use std::time::Duration;

/// What an error of the database means for the rows that were being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing is wrong with the rows: the same transaction may succeed later.
    Retryable,
    /// At least one of the rows can never be written.
    Permanent,
    /// A unique key holds at least one of the rows, or a rival of it, already: look which.
    Duplicate,
}

/// A unique key collided. 1022 and 1586 are rarer forms of 1062.
const DUPLICATE: &[u16] = &[1022, 1062, 1586];

/// The row itself is refused: NULL (1048), out of range (1264, 1690), truncated or no such value (1265, 1292,
/// 1366, 1406, 1411), not a string of its character set (1300, 3854), no such parent (1216, 1452), no
/// partition for it (1526), a CHECK (3819 on MySQL).
const PERMANENT: &[u16] = &[
    1048, 1216, 1264, 1265, 1292, 1300, 1366, 1406, 1411, 1452, 1526, 1690, 3819, 3854,
];

/// A CHECK on MariaDB. MySQL has another meaning for the number, but not with this SQLSTATE.
const MARIADB_CHECK: (u16, &str) = (4025, "23000");

/// Known to pass, or to be put right without us: out of disk (1021, 1114), too many connections (1040, 1203),
/// shutdown (1053), killed (1317, 1927), read-only (1290, 1792, 1836), lock wait timeout (1205), deadlock
/// (1213), log full (1026, 1197, 1598), statement timeout (1969, 3024), rolled back by replication (3101), and
/// what a migration or a grant mends (1044, 1045, 1049, 1054, 1142, 1143, 1146, 1227, 1364).
const RETRYABLE: &[u16] = &[
    1021, 1026, 1040, 1044, 1045, 1049, 1053, 1054, 1114, 1142, 1143, 1146, 1197, 1203, 1205, 1213,
    1227, 1290, 1317, 1364, 1598, 1792, 1836, 1927, 1969, 3024, 3101,
];

/// The one place that decides what an error means, by its number.
///
/// What is not known is retryable, as is every error of the connection. The choice is between two mistakes:
/// a row that can never be written holds up its partition, loudly, until somebody looks, and nothing is lost;
/// or good rows become dead letters because of a full disk that has a number we did not know.
pub fn classify(error: &sqlx::Error) -> ErrorClass {
    mysql(error).map_or(ErrorClass::Retryable, |error| {
        classify_number(error.number(), error.code().unwrap_or_default())
    })
}

/// [`classify`] on MySQL's error number and SQLSTATE.
pub fn classify_number(number: u16, sqlstate: &str) -> ErrorClass {
    if DUPLICATE.contains(&number) {
        ErrorClass::Duplicate
    } else if PERMANENT.contains(&number) || (number, sqlstate) == MARIADB_CHECK {
        ErrorClass::Permanent
    } else {
        ErrorClass::Retryable
    }
}

/// MySQL's number of the error, 0 if it is none of the server's.
pub fn number(error: &sqlx::Error) -> u16 {
    mysql(error).map_or(0, MySqlDatabaseError::number)
}

/// The error for a log line. The server's text is shown only where it is known to name no applicant (that
/// of 1062 quotes the row).
pub struct Loggable<'a>(pub &'a sqlx::Error);

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
        }
    }
}

fn mysql(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// How long to wait before the next attempt, and how long that may take.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The first wait, at most.
    const FIRST: Duration = Duration::from_millis(100);
    /// The longest wait: how late, at most, we notice that the database is back.
    const LONGEST: Duration = Duration::from_secs(5);
    /// How long a first attempt may take.
    const DEADLINE: Duration = Duration::from_secs(30);
    /// How often the deadline is doubled, at most.
    const DOUBLINGS: u32 = 4;

    /// How many attempts have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long the next attempt may take. It grows, so that a database that is merely slow is not asked
    /// for ever for what it cannot do in time.
    pub fn deadline(&self) -> Duration {
        Self::DEADLINE * 2u32.pow(self.failures.min(Self::DOUBLINGS))
    }

    /// An attempt failed. The wait doubles each time, and is spread over its upper half by `chance` (0 to 1),
    /// so that consumers that failed together do not come back together.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let doubled = Self::FIRST.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(Self::LONGEST)
            .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_decide() {
        for number in [1062, 1586] {
            assert_eq!(classify_number(number, "23000"), ErrorClass::Duplicate);
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
        // MySQL's 4025 is about tablespaces; 65000 is nobody's.
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
            assert_eq!(classify(&lost), ErrorClass::Retryable);
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

    proptest! {
        #[test]
        fn waits_grow_to_the_longest_and_stay(chances in prop::collection::vec(0.0..=1.0f64, 1..80)) {
            let mut backoff = Backoff::default();
            let mut most = Backoff::FIRST;
            for (failures, chance) in chances.into_iter().enumerate() {
                prop_assert_eq!(backoff.failures() as usize, failures);
                let wait = backoff.failed(chance);
                prop_assert!(most.mul_f64(0.499) <= wait && wait <= most);
                most = (most * 2).min(Backoff::LONGEST);
                prop_assert!(backoff.deadline() <= Duration::from_secs(480));
            }
        }
    }
}
