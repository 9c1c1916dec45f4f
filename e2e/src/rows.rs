//! Reads coupons and dead letters from the database directly, not through the programs under test.

use crate::history::Place;
use anyhow::{Context, Result};
use rushgate_gate::Event;
use rushgate_gate::record::event;
use sqlx::mysql::{MySql, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;
use tokio::time::timeout;

/// An active coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub user_id: String,
    /// From the grant, by the clock of Redis, to the row, by the clock of the database.
    pub delay: Duration,
}

/// The code of a row, whether or not the row is active, and whether it was redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowCode {
    pub user_id: String,
    pub place: Place,
    pub turn: u32,
    pub code: Option<String>,
    /// The number of its code in a pool.
    pub number: Option<u32>,
    pub is_active: bool,
    pub is_redeemed: bool,
    /// What it was redeemed for.
    pub order: Option<String>,
}

/// A dead letter of the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEvent {
    /// The key of its record.
    pub key: String,
    /// The event of its record, if there is one.
    pub event: Option<Event>,
    pub reason: String,
}

#[derive(Clone, Debug)]
pub struct Database {
    pool: MySqlPool,
}

impl Database {
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

    /// A session of its own, with its own locks and transaction.
    pub async fn session(&self) -> Result<PoolConnection<MySql>> {
        let mut connection = self.pool.acquire().await?;
        connection.close_on_drop();
        Ok(connection)
    }

    /// Runs these statements in order on one new connection, and closes it, so that no session state is left. Returns
    /// the number of changed rows.
    ///
    /// # Errors
    /// When a statement fails, or all of them take longer than half a minute.
    pub async fn run(&self, sql: &str) -> Result<u64> {
        let statements = async {
            let mut session = self.session().await?;
            let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
            anyhow::Ok(statements.execute(&mut *session).await?)
        };
        let done = timeout(Duration::from_secs(30), statements).await??;
        Ok(done.rows_affected())
    }

    /// The connections of a database user.
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

    /// How many active coupons `campaign` has.
    pub async fn count(&self, campaign: &str) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM coupons WHERE campaign_id = ? AND state = 'active'",
        )
        .bind(campaign)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count)?)
    }

    /// The active coupons of `campaign`, by round and serial.
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
            // Two clocks: the row may seem older than its grant.
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

    /// The codes of all rows of `campaign`.
    pub async fn codes(&self, campaign: &str) -> Result<Vec<RowCode>> {
        sqlx::query(
            "SELECT user_id, round_id, serial, turn, COALESCE(c.code, p.code) AS code, code_number, \
             state = 'active' AS is_active, redeemed_at IS NOT NULL AS is_redeemed, order_id FROM coupons c \
             LEFT JOIN pool_codes p ON p.campaign_id = c.campaign_id AND p.number = code_number \
             WHERE c.campaign_id = ?",
        )
        .bind(campaign)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(RowCode {
                user_id: row.try_get("user_id")?,
                place: Place {
                    round: row.try_get("round_id")?,
                    serial: row.try_get("serial")?,
                },
                turn: row.try_get("turn")?,
                code: row.try_get("code")?,
                number: row.try_get("code_number")?,
                is_active: row.try_get("is_active")?,
                is_redeemed: row.try_get("is_redeemed")?,
                order: row.try_get("order_id")?,
            })
        })
        .collect()
    }

    /// The revoked coupons of `campaign`: applicant and place.
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

    /// The state of `campaign` in the database.
    ///
    /// # Errors
    /// When the database does not answer, or there is no such campaign.
    pub async fn state(&self, campaign: &str) -> Result<String> {
        let state = sqlx::query_scalar("SELECT state FROM campaigns WHERE campaign_id = ?");
        Ok(state.bind(campaign).fetch_one(&self.pool).await?)
    }

    /// The actions on `campaign`, each with its reason.
    pub async fn log(&self, campaign: &str) -> Result<Vec<(String, Option<String>)>> {
        let log = "SELECT action, reason FROM campaign_log WHERE campaign_id = ? ORDER BY id";
        let log = sqlx::query_as(log).bind(campaign);
        Ok(log.fetch_all(&self.pool).await?)
    }

    /// How many dead letters of `campaign` the consumers have replayed.
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

    /// Open dead letters of `campaign`.
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
