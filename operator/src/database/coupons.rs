//! Reads which grants of a campaign have reached the database: as a row of `coupons`, or as a dead letter.

use super::connection::{Database, answered};
use super::time::{instant_of, time};
use crate::fields::text_or_null;
use anyhow::{Context, Result};
use futures::TryStreamExt;
use rushgate_gate::failpoint::is_active;
use rushgate_gate::restore::{Granted, Standing};
use rushgate_gate::{Applicant, CampaignId, Millis, Ordinal};
use serde::Serialize;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

/// How many of a campaign's grants have reached the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Active rows.
    pub inserted: i64,
    /// Open dead letters.
    pub failed: i64,
}

/// A row of `coupons`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coupon {
    pub round: String,
    pub serial: u32,
    /// `active` or `revoked`.
    pub state: String,
    #[serde(serialize_with = "text_or_null")]
    pub granted_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    pub issued_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    pub redeemed_at: Option<Millis>,
    #[serde(serialize_with = "text_or_null")]
    pub revoked_at: Option<Millis>,
}

impl Database {
    pub async fn arrived(&self, campaign: &CampaignId) -> Result<Arrived> {
        let mut connection = self.connection.lock().await;
        let inserted = sqlx::query_scalar(
            "SELECT COUNT(*) FROM coupons WHERE campaign_id = ? AND state = 'active'",
        )
        .bind(campaign.as_str())
        .fetch_one(&mut *connection);
        let inserted = answered(inserted).await.context("counting coupons")?;
        let failed = sqlx::query_scalar(
            "SELECT COUNT(*) FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL",
        )
        .bind(pattern(campaign))
        .fetch_one(&mut *connection);
        let failed = answered(failed).await.context("counting dead letters")?;
        Ok(Arrived { inserted, failed })
    }

    /// Every grant of the campaign that has a row, revoked ones included.
    ///
    /// # Errors
    /// When the database refuses, or a row cannot be parsed.
    pub async fn granted(&self, campaign: &CampaignId) -> Result<Vec<Granted>> {
        let mut connection = self.connection.lock().await;
        let mut rows = sqlx::query(
            "SELECT round_id, serial, user_id, turn, win, code_number, \
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', granted_at) DIV 1000 AS SIGNED) AS granted_at, \
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', revoked_at) DIV 1000 AS SIGNED) AS revoked_at, \
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', redeemed_at) DIV 1000 AS SIGNED) AS redeemed_at \
             FROM coupons WHERE campaign_id = ? ORDER BY id",
        )
        .bind(campaign.as_str())
        .fetch(&mut *connection);
        let mut all = vec![];
        // The result may be long, so the time limit is for each row.
        while let Some(row) = answered(rows.try_next()).await.context("reading coupons")? {
            all.push(granted(&row)?);
        }
        Ok(all)
    }

    /// An applicant's coupons of a campaign, revoked ones included, oldest first.
    pub async fn coupons(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
    ) -> Result<Vec<Coupon>> {
        let mut connection = self.connection.lock().await;
        let rows = sqlx::query(concat!(
            "SELECT round_id, serial, state, ",
            time!("granted_at"),
            " AS granted_at, ",
            time!("issued_at"),
            " AS issued_at, ",
            time!("redeemed_at"),
            " AS redeemed_at, ",
            time!("revoked_at"),
            " AS revoked_at FROM coupons WHERE user_id = ? AND campaign_id = ? ORDER BY id",
        ))
        .bind(applicant.as_str())
        .bind(campaign.as_str())
        .fetch_all(&mut *connection);
        let rows = answered(rows).await.context("looking for coupons")?;
        rows.iter()
            .map(|row| {
                Ok(Coupon {
                    round: row.try_get("round_id")?,
                    serial: row.try_get("serial")?,
                    state: row.try_get("state")?,
                    granted_at: instant_of(row, "granted_at")?,
                    issued_at: instant_of(row, "issued_at")?,
                    redeemed_at: instant_of(row, "redeemed_at")?,
                    revoked_at: instant_of(row, "revoked_at")?,
                })
            })
            .collect()
    }

    /// Open dead letters of a campaign that are about an applicant: record key and reason of each.
    pub async fn dead_letters_of(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
    ) -> Result<Vec<String>> {
        let mut connection = self.connection.lock().await;
        let failed_events = sqlx::query_scalar(
            "SELECT CONVERT(CONCAT(record_key, ': ', reason) USING utf8mb4) FROM failed_events \
             WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL \
             AND (payload LIKE CONCAT('%\"user_id\":\"', ?, '\"%') OR payload = ?) ORDER BY id",
        )
        .bind(pattern(campaign))
        .bind(applicant.as_str().replace('_', "\\_"))
        .bind(
            applicant
                .as_number()
                .map(|number| number.to_be_bytes().to_vec()),
        )
        .fetch_all(&mut *connection);
        answered(failed_events)
            .await
            .context("looking for dead letters")
    }
}

fn granted(row: &MySqlRow) -> Result<Granted> {
    let text = |column| row.try_get::<String, _>(column);
    let revoked_at: Option<i64> = row.try_get("revoked_at")?;
    // The revocation arrived before its grant: the time of the grant is not known yet.
    let at: i64 = row
        .try_get::<Option<i64>, _>("granted_at")?
        .or(revoked_at)
        .unwrap_or_default();
    Ok(Granted {
        applicant: text("user_id")?.parse()?,
        round: text("round_id")?.parse()?,
        serial: row.try_get::<u32, _>("serial")?.try_into()?,
        turn: row.try_get::<u32, _>("turn")?.try_into()?,
        win: row.try_get::<u32, _>("win")?.try_into()?,
        at: at.try_into()?,
        standing: match (revoked_at, row.try_get::<Option<i64>, _>("redeemed_at")?) {
            (Some(at), _) => Standing::Revoked(at.try_into()?),
            (None, Some(at)) if !is_active("bug::restore_forgets_redemptions") => {
                Standing::Redeemed(at.try_into()?)
            }
            (None, _) => Standing::Issued,
        },
        code_number: row
            .try_get::<Option<u32>, _>("code_number")?
            .map(Ordinal::try_from)
            .transpose()?,
    })
}

/// An id may contain `_`, which is a wildcard of LIKE.
pub(super) fn pattern(campaign: &CampaignId) -> String {
    campaign.as_str().replace('_', "\\_")
}
