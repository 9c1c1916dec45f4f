//! Appends to the table `campaign_log` and reads it: what was done to a campaign, and why. Lines are never changed.

use super::connection::{ARE_THE_TABLES_THERE, Database};
use crate::actor::Actor;
use crate::dead_letter::DeadLetterId;
use crate::intention::{GrantRef, Intention};
use anyhow::{Context, Result};
use rushgate_gate::{Assignment, CampaignId};
use serde::Serialize;
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    /// Quota, windows, days or waitlist were changed.
    Changed,
    Paused,
    Resumed,
    Closed,
    Revoked,
    /// Redis has lost grants.
    Halted,
    /// The gate was rebuilt after a loss.
    Restored,
    Replayed,
    Discarded,
    /// An audit's findings were repaired.
    Repaired,
    /// The gate refused what an interrupted command had begun; it was not done.
    Refused,
}

/// A line to append.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub action: Action,
    pub detail: &'a str,
    /// In the operator's words.
    pub reason: Option<&'a str>,
    pub actor: Option<&'a Actor>,
    /// The grant that was revoked, or discarded with its dead letter.
    pub about: Option<&'a GrantRef>,
}

impl<'a> Entry<'a> {
    /// The line that records the result of an intention.
    pub fn of(intention: &'a Intention, action: Action, detail: &'a str) -> Self {
        Self {
            action,
            detail,
            reason: intention.reason.as_deref(),
            actor: Some(&intention.actor),
            about: None,
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// In UTC, by the clock of the database.
    pub at: String,
    /// One word, such as `paused`.
    pub action: String,
    pub detail: String,
    /// In the operator's words.
    pub reason: Option<String>,
    /// Who ran the command; `None` if a program did it.
    pub actor: Option<String>,
}

impl Action {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Closed => "closed",
            Self::Revoked => "revoked",
            Self::Halted => "halted",
            Self::Restored => "restored",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Repaired => "repaired",
            Self::Refused => "refused",
        }
    }
}

impl Database {
    /// The log of a campaign, oldest line first.
    pub async fn log(&self, campaign: &CampaignId) -> Result<Vec<LogLine>> {
        let mut connection = self.connection.lock().await;
        let rows = sqlx::query(
            "SELECT DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s.%f') AS at, action, detail, reason, actor FROM campaign_log \
             WHERE campaign_id = ? ORDER BY id",
        )
        .bind(campaign.as_str())
        .fetch_all(&mut *connection)
        .await
        .context(ARE_THE_TABLES_THERE)?;
        rows.iter()
            .map(|row| {
                let at: String = row.try_get("at")?;
                Ok(LogLine {
                    at: format!("{}Z", at.get(..23).unwrap_or(&at)),
                    action: row.try_get("action")?,
                    detail: row.try_get("detail")?,
                    reason: row.try_get("reason")?,
                    actor: row.try_get("actor")?,
                })
            })
            .collect()
    }
}

impl Database {
    /// The grants that lines with `action` are about.
    pub async fn grants_of(
        &self,
        campaign: &CampaignId,
        action: Action,
    ) -> Result<Vec<Assignment>> {
        let mut connection = self.connection.lock().await;
        let rows: Vec<(String, u32, String)> = sqlx::query_as(
            "SELECT round_id, serial, user_id FROM campaign_log WHERE campaign_id = ? AND action = ? \
             AND user_id IS NOT NULL",
        )
        .bind(campaign.as_str())
        .bind(action.as_str())
        .fetch_all(&mut *connection)
        .await
        .context(ARE_THE_TABLES_THERE)?;
        let place = |(round, serial, applicant): (String, u32, String)| {
            Ok(Assignment {
                round: round.parse()?,
                serial: serial.try_into()?,
                applicant: applicant.parse()?,
            })
        };
        rows.into_iter().map(place).collect()
    }

    /// What was done with a dead letter, and when, if the log of its campaign has a line for it.
    pub async fn dealt_with(
        &self,
        campaign: &CampaignId,
        dead_letter: &DeadLetterId,
    ) -> Result<Option<(String, String)>> {
        let name = dead_letter.to_string();
        let mut connection = self.connection.lock().await;
        // The line begins with the id, which ends where no digit follows.
        let found = sqlx::query_as(
            "SELECT action, DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%sZ') FROM campaign_log WHERE campaign_id = ? \
             AND action IN ('replayed', 'discarded') AND LEFT(detail, CHAR_LENGTH(?)) = ? \
             AND SUBSTRING(detail, CHAR_LENGTH(?) + 1, 1) NOT BETWEEN '0' AND '9' ORDER BY id DESC LIMIT 1",
        )
        .bind(campaign.as_str())
        .bind(&name)
        .bind(&name)
        .bind(&name)
        .fetch_optional(&mut *connection)
        .await;
        found.context(ARE_THE_TABLES_THERE)
    }
}

/// Cuts a text to the width of the columns for free text.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 1_024;
    text.chars().take(LONGEST).collect()
}

/// Appends a line, in the transaction of the change that it records.
pub(super) async fn append(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    entry: Entry<'_>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO campaign_log (campaign_id, action, detail, reason, actor, round_id, serial, user_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(campaign.as_str())
    .bind(entry.action.as_str())
    .bind(cut(entry.detail))
    .bind(entry.reason.map(cut))
    .bind(entry.actor.map(Actor::as_str))
    .bind(entry.about.map(|grant| grant.round.as_str()))
    .bind(entry.about.map(|grant| grant.serial.get()))
    .bind(entry.about.map(|grant| grant.user_id.as_str()))
    .execute(connection)
    .await
    .context("appending to the log of the campaign")?;
    Ok(())
}
