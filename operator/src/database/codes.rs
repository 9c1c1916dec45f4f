//! Reads and writes the codes and the redemptions of coupons.

use super::connection::{Database, answered};
use super::rounds::datetime;
use super::time::{instant_of, time};
use anyhow::{Context, Result};
use futures::TryStreamExt;
use rushgate_gate::failpoint::is_active;
use rushgate_gate::{Assignment, CampaignId, CanonicalCode, CouponCode, Millis, Ordinal, RoundId};
use serde::Serialize;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

/// The coupon that has a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodedCoupon {
    pub id: u64,
    pub campaign: CampaignId,
    pub grant: Assignment,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Millis>,
    pub redemption: Option<Redemption>,
    pub valid_until: Option<Millis>,
    /// Whether `valid_until` is past, by the clock of the database.
    pub is_expired: bool,
    pub granted_at: Option<Millis>,
    pub issued_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    pub at: Millis,
    pub order: Option<String>,
}

/// A row of `coupons`, as `coupon list` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CouponRow {
    pub round: String,
    pub serial: u32,
    pub user_id: String,
    pub code: Option<String>,
    /// `active` or `revoked`.
    pub state: String,
    pub granted_at: Option<String>,
    pub issued_at: Option<String>,
    pub revoked_at: Option<String>,
    pub redeemed_at: Option<String>,
    pub order_id: Option<String>,
    #[serde(skip)]
    pub turn: u32,
    /// The number of its code, in a campaign with pool codes.
    #[serde(skip)]
    pub code_number: Option<u32>,
}

/// A row that lacks its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codeless {
    pub id: u64,
    pub turn: Ordinal,
    pub grant: Assignment,
}

impl Database {
    /// The coupons with this code. It is a signed code, the code of a pool, or both.
    pub async fn coupons_of_code(&self, code: &CanonicalCode) -> Result<Vec<CodedCoupon>> {
        let signed = code.as_str().parse::<CouponCode>().ok();
        let mut connection = self.connection.lock().await;
        let rows = sqlx::query(concat!(
            "SELECT id, campaign_id, round_id, serial, user_id, order_id, ",
            time!("granted_at"),
            " AS granted_at, ",
            time!("issued_at"),
            " AS issued_at, ",
            time!("revoked_at"),
            " AS revoked_at, ",
            time!("redeemed_at"),
            " AS redeemed_at, ",
            time!("valid_until"),
            " AS valid_until, IFNULL(valid_until <= UTC_TIMESTAMP(3), FALSE) AS is_expired \
             FROM (SELECT id FROM coupons WHERE code = ? UNION SELECT c.id FROM pool_codes p JOIN coupons c \
             ON c.campaign_id = p.campaign_id AND c.code_number = p.number WHERE p.canonical = ?) AS found \
             JOIN coupons USING (id) JOIN campaigns USING (campaign_id)"
        ))
        .bind(signed.map(|code| code.to_string()))
        .bind(code.as_str())
        .fetch_all(&mut *connection);
        let rows = answered(rows).await.context("looking for the coupon")?;
        rows.iter().map(coded_coupon).collect()
    }

    /// Redeems a coupon, if it is active and was not redeemed before. Returns whether it did.
    pub async fn redeem(&self, id: u64, at: Millis, order: Option<&str>) -> Result<bool> {
        let mut connection = self.connection.lock().await;
        let redeemed = sqlx::query(match is_active("bug::redeem_again") {
            true => "UPDATE coupons SET redeemed_at = ?, order_id = ? WHERE id = ?",
            false => {
                "UPDATE coupons SET redeemed_at = ?, order_id = ? \
                     WHERE id = ? AND state = 'active' AND redeemed_at IS NULL"
            }
        })
        .bind(datetime(at))
        .bind(order)
        .bind(id)
        .execute(&mut *connection);
        let redeemed = answered(redeemed).await.context("redeeming the coupon")?;
        Ok(redeemed.rows_affected() == 1)
    }

