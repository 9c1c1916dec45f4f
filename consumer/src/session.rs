//! Sessions of the database, set as whatever is written here needs it.

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};
use std::time::{Duration, Instant};

/// For how long a session is kept that nobody uses: well below the time after which the server closes it.
const KEPT: Duration = Duration::from_secs(10);

/// A session between two uses.
pub struct Idle {
    connection: MySqlConnection,
    since: Instant,
}

impl Idle {
    /// One that has just been used.
    pub fn new(connection: MySqlConnection) -> Self {
        Self {
            connection,
            since: Instant::now(),
        }
    }

    /// The session, unless the server may have closed it by now.
    pub async fn wake(self) -> Option<MySqlConnection> {
        if self.since.elapsed() < KEPT {
            return Some(self.connection);
        }
        close(self.connection).await;
        None
    }

    /// Ends the session.
    pub async fn close(self) {
        close(self.connection).await;
    }
}

/// Ends a session as the server expects it; one that is just dropped counts as aborted, and is in the server's log.
pub async fn close(connection: MySqlConnection) {
    // If that cannot be said to the server, it finds out by itself.
    let _ = connection.close().await;
}

/// Opens a session.
///
/// # Errors
/// When the database does not answer, or refuses.
pub async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    // Strict, or a server that is not would cut a value silently to what fits. Waiting long for a row or (during an
    // ALTER TABLE) a table achieves nothing that the next attempt would not. And whoever is frozen or cut off in the
    // middle of a transaction is rolled back after 20 s of silence, and not after the 8 h that are usual: his heir
    // needs the rows.
    sqlx::query(
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
         innodb_lock_wait_timeout = 5, lock_wait_timeout = 10, wait_timeout = 20",
    )
    .execute(&mut connection)
    .await?;
    // Fewer gap locks, so fewer deadlocks; what must not change under us is read with a lock.
    sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
