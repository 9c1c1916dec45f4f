//! Counts rows and dead letters for `rushgate watch`: all campaigns in two statements.

use super::connection::{Database, answered};
use anyhow::{Context, Result};
use rushgate_gate::{CampaignId, RoundId};
use sqlx::QueryBuilder;
use std::collections::BTreeMap;

/// What has reached the database at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Active rows of each round; a round without rows is missing.
    pub active: BTreeMap<(String, String), u64>,
    /// Open dead letters of the consumer by campaign; a campaign without any is missing.
    pub dead_letters: BTreeMap<String, u64>,
}

impl Database {
    /// Counts the rows of these rounds. The database reads as many entries of an index as there are rows, so callers that
    /// count again and again should pause for a multiple of the time that it takes.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    pub async fn row_counts(&self, rounds: &[(CampaignId, RoundId)]) -> Result<RowCounts> {
        let mut connection = self.connection.lock().await;
        let mut counts = RowCounts::default();
        if !rounds.is_empty() {
            let mut query = QueryBuilder::new(
                "SELECT campaign_id, round_id, COUNT(active_serial) FROM coupons \
                 FORCE INDEX (coupons_one_per_serial) WHERE ",
            );
            for (number, (campaign, round)) in rounds.iter().enumerate() {
                query.push(if number == 0 { "(" } else { " OR (" });
                query.push("campaign_id = ").push_bind(campaign.as_str());
                query.push(" AND round_id = ").push_bind(round.as_str());
                query.push(")");
            }
            query.push(" GROUP BY campaign_id, round_id");
            let rows = query.build_query_as().fetch_all(&mut *connection);
            let rows: Vec<(String, String, i64)> =
                answered(rows).await.context("counting coupons")?;
            for (campaign, round, count) in rows {
                let count = u64::try_from(count)?;
                counts.active.insert((campaign, round), count);
            }
        }
        let dead_letters = sqlx::query_as(
            "SELECT CONVERT(SUBSTRING_INDEX(COALESCE(record_key, ''), '/', 1) USING utf8mb4) AS campaign, COUNT(*) \
             FROM failed_events WHERE resolution IS NULL GROUP BY campaign",
        )
        .fetch_all(&mut *connection);
        let dead_letters: Vec<(String, i64)> = answered(dead_letters)
            .await
            .context("counting dead letters")?;
        for (campaign, count) in dead_letters {
            counts.dead_letters.insert(campaign, u64::try_from(count)?);
        }
        Ok(counts)
    }
}
