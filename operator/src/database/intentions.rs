//! Stores in the table `intentions` what commands are about to do.

use super::connection::{ARE_THE_TABLES_THERE, Database};
use super::log;
use crate::intention::{Intention, Task};
use crate::refusal::refuse;
use anyhow::{Context, Result};
use rushgate_gate::{CampaignId, FencingToken};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

impl Database {
    /// The unfinished intention of a command on this campaign, if there is one.
    ///
    /// # Errors
    /// When the database refuses, or a newer version has written the intention.
    pub async fn intention(&self, campaign: &CampaignId) -> Result<Option<Intention>> {
        let mut connection = self.connection.lock().await;
        let row = sqlx::query(
            "SELECT fencing_token, actor, deed, reason FROM intentions WHERE campaign_id = ?",
        )
        .bind(campaign.as_str())
        .fetch_optional(&mut *connection)
        .await
        .context(ARE_THE_TABLES_THERE)?;
        let Some(row) = row else { return Ok(None) };
        let task: String = row.try_get("deed")?;
        Ok(Some(Intention {
            campaign: campaign.clone(),
            fence: row.try_get::<u64, _>("fencing_token")?.into(),
            actor: row.try_get::<String, _>("actor")?.parse()?,
            task: serde_json::from_str::<Task>(&task).with_context(|| {
                format!(
                    "reading what a command on campaign {campaign} has left unfinished: if it was a newer version of \
                     rushgate, use that version"
                )
            })?,
            reason: row.try_get("reason")?,
        }))
    }
}

/// Stores an intention.
pub(super) async fn begin(connection: &mut MySqlConnection, intention: &Intention) -> Result<()> {
    sqlx::query(
        "INSERT INTO intentions (campaign_id, fencing_token, actor, deed, reason) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(intention.campaign.as_str())
    .bind(intention.fence.get())
    .bind(intention.actor.as_str())
    .bind(serde_json::to_string(&intention.task)?)
    .bind(intention.reason.as_deref().map(log::cut))
    .execute(connection)
    .await
    .context("storing the intention")?;
    Ok(())
}

/// Removes an intention that was carried out or refused.
pub(super) async fn end(connection: &mut MySqlConnection, intention: &Intention) -> Result<()> {
    let ended = sqlx::query("DELETE FROM intentions WHERE campaign_id = ? AND fencing_token = ?")
        .bind(intention.campaign.as_str())
        .bind(intention.fence.get())
        .execute(connection)
        .await
        .context("ending the intention")?;
    if ended.rows_affected() != 1 {
        refuse!(
            CampaignBusy,
            "another command has taken campaign {0} over and has finished this: `rushgate campaign log {0}` shows how",
            intention.campaign
        );
    }
    Ok(())
}

/// Hands an interrupted command's intention to the command with this token.
pub(super) async fn take_over(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    token: FencingToken,
) -> Result<()> {
    sqlx::query("UPDATE intentions SET fencing_token = ? WHERE campaign_id = ?")
        .bind(token.get())
        .bind(campaign.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
