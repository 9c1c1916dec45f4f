//! Opens database connections with the session settings that the consumer depends on: strict mode, short lock
//! timeouts, READ COMMITTED, and a short `wait_timeout`.

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};
use std::time::{Duration, Instant};

/// How long an unused connection is kept: well below the `wait_timeout` set here, after which the server closes
/// it.
const KEPT: Duration = Duration::from_secs(10);

/// One connection, which is opened when it is first needed. A pool would only hide when a connection is lost.
pub(crate) struct Session {
    options: MySqlConnectOptions,
    /// The connection while it is not in use, and since when.
    idle: Option<(MySqlConnection, Instant)>,
}

impl Session {
    pub(crate) fn new(options: MySqlConnectOptions) -> Self {
        Self {
            options,
            idle: None,
        }
    }

    /// Takes the connection out. Opens another one if there is none, or if the server may have closed it by now.
    /// Put it back only after success, so a failed connection is never used again.
    pub(crate) async fn take(&mut self) -> Result<MySqlConnection, sqlx::Error> {
        match self.idle.take() {
            Some((connection, since)) if since.elapsed() < KEPT => return Ok(connection),
            Some((connection, _)) => close(connection).await,
            None => {}
        }
        open(&self.options).await
    }

    pub(crate) fn put_back(&mut self, connection: MySqlConnection) {
        self.idle = Some((connection, Instant::now()));
    }

    pub(crate) async fn close(self) {
        if let Some((connection, _)) = self.idle {
            close(connection).await;
        }
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
