//! Revokes coupons.

use crate::table::coupon_row::{ACTIVE, insert_revoked, revoke_row};
use crate::table::outcome::RecordOutcome;
use crate::table::plan::Planned;
use sqlx::{MySqlConnection, Row};

/// Revokes a coupon. If its grant has not arrived yet, inserts a revoked row.
pub(crate) async fn revoke(
    connection: &mut MySqlConnection,
    planned: &Planned<'_>,
) -> Result<RecordOutcome, sqlx::Error> {
    let event = planned.event;
    let row = sqlx::query(
        "SELECT id, state FROM coupons \
         WHERE campaign_id = ? AND round_id = ? AND serial = ? AND user_id = ? FOR UPDATE",
    )
    .bind(event.campaign.as_str())
    .bind(event.round.as_str())
    .bind(event.serial.get())
    .bind(event.applicant.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        insert_revoked(connection, planned, None, event.at).await?;
        return Ok(RecordOutcome::Revoked);
    };
    // Also if the row is revoked already: a later grant of the serial may have revoked it without knowing the
    // exact time.
    revoke_row(connection, row.try_get(0)?, event.at).await?;
    Ok(if row.try_get::<String, _>(1)? == ACTIVE {
        RecordOutcome::Revoked
    } else {
        RecordOutcome::AlreadyInserted
    })
}
