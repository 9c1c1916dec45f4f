//! Connects to the table into which every way inserts its coupons, and inserts rows.

use anyhow::{Context, Result};
use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};
use sqlx::{Executor, error::ErrorKind};

/// Connections of a service: the default of the usual pools (HikariCP).
pub const CONNECTIONS: u32 = 10;

/// The result of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// This applicant already has a row.
    WasThere,
}

/// A pool of this many connections, each with its prepared statements.
///
/// # Errors
/// When the database does not answer.
pub async fn pool(url: &str, connections: u32) -> Result<MySqlPool> {
    MySqlPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        // The usual pools check a connection only after it has been idle.
        .test_before_acquire(false)
        .connect(url)
        .await
        .context("cannot use the database that DATABASE_URL names")
}

/// Inserts one coupon.
///
/// # Errors
/// When the database cannot do it.
pub async fn insert(
    database: impl Executor<'_, Database = MySql>,
    campaign: &str,
    user_id: &str,
) -> sqlx::Result<Inserted> {
    let done = sqlx::query("INSERT INTO way_coupons (campaign_id, user_id) VALUES (?, ?)")
        .bind(campaign)
        .bind(user_id)
        .execute(database)
        .await;
    match done {
        Ok(_) => Ok(Inserted::New),
        Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {
            Ok(Inserted::WasThere)
        }
        Err(error) => Err(error),
    }
}
