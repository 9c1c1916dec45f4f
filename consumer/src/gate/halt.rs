//! Halts a campaign in the database, after the gate has lost grants whose coupons are committed. The confirmation that
//! found the loss has already halted the campaign in Redis.

use crate::table::error::StoreError;
use crate::table::session;
use rushgate_gate::CampaignId;
use sqlx::Connection;
use sqlx::mysql::MySqlConnectOptions;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The gate does not know this many of the grants in the request.
    Grants(u32),
    Campaign,
}

impl Loss {
    /// The number of grants that are lost, of the `asked` ones in the request.
    pub(crate) fn grants(&self, asked: u64) -> u64 {
        match self {
            Self::Grants(grants) => u64::from(*grants),
            Self::Campaign => asked,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grants(grants) => {
                write!(f, "Redis has lost acknowledged grants: at least {grants}")
            }
            Self::Campaign => f.write_str("Redis has lost the whole campaign"),
        }
    }
}

pub(crate) struct CampaignHalter {
    options: MySqlConnectOptions,
}

impl CampaignHalter {
    /// It connects when it is first needed.
    pub(crate) fn new(options: MySqlConnectOptions) -> Self {
        Self { options }
    }

    /// Halts the campaign and writes the reason to its log. Returns `false` if it was halted already.
    ///
    /// # Errors
    /// When the database does not answer or refuses. It is safe to call it again.
    pub(crate) async fn halt(
        &self,
        campaign: &CampaignId,
        loss: &Loss,
    ) -> Result<bool, StoreError> {
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