    /// Passes every row of a campaign to `each`, by round and serial. It holds a single row in memory.
    ///
    /// # Errors
    /// When the database does not answer, or `each` fails.
    pub async fn each_coupon(
        &self,
        campaign: &CampaignId,
        mut each: impl FnMut(CouponRow) -> Result<()>,
    ) -> Result<()> {
        let mut connection = self.connection.lock().await;
        // Through this key no server has to sort the rows, so the first one comes at once.
        let mut rows = sqlx::query(concat!(
            "SELECT round_id, serial, user_id, COALESCE(coupons.code, pool_codes.code) AS code, state, turn, code_number, \
             order_id, ",
            time!("granted_at"),
            " AS granted_at, ",
            time!("issued_at"),
            " AS issued_at, ",
            time!("revoked_at"),
            " AS revoked_at, ",
            time!("redeemed_at"),
            " AS redeemed_at FROM coupons FORCE INDEX (coupons_one_per_grant) LEFT JOIN pool_codes \
             ON pool_codes.campaign_id = coupons.campaign_id AND pool_codes.number = code_number \
             WHERE coupons.campaign_id = ? ORDER BY round_id, serial, user_id"
        ))
        .bind(campaign.as_str())
        .fetch(&mut *connection);
        // The result may be long, so the time limit is for each row.
        while let Some(row) = answered(rows.try_next()).await.context("reading coupons")? {
            each(coupon_row(&row)?)?;
        }
        Ok(())
    }

    /// The next rows of a round that lack their code, by serial, at most `most`.
    pub async fn codeless(
        &self,
        campaign: &CampaignId,
        round: &RoundId,
        from: u32,
        most: usize,
    ) -> Result<Vec<Codeless>> {
        let mut connection = self.connection.lock().await;
        let rows = sqlx::query(
            "SELECT id, serial, user_id, turn FROM coupons FORCE INDEX (coupons_one_per_grant) \
             WHERE campaign_id = ? AND round_id = ? AND serial >= ? AND code IS NULL ORDER BY serial, user_id LIMIT ?",
        )
        .bind(campaign.as_str())
        .bind(round.as_str())
        .bind(from)
        .bind(most as u64)
        .fetch_all(&mut *connection);
        let rows = answered(rows)
            .await
            .context("looking for coupons without codes")?;
        let rows = rows.iter().map(|row| {
            Ok(Codeless {
                id: row.try_get("id")?,
                turn: row.try_get::<u32, _>("turn")?.try_into()?,
                grant: Assignment {
                    round: round.clone(),
                    serial: row.try_get::<u32, _>("serial")?.try_into()?,
                    applicant: row.try_get::<String, _>("user_id")?.parse()?,
                },
            })
        });
        rows.collect()
    }

    /// Writes codes of rows that have none, in one statement. Returns how many it wrote.
    pub async fn write_codes(&self, codes: &[(u64, CouponCode)]) -> Result<u64> {
        let cases = "WHEN ? THEN ? ".repeat(codes.len());
        let ids = vec!["?"; codes.len()].join(", ");
        let mut update = sqlx::query(AssertSqlSafe(format!(
            "UPDATE coupons SET code = CASE id {cases}END WHERE id IN ({ids}) AND code IS NULL"
        )));
        for (id, code) in codes {
            update = update.bind(id).bind(code.to_string());
        }
        for (id, _) in codes {
            update = update.bind(id);
        }
        let mut connection = self.connection.lock().await;
        let written = answered(update.execute(&mut *connection)).await;
        Ok(written.context("writing codes")?.rows_affected())
    }
}

fn coded_coupon(row: &MySqlRow) -> Result<CodedCoupon> {
    let text = |column| row.try_get::<String, _>(column);
    let at = |column| instant_of(row, column);
    let order = row.try_get("order_id")?;
    Ok(CodedCoupon {
        id: row.try_get("id")?,
        campaign: text("campaign_id")?.parse()?,
        grant: Assignment {
            round: text("round_id")?.parse()?,
            serial: row.try_get::<u32, _>("serial")?.try_into()?,
            applicant: text("user_id")?.parse()?,
        },
        revoked_at: at("revoked_at")?,
        redemption: at("redeemed_at")?
            .filter(|_| !is_active("bug::redeem_again"))
            .map(|at| Redemption { at, order }),
        valid_until: at("valid_until")?,
        is_expired: row.try_get("is_expired")?,
        granted_at: at("granted_at")?,
        issued_at: at("issued_at")?,
    })
}

fn coupon_row(row: &MySqlRow) -> Result<CouponRow> {
    Ok(CouponRow {
        round: row.try_get("round_id")?,
        serial: row.try_get("serial")?,
        user_id: row.try_get("user_id")?,
        code: row.try_get("code")?,
        state: row.try_get("state")?,
        granted_at: row.try_get("granted_at")?,
        issued_at: row.try_get("issued_at")?,
        revoked_at: row.try_get("revoked_at")?,
        redeemed_at: row.try_get("redeemed_at")?,
        order_id: row.try_get("order_id")?,
        turn: row.try_get("turn")?,
        code_number: row.try_get("code_number")?,
    })
}
