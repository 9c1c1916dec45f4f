//! What stands in the database.

use crate::history::Place;
use anyhow::{Context, Result};
use rushgate_gate::Event;
use rushgate_gate::record::event;
use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;
use tokio::time::timeout;

/// A coupon that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub user_id: String,
    /// From the grant, by the clock of Redis, to the row, by the clock of the database.
    pub delay: Duration,
}

/// A dead letter of the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEvent {
    /// The key of its record.
    pub key: String,
    /// What its record says, if that is an event.
    pub event: Option<Event>,
    pub reason: String,
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

    pub(crate) fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// A session by itself, whose locks and open transaction go with it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn session(&self) -> Result<PoolConnection<MySql>> {
        let mut connection = self.pool.acquire().await?;
        connection.close_on_drop();
        Ok(connection)
    }

    /// Runs these statements, one after the other on one connection, and then closes it: what they leave behind in the
    /// session goes with it. How many rows they have changed.
    ///
    /// # Errors
    /// When one of them fails, or all of them take longer than half a minute.
    pub async fn run(&self, sql: &str) -> Result<u64> {
        let statements = async {
            let mut session = self.session().await?;
            let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
            anyhow::Ok(statements.execute(&mut *session).await?)
        };
        let done = timeout(Duration::from_secs(30), statements).await??;
        Ok(done.rows_affected())
    }

    /// The connections that a user has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connections_of(&self, user: &str) -> Result<Vec<i64>> {
        let rows = sqlx::raw_sql("SHOW PROCESSLIST")
            .fetch_all(&self.pool)
            .await?;
        let of_user = rows.iter().filter(|row| {
            row.try_get::<String, _>("User")
                .is_ok_and(|name| name == user)
        });
        Ok(of_user
            .map(|row| row.try_get("Id"))
            .collect::<Result<_, _>>()?)
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

    /// The coupons of `campaign` that were taken back: from whom, and which.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn revoked(&self, campaign: &str) -> Result<Vec<(String, Place)>> {
        let rows: Vec<(String, String, u32)> = sqlx::query_as(
            "SELECT user_id, round_id, serial FROM coupons WHERE campaign_id = ? AND state = 'revoked'",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|(user_id, round, serial)| (user_id, Place { round, serial }))
            .collect())
    }

    /// The state of `campaign`, as the database has it.
    ///
    /// # Errors
    /// When the database does not answer, or there is no such campaign.
    pub async fn state(&self, campaign: &str) -> Result<String> {
        let state = sqlx::query_scalar("SELECT state FROM campaigns WHERE campaign_id = ?");
        Ok(state.bind(campaign).fetch_one(&self.pool).await?)
    }

    /// What was done to `campaign`, in a word, and why.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn log(&self, campaign: &str) -> Result<Vec<(String, Option<String>)>> {
        let log = "SELECT action, reason FROM campaign_log WHERE campaign_id = ? ORDER BY id";
        let log = sqlx::query_as(log).bind(campaign);
        Ok(log.fetch_all(&self.pool).await?)
    }

    /// How many dead letters of `campaign` the consumers have replayed by themselves.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replayed(&self, campaign: &str) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') \
             AND resolution = 'replayed' AND resolution_note = 'by the consumer'",
        )
        .bind(campaign)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count)?)
    }

    /// Dead letters of `campaign` that nobody has resolved.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn failed_events(&self, campaign: &str) -> Result<Vec<FailedEvent>> {
        sqlx::query(
            "SELECT record_key, payload, reason FROM failed_events \
             WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL ORDER BY id",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            let key: Vec<u8> = row.try_get("record_key")?;
            let value: Option<Vec<u8>> = row.try_get("payload")?;
            Ok(FailedEvent {
                event: event(&key, &value.unwrap_or_default(), |_| None).ok(),
                key: String::from_utf8_lossy(&key).into_owned(),
                reason: row.try_get("reason")?,
            })
        })
        .collect()
    }
}
