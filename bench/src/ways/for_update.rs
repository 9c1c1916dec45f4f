//! The way that locks the campaign's row with `FOR UPDATE`, and inserts while the row is locked.
//!
//! Its result is exact. All requests wait in line for the lock of one row, also those that will be refused, and each
//! of them holds a connection while it waits.

use super::coupons::{CONNECTIONS, Inserted, insert, pool};
use super::{Decide, Decision};
use anyhow::Result;
use sqlx::mysql::MySqlPool;

pub struct ForUpdate {
    database: MySqlPool,
}

impl ForUpdate {
    /// Gives out as many coupons as the campaign's row says.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connect(database_url: &str) -> Result<Self> {
        Ok(Self {
            database: pool(database_url, CONNECTIONS).await?,
        })
    }
}

impl Decide for ForUpdate {
    async fn apply(&self, campaign: &str, user_id: &str) -> Result<Decision> {
        let mut transaction = self.database.begin().await?;
        let (quota, given): (u32, u32) = sqlx::query_as(
            "SELECT quota, given FROM way_campaigns WHERE campaign_id = ? FOR UPDATE",
        )
        .bind(campaign)
        .fetch_one(&mut *transaction)
        .await?;
        if given >= quota {
            transaction.rollback().await?;
            return Ok(Decision::SoldOut);
        }
        if insert(&mut *transaction, campaign, user_id).await? == Inserted::WasThere {
            transaction.rollback().await?;
            return Ok(Decision::AlreadyGranted);
        }
        sqlx::query("UPDATE way_campaigns SET given = given + 1 WHERE campaign_id = ?")
            .bind(campaign)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Decision::Granted)
    }
}
