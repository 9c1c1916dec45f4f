//! The way that counts the rows, and inserts one if there are fewer than the quota.
//!
//! It is the usual first version: `exists`, `count`, `save`. Each statement is correct, but other requests run between
//! them. So it inserts up to one row too many for every other connection of every instance, and an applicant who
//! clicks twice may get two coupons. A unique key, which the other ways have, would prevent the second coupon of one
//! applicant; nothing prevents the rows above the quota.

use super::coupons::{CONNECTIONS, insert, pool};
use super::{Decide, Decision};
use anyhow::Result;
use sqlx::mysql::MySqlPool;

pub struct CountThenInsert {
    database: MySqlPool,
    quota: u32,
}

impl CountThenInsert {
    /// Gives out `quota` coupons of each campaign.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connect(database_url: &str, quota: u32) -> Result<Self> {
        Ok(Self {
            database: pool(database_url, CONNECTIONS).await?,
            quota,
        })
    }
}

impl Decide for CountThenInsert {
    async fn apply(&self, campaign: &str, user_id: &str) -> Result<Decision> {
        // One connection for the whole request, as with Spring's open-in-view: fewer requests are between count and
        // insert than if each statement had to wait for a connection.
        let mut database = self.database.acquire().await?;
        let has_one: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM way_coupons WHERE campaign_id = ? AND user_id = ?)",
        )
        .bind(campaign)
        .bind(user_id)
        .fetch_one(&mut *database)
        .await?;
        if has_one {
            return Ok(Decision::AlreadyGranted);
        }
        let given: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM way_coupons WHERE campaign_id = ?")
                .bind(campaign)
                .fetch_one(&mut *database)
                .await?;
        if given >= i64::from(self.quota) {
            return Ok(Decision::SoldOut);
        }
        insert(&mut *database, campaign, user_id).await?;
        Ok(Decision::Granted)
    }
}
