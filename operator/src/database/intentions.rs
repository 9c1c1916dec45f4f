//! Stores in the table `intentions` what commands are about to do, and runs the transaction that records the result.

use super::log::{self, Entry};
use super::{ARE_THE_TABLES_THERE, Database, Resolution, campaigns, failed_events};
use crate::intention::{Intention, Task};
use crate::terms::Campaign;
use anyhow::{Context, Result, ensure};
use rushgate_gate::{CampaignId, CampaignState, FencingToken};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

/// One write of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// A command is about to do this.
    Begin(&'a Intention),
    /// The intention was carried out or refused. Fails if another command has taken the campaign over.
    End(&'a Intention),
    /// Add rounds and raise quotas to those of this campaign.
    Room(&'a Campaign),
    /// Store exactly these rules and rounds.
    Final(&'a Campaign),
    /// The gate knows the campaign.
    Projected,
    /// Set the state, unless the campaign was halted meanwhile.
    State(CampaignState),
    /// Set the state, also if the campaign is halted.
    Reopened(CampaignState),
    /// Resolve a dead letter of the consumer, unless it is already resolved.
    Resolved(u64, Resolution, &'a str),
    /// Append a line to the log.
    Log(Entry<'a>),
}

impl Database {
    /// Makes all these writes in one transaction.
    ///
    /// # Errors
    /// When the database refuses, or another command has taken the campaign over. Nothing was written then, unless the
    /// answer to the commit was lost.
    pub async fn write(&self, campaign: &CampaignId, writes: &[Write<'_>]) -> Result<()> {
        self.transact(async |connection| {
            for write in writes {
                one(connection, campaign, write).await?;
            }
            Ok(())
        })
        .await
    }

    /// Records what was done with a dead letter of the consumer, unless it is already resolved.
    pub async fn resolve(&self, id: u64, resolution: Resolution, note: &str) -> Result<()> {
        self.transact(async |connection| {
            failed_events::resolve(connection, id, resolution, note).await
        })
        .await
    }

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

async fn one(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    write: &Write<'_>,
) -> Result<()> {
    match write {
        Write::Begin(intention) => begin(connection, intention).await,
        Write::End(intention) => end(connection, intention).await,
        Write::Room(wanted) => campaigns::make_room(connection, wanted).await,
        Write::Final(campaign) => campaigns::finalize(connection, campaign).await,
        Write::Projected => campaigns::set_projected(connection, campaign).await,
        Write::State(state) => campaigns::set_state(connection, campaign, *state, false).await,
        Write::Reopened(state) => campaigns::set_state(connection, campaign, *state, true).await,
        Write::Resolved(id, resolution, note) => {
            failed_events::resolve(connection, *id, *resolution, note).await
        }
        Write::Log(entry) => log::append(connection, campaign, *entry).await,
    }
}

async fn begin(connection: &mut MySqlConnection, intention: &Intention) -> Result<()> {
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

async fn end(connection: &mut MySqlConnection, intention: &Intention) -> Result<()> {
    let ended = sqlx::query("DELETE FROM intentions WHERE campaign_id = ? AND fencing_token = ?")
        .bind(intention.campaign.as_str())
        .bind(intention.fence.get())
        .execute(connection)
        .await
        .context("ending the intention")?;
    ensure!(
        ended.rows_affected() == 1,
        "another command has taken campaign {0} over and has finished this: `rushgate campaign log {0}` shows how",
        intention.campaign
    );
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
