//! The way that counts in Redis with `INCR`, and inserts at once.
//!
//! It never gives out too many coupons. But it takes the number before it checks the applicant. So each second click
//! of a winner, and each failed insert, uses up a coupon that no applicant gets.

use super::coupons::{CONNECTIONS, Inserted, insert, pool};
use super::{Decide, Decision};
use anyhow::{Context, Result};
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use sqlx::mysql::MySqlPool;
use std::time::Duration;

/// Redis timeout: the default of the usual client (Lettuce).
const PATIENCE: Duration = Duration::from_secs(60);

pub struct IncrInsert {
    redis: ConnectionManager,
    database: MySqlPool,
    quota: u32,
}

impl IncrInsert {
    /// Gives out `quota` coupons of each campaign.
    ///
    /// # Errors
    /// When Redis or the database does not answer.
    pub async fn connect(redis_url: &str, database_url: &str, quota: u32) -> Result<Self> {
        Ok(Self {
            redis: redis(redis_url).await?,
            database: pool(database_url, CONNECTIONS).await?,
            quota,
        })
    }
}

impl Decide for IncrInsert {
    async fn apply(&self, campaign: &str, user_id: &str) -> Result<Decision> {
        let number: u64 = self
            .redis
            .clone()
            .incr(format!("way:{campaign}:count"), 1)
            .await?;
        if number > u64::from(self.quota) {
            return Ok(Decision::SoldOut);
        }
        Ok(match insert(&self.database, campaign, user_id).await? {
            Inserted::New => Decision::Granted,
            Inserted::WasThere => Decision::AlreadyGranted,
        })
    }
}

/// One connection that all requests share, and that is reopened when it breaks.
pub(super) async fn redis(url: &str) -> Result<ConnectionManager> {
    let client = redis::Client::open(url).context("parsing REDIS_URL")?;
    let config = ConnectionManagerConfig::new().set_response_timeout(Some(PATIENCE));
    let manager = client.get_connection_manager_with_config(config).await;
    manager.context("cannot use the Redis that REDIS_URL names")
}
