//! What stands in the database.

use crate::history::Place;
use anyhow::{Context, Result};
use sqlx::Row as _;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use std::time::Duration;

/// A coupon that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub place: Place,
    /// Who holds it.
    pub user_id: String,
    /// From the grant, by the clock of Redis, to the row, by the clock of the database.
    pub delay: Duration,
}

/// The database, seen from outside.
#[derive(Clone, Debug)]
pub struct Database {
    pool: MySqlPool,
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connect(url: &str) -> Result<Self> {
        let pool = MySqlPoolOptions::new()
            .max_connections(2)
            .connect(url)
            .await
            .context("cannot use the database that DATABASE_URL names")?;
        Ok(Self { pool })
    }

    /// How many coupons of `campaign` are held.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(&self, campaign: &str) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM coupons WHERE campaign_id = ? AND state = 'active'",
        )
        .bind(campaign)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count)?)
    }

    /// The coupons of `campaign` that are held, by round and serial.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rows(&self, campaign: &str) -> Result<Vec<Row>> {
        sqlx::query(
            "SELECT round_id, serial, user_id, CAST(TIMESTAMPDIFF(MICROSECOND, granted_at, issued_at) AS SIGNED) AS delay \
             FROM coupons WHERE campaign_id = ? AND state = 'active' ORDER BY round_id, serial",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            // Two clocks: the row may seem to be older than its grant.
            let micros = row.try_get::<i64, _>("delay")?.max(0);
            Ok(Row {
                place: Place {
                    round: row.try_get("round_id")?,
                    serial: row.try_get("serial")?,
                },
                user_id: row.try_get("user_id")?,
                delay: Duration::from_micros(u64::try_from(micros)?),
            })
        })
        .collect()
    }

    /// Runs a statement, as somebody would who should not.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn tamper(&self, statement: &'static str) -> Result<u64> {
        let done = sqlx::query(statement).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }

    /// The state of `campaign`, as the database has it.
    ///
    /// # Errors
    /// When the database does not answer, or there is no such campaign.
    pub async fn state(&self, campaign: &str) -> Result<String> {
        let state = sqlx::query_scalar("SELECT state FROM campaigns WHERE campaign_id = ?");
        Ok(state.bind(campaign).fetch_one(&self.pool).await?)
    }

    /// The open dead letters of `campaign` that carry a grant: why, and whose it is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn refused(&self, campaign: &str) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query(
            "SELECT reason, JSON_UNQUOTE(JSON_EXTRACT(CONVERT(payload USING utf8mb4), '$.user_id')) AS user_id \
             FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("reason")?, row.try_get("user_id")?)))
            .collect()
    }

    /// Dead letters of `campaign` that nobody has resolved: the user ids cannot be trusted, so only their
    /// reasons.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn failed(&self, campaign: &str) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(
            "SELECT CONCAT(record_key, ': ', reason) FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?)
    }
}
