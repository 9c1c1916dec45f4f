//! Reads and writes the table `rounds`.

use super::connection::Database;
use crate::terms::Campaign;
use anyhow::{Context, Result};
use rushgate_gate::{CampaignId, Millis, Round, RoundId};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row};

impl Database {
    /// The first of these rounds that has coupons, revoked coupons included.
    pub async fn with_coupons(
        &self,
        campaign: &CampaignId,
        rounds: impl Iterator<Item = &RoundId>,
    ) -> Result<Option<RoundId>> {
        let mut connection = self.connection.lock().await;
        for round in rounds {
            let coupon: Option<u64> = sqlx::query_scalar(
                "SELECT id FROM coupons WHERE campaign_id = ? AND round_id = ? LIMIT 1",
            )
            .bind(campaign.as_str())
            .bind(round.as_str())
            .fetch_optional(&mut *connection)
            .await
            .context("looking for coupons")?;
            if coupon.is_some() {
                return Ok(Some(round.clone()));
            }
        }
        Ok(None)
    }
}

/// The rounds of a campaign, in the order of their names.
pub(super) async fn of(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
) -> Result<Vec<Round>> {
    let rows = sqlx::query(
        "SELECT round_id, quota, \
         DATE_FORMAT(opens_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS opens_at, \
         DATE_FORMAT(closes_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS closes_at \
         FROM rounds WHERE campaign_id = ? ORDER BY round_id",
    )
    .bind(campaign.as_str())
    .fetch_all(connection)
    .await
    .context("reading the rounds")?;
    rows.iter().map(round).collect()
}

fn round(row: &MySqlRow) -> Result<Round> {
    let at = |column| {
        let text = row.try_get::<Option<String>, _>(column)?;
        text.map(|text| instant(&text)).transpose()
    };
    Ok(Round {
        id: row.try_get::<String, _>("round_id")?.parse::<RoundId>()?,
        opens_at: at("opens_at")?,
        closes_at: at("closes_at")?,
        quota: row.try_get::<u32, _>("quota")?.try_into()?,
    })
}

/// Adds rounds and raises quotas, so that the database accepts every grant of the gate. Removes nothing.
pub(super) async fn make_room(connection: &mut MySqlConnection, wanted: &Campaign) -> Result<()> {
    for round in &wanted.rounds {
        insert_round(
            connection,
            &wanted.id,
            round,
            "quota = GREATEST(quota, VALUES(quota))",
        )
        .await?;
    }
    Ok(())
}

/// Stores exactly these rounds; removes other rounds, unless they have coupons.
pub(super) async fn finalize(connection: &mut MySqlConnection, campaign: &Campaign) -> Result<()> {
    for round in &campaign.rounds {
        write(connection, &campaign.id, round).await?;
    }
    for gone in of(connection, &campaign.id).await? {
        if !campaign.rounds.iter().any(|round| round.id == gone.id) {
            sqlx::query(
                "DELETE FROM rounds WHERE campaign_id = ? AND round_id = ? AND NOT EXISTS (SELECT 1 FROM coupons \
                 WHERE coupons.campaign_id = rounds.campaign_id AND coupons.round_id = rounds.round_id)",
            )
                .bind(campaign.id.as_str())
                .bind(gone.id.as_str())
                .execute(&mut *connection)
                .await
                .context("removing a round")?;
        }
    }
    Ok(())
}

/// Stores a round as it is.
pub(super) async fn write(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    round: &Round,
) -> Result<()> {
    let all = "opens_at = VALUES(opens_at), closes_at = VALUES(closes_at), quota = VALUES(quota)";
    insert_round(connection, campaign, round, all).await
}

async fn insert_round(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    round: &Round,
    if_there: &'static str,
) -> Result<()> {
    let statement = format!(
        "INSERT INTO rounds (campaign_id, round_id, opens_at, closes_at, quota) VALUES (?, ?, ?, ?, ?) \
         ON DUPLICATE KEY UPDATE {if_there}"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(campaign.as_str())
        .bind(round.id.as_str())
        .bind(round.opens_at.map(datetime))
        .bind(round.closes_at.map(datetime))
        .bind(round.quota.get())
        .execute(connection)
        .await
        .context("writing a round")?;
    Ok(())
}

/// A DATETIME literal: RFC 3339 without `T` and `Z`.
pub(super) fn datetime(instant: Millis) -> String {
    instant.to_string().trim_end_matches('Z').replace('T', " ")
}

/// The reverse of [`datetime`], for text made by `DATE_FORMAT`.
pub(super) fn instant(text: &str) -> Result<Millis> {
    let instant: jiff::Timestamp = text.parse()?;
    Ok(Millis::try_from(instant.as_millisecond())?)
}
