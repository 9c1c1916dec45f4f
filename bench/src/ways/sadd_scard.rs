//! The way that keeps a set of applicants in Redis, and inserts those who came early enough.
//!
//! `SADD` and `SCARD` run in one `MULTI`. So each applicant gets at most one coupon, and there are never too many, as
//! long as nothing fails. The set contains every applicant who ever came, also those without a coupon. An applicant
//! cannot learn the result by applying again. If an insert fails, its coupon is lost: no applicant gets it.

use super::coupons::{CONNECTIONS, Inserted, insert, pool};
use super::incr_insert::redis;
use super::{Decide, Decision};
use anyhow::Result;
use redis::aio::ConnectionManager;
use sqlx::mysql::MySqlPool;

pub struct SaddScard {
    redis: ConnectionManager,
    database: MySqlPool,
    quota: u32,
}

impl SaddScard {
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

impl Decide for SaddScard {
    async fn apply(&self, campaign: &str, user_id: &str) -> Result<Decision> {
        let people = format!("way:{campaign}:people");
        let (added, count): (u8, u64) = redis::pipe()
            .atomic()
            .sadd(&people, user_id)
            .scard(&people)
            .query_async(&mut self.redis.clone())
            .await?;
        if added == 0 {
            return Ok(Decision::AlreadyApplied);
        }
        if count > u64::from(self.quota) {
            return Ok(Decision::SoldOut);
        }
        Ok(match insert(&self.database, campaign, user_id).await? {
            Inserted::New => Decision::Granted,
            Inserted::WasThere => Decision::AlreadyGranted,
        })
    }
}
