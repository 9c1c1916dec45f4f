//! The table that every way inserts into.

use anyhow::{Context, Result};
use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};
use sqlx::{Executor, error::ErrorKind};

/// How many connections a service keeps: what the usual pools (HikariCP) have unless told otherwise.
pub const CONNECTIONS: u32 = 10;

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// That person has a row already.
    WasThere,
}

/// A pool of so many connections, each of which keeps its prepared statements.
///
/// # Errors
/// When the database does not answer.
pub async fn pool(url: &str, connections: u32) -> Result<MySqlPool> {
    MySqlPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        // The usual pools ask a connection how it is only when it has been idle.
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
