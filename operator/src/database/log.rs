//! `campaign_log`: what was done to campaigns, and why. Lines are added and never changed.

use super::{ARE_THE_TABLES_THERE, Database};
use crate::actor::Actor;
use crate::failed::LetterId;
use crate::intention::{Intention, Taken};
use anyhow::{Context, Result};
use rushgate_gate::{Assignment, CampaignId};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The campaign was created.
    Created,
    /// Its quota, windows, days or waitlist were changed.
    Changed,
    /// It was paused.
    Paused,
    /// It was resumed.
    Resumed,
    /// It was closed.
    Closed,
    /// A grant was taken back.
    Revoked,
    /// It was halted, because Redis has lost grants.
    Halted,
    /// What Redis had lost was restored.
    Restored,
    /// A dead letter was sent again.
    Replayed,
    /// A dead letter was given up.
    Discarded,
    /// What an audit found was repaired.
    Repaired,
    /// What an interrupted command had begun was refused by the gate, and not done.
    Refused,
}

/// A line that is to be added.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What was done.
    pub action: Action,
    /// What exactly.
    pub detail: &'a str,
    /// Why, in the operator's words.
    pub reason: Option<&'a str>,
    /// Who ran the command.
    pub actor: Option<&'a Actor>,
    /// The grant that was revoked, or given up with its dead letter.
    pub about: Option<&'a Taken>,
}

impl<'a> Entry<'a> {
    /// The line that tells what became of an intention.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When: UTC, by the clock of the database.
    pub at: String,
    /// What was done, in a word.
    pub action: String,
    /// What exactly.
    pub detail: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who ran the command; `None` if a program did it by itself.
    pub actor: Option<String>,
}

impl Action {
    /// The word for it in the table.
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
    ///
    /// # Errors
    /// When the database refuses.
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
    /// The grants that `action` was about.
    ///
    /// # Errors
    /// When the database refuses.
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

    /// What was done with a dead letter, and when, if the log of its campaign tells.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn dealt_with(
        &self,
        campaign: &CampaignId,
        letter: &LetterId,
    ) -> Result<Option<(String, String)>> {
        let name = letter.to_string();
        let mut connection = self.connection.lock().await;
        // The name comes first in the line, and ends where no digit follows.
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

/// Cuts a text to what the columns for people hold.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 1_024;
    text.chars().take(LONGEST).collect()
}

/// Adds a line, in the transaction of what it tells.
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
    .context("the database refused the line of the log")?;
    Ok(())
}
