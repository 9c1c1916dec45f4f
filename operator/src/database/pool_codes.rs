//! Reads and writes the table `pool_codes`, and the numbers of codes in rows of `coupons`.

use super::connection::{Database, answered};
use crate::unknown::Unknown;
use anyhow::{Context, Result};
use rushgate_gate::{Assignment, CampaignId, CanonicalCode, Ordinal, PoolCode};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use std::collections::HashMap;

/// The pool codes of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSize {
    pub loaded: u32,
    /// Length of the longest code, in characters.
    pub width: usize,
}

/// Where a code was loaded before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedCode {
    pub campaign: String,
    pub number: u32,
}

/// A transaction that loads codes.
pub struct CodeLoad<'a> {
    connection: &'a mut MySqlConnection,
    campaign: &'a CampaignId,
    /// The codes that the campaign has by now.
    pub size: PoolSize,
}

impl Database {
    pub async fn pool_size(&self, campaign: &CampaignId) -> Result<PoolSize> {
        pool_size(&mut *self.connection.lock().await, campaign).await
    }

    /// The next codes after a number, in the order of their numbers, at most `most`.
    pub async fn pool_codes(
        &self,
        campaign: &CampaignId,
        after: u32,
        most: usize,
    ) -> Result<Vec<PoolCode>> {
        let mut connection = self.connection.lock().await;
        let codes = sqlx::query_scalar::<_, String>(
            "SELECT code FROM pool_codes WHERE campaign_id = ? AND number > ? ORDER BY number LIMIT ?",
        )
        .bind(campaign.as_str())
        .bind(after)
        .bind(most as u64)
        .fetch_all(&mut *connection);
        let codes = answered(codes).await.context("reading codes")?;
        codes.iter().map(|code| Ok(code.parse()?)).collect()
    }

    /// Loads codes in one transaction, which is committed if `work` succeeds.
    ///
    /// # Errors
    /// When nothing was loaded; [`Unknown`] if the answer to the commit was lost.
    pub async fn load_codes<T>(
        &self,
        campaign: &CampaignId,
        work: impl AsyncFnOnce(&mut CodeLoad<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection.lock().await;
        let mut transaction = answered(connection.begin()).await?;
        let size = pool_size(&mut transaction, campaign).await?;
        let done = work(&mut CodeLoad {
            connection: &mut transaction,
            campaign,
            size,
        })
        .await?;
        let committed = answered(transaction.commit()).await;
        committed.map_err(|error| {
            let what = format!("loading codes of campaign {campaign}");
            error.context(Unknown::new(what, "Run the same command again"))
        })?;
        Ok(done)
    }

    /// Writes the numbers of codes that rows lack. Returns how many it wrote.
    pub async fn write_code_numbers(
        &self,
        campaign: &CampaignId,
        numbers: &[(Assignment, Ordinal)],
    ) -> Result<u64> {
        let mut connection = self.connection.lock().await;
        let mut written = 0;
        for (grant, number) in numbers {
            let update = sqlx::query(
                "UPDATE coupons SET code_number = ? WHERE campaign_id = ? AND round_id = ? AND serial = ? \
                 AND user_id = ? AND code_number IS NULL",
            )
            .bind(number.get())
            .bind(campaign.as_str())
            .bind(grant.round.as_str())
            .bind(grant.serial.get())
            .bind(grant.applicant.as_str())
            .execute(&mut *connection);
            let update = answered(update).await;
            written += update
                .context("writing the number of a code")?
                .rows_affected();
        }
        Ok(written)
    }
}

impl CodeLoad<'_> {
    /// Those of these codes that were loaded before, by this load or by another one, in any campaign.
    pub async fn find(
        &mut self,
        codes: &[CanonicalCode],
    ) -> Result<HashMap<CanonicalCode, LoadedCode>> {
        let listed = vec!["?"; codes.len()].join(", ");
        let mut query = sqlx::query(AssertSqlSafe(format!(
            "SELECT canonical, campaign_id, number FROM pool_codes WHERE canonical IN ({listed})"
        )));
        for code in codes {
            query = query.bind(code.as_str());
        }
        let rows = answered(query.fetch_all(&mut *self.connection)).await;
        let rows = rows.context("looking for codes that were loaded before")?;
        let loaded = rows.iter().map(|row| {
            let code = row.try_get::<String, _>("canonical")?.parse()?;
            let campaign = row.try_get("campaign_id")?;
            let number = row.try_get("number")?;
            Ok((code, LoadedCode { campaign, number }))
        });
        loaded.collect()
    }

    /// Adds these codes after the last one.
    pub async fn insert(&mut self, codes: &[(PoolCode, CanonicalCode)]) -> Result<()> {
        if codes.is_empty() {
            return Ok(());
        }
        let rows = vec!["(?, ?, ?, ?)"; codes.len()].join(", ");
        let mut query = sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO pool_codes (campaign_id, number, code, canonical) VALUES {rows}"
        )));
        for (code, canonical) in codes {
            self.size.loaded += 1;
            self.size.width = self.size.width.max(code.as_str().len());
            let row = query.bind(self.campaign.as_str()).bind(self.size.loaded);
            query = row.bind(code.as_str()).bind(canonical.as_str());
        }
        let inserted = answered(query.execute(&mut *self.connection)).await;
        inserted.map(drop).context("writing codes")
    }
}

async fn pool_size(connection: &mut MySqlConnection, campaign: &CampaignId) -> Result<PoolSize> {
    let size = sqlx::query_as(
        "SELECT CAST(COALESCE(MAX(number), 0) AS UNSIGNED), CAST(COALESCE(MAX(LENGTH(code)), 0) AS UNSIGNED) \
         FROM pool_codes WHERE campaign_id = ?",
    )
    .bind(campaign.as_str())
    .fetch_one(connection);
    let (loaded, width): (u64, u64) = answered(size).await.context("counting codes")?;
    Ok(PoolSize {
        loaded: u32::try_from(loaded)?,
        width: usize::try_from(width)?,
    })
}
