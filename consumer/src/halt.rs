//! What is done when the gate has lost grants whose coupons are committed: the database says so too.

use crate::session;
use crate::store::StoreError;
use rushgate_gate::CampaignId;
use sqlx::Connection;
use sqlx::mysql::MySqlConnectOptions;
use std::fmt;

/// What the gate has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// So many of the grants that were to be confirmed.
    Grants(u32),
    /// The whole campaign.
    Campaign,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grants(grants) => {
                write!(f, "Redis has lost {grants} acknowledged grants or more")
            }
            Self::Campaign => f.write_str("Redis has lost the whole campaign"),
        }
    }
}

/// Halts campaigns in the database.
pub struct CampaignHalter {
    options: MySqlConnectOptions,
}

impl CampaignHalter {
    /// One that connects when it is needed.
    pub fn new(options: MySqlConnectOptions) -> Self {
        Self { options }
    }

    /// Halts the campaign and writes why into its log. Whether it was not halted before.
    ///
    /// # Errors
    /// When the database could not do it now. Doing it again is harmless.
    pub async fn halt(&self, campaign: &CampaignId, loss: &Loss) -> Result<bool, StoreError> {
        let mut connection = session::open(&self.options).await?;
        let mut transaction = connection.begin().await?;
        let halted = sqlx::query(
            "UPDATE campaigns SET state = 'halted' WHERE campaign_id = ? AND state <> 'halted'",
        )
        .bind(campaign.as_str())
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            > 0;
        if halted {
            sqlx::query(
                "INSERT INTO campaign_log (campaign_id, action, detail) VALUES (?, 'halted', ?)",
            )
            .bind(campaign.as_str())
            .bind(loss.to_string())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        session::close(connection).await;
        Ok(halted)
    }
}
