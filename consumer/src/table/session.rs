//! Opens database connections with the session settings that the consumer depends on: strict mode, short lock
//! timeouts, READ COMMITTED, and a short `wait_timeout`.

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};
use std::time::{Duration, Instant};

/// How long an unused connection is kept: well below the `wait_timeout` set here, after which the server closes
/// it.
const KEPT: Duration = Duration::from_secs(10);

/// An unused connection.
pub(crate) struct Idle {
    connection: MySqlConnection,
    since: Instant,
}

impl Idle {
    pub(crate) fn new(connection: MySqlConnection) -> Self {
        Self {
            connection,
            since: Instant::now(),
        }
    }

    /// The connection, unless the server may have closed it by now.
    pub(crate) async fn wake(self) -> Option<MySqlConnection> {
        if self.since.elapsed() < KEPT {
            return Some(self.connection);
        }
        close(self.connection).await;
        None
    }

    pub(crate) async fn close(self) {
        close(self.connection).await;
    }
}

/// Closes a connection properly. A connection that is only dropped counts as aborted, and appears in the
/// server's log.
pub(crate) async fn close(connection: MySqlConnection) {
    // If this fails, the server notices the closed connection by itself.
    let _ = connection.close().await;
}

/// Opens a connection.
///
/// # Errors
/// When the database does not answer, or refuses.
pub(crate) async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    // Strict mode, because otherwise the server could silently cut values to the length of their column. Short
    // lock timeouts, because the next attempt achieves the same as a long wait for a row, or for a table during
    // ALTER TABLE. And `wait_timeout = 20`: if a consumer freezes or is cut off in the middle of a transaction,
    // the server rolls it back after 20 s instead of the usual 8 h, because the next owner of its partitions
    // needs the rows.
    sqlx::query(
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
         innodb_lock_wait_timeout = 5, lock_wait_timeout = 10, wait_timeout = 20",
    )
    .execute(&mut connection)
    .await?;
    // Fewer gap locks mean fewer deadlocks. Rows that must not change until the commit are read with locks.
    sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
