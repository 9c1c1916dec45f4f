//! Reads and writes the table `campaigns`, which contains the terms that operators have set.

use super::connection::{ARE_THE_TABLES_THERE, Database};
use super::intentions;
use super::log::{self, Action, Entry};
use super::rounds;
use crate::actor::Actor;
use crate::schedule::Daily;
use crate::terms::{Campaign, no_such_campaign};
use anyhow::{Context, Result};
use jiff::SignedDuration;
use rushgate_gate::{CampaignId, CampaignState, Codes, FencingToken, Terms, Waitlist};
use sqlx::Row;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use std::sync::atomic::{AtomicU64, Ordering};

impl Database {
    /// Inserts `campaign`, unless its id exists; returns what is stored afterwards. Until it is `projected`, the row is
    /// also the intention to create the campaign.
    pub async fn create(&self, campaign: &Campaign, actor: &Actor) -> Result<Campaign> {
        if let Some(there) = self.campaign(&campaign.id).await? {
            return Ok(there);
        }
        self.transact(async |connection| {
            sqlx::query("INSERT INTO campaigns (campaign_id, state, one_per) VALUES (?, ?, ?)")
                .bind(campaign.id.as_str())
                .bind(campaign.state.as_str())
                .bind(campaign.terms.one_per.as_str())
                .execute(&mut *connection)
                .await
                .context("inserting the campaign")?;
            write_terms(connection, campaign).await?;
            for round in &campaign.rounds {
                rounds::write(connection, &campaign.id, round).await?;
            }
            let entry = Entry {
                action: Action::Created,
                detail: &campaign.to_string(),
                reason: None,
                actor: Some(actor),
                about: None,
            };
            log::append(connection, &campaign.id, entry).await
        })
        .await?;
        self.campaign(&campaign.id)
            .await?
            .context("reading the campaign again: it is no longer in the database")
    }

    /// Takes the campaign over: returns a fencing token higher than every earlier one, including `at_gate`, the one
    /// that the gate knows. An interrupted intention now belongs to this command.
    pub async fn fencing_token(
        &self,
        campaign: &CampaignId,
        at_gate: FencingToken,
    ) -> Result<FencingToken> {
        let token = AtomicU64::new(0);
        self.transact(async |connection| {
            sqlx::query(
                "UPDATE campaigns SET fencing_token = GREATEST(fencing_token, ?) + 1 WHERE campaign_id = ?",
            )
            .bind(at_gate.get())
            .bind(campaign.as_str())
            .execute(&mut *connection)
            .await?;
            let taken: u64 =
                sqlx::query_scalar("SELECT fencing_token FROM campaigns WHERE campaign_id = ?")
                    .bind(campaign.as_str())
                    .fetch_one(&mut *connection)
                    .await?;
            token.store(taken, Ordering::Relaxed);
            intentions::take_over(connection, campaign, taken.into()).await
        })
        .await
        .context("taking the campaign over")?;
        Ok(token.into_inner().into())
    }

    /// # Errors
    /// When the database refuses, or the stored campaign cannot be parsed.
    pub async fn campaign(&self, id: &CampaignId) -> Result<Option<Campaign>> {
        let mut connection = self.connection.lock().await;
        let Some(row) = sqlx::query(
            "SELECT state, one_per, waitlist, user_ids, CONCAT_WS('/', codes, code_key) AS codes, self_cancel, \
             promote_until, show_remaining, timezone, CAST(first_day AS CHAR) AS first_day, \
             CAST(last_day AS CHAR) AS last_day, CAST(opens_local AS CHAR) AS opens_local, open_for_s, \
             DATE_FORMAT(valid_until, '%Y-%m-%dT%H:%i:%s.%fZ') AS valid_until, \
             projected_at IS NOT NULL AS projected FROM campaigns WHERE campaign_id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&mut *connection)
        .await
        .context(ARE_THE_TABLES_THERE)?
        else {
            return Ok(None);
        };
        Ok(Some(Campaign {
            id: id.clone(),
            state: row.try_get::<String, _>("state")?.parse()?,
            terms: Terms {
                one_per: row.try_get::<String, _>("one_per")?.parse()?,
                waitlist: Waitlist::try_from(row.try_get::<u32, _>("waitlist")?)?,
                user_ids: row.try_get::<String, _>("user_ids")?.parse()?,
                codes: row.try_get::<String, _>("codes")?.parse()?,
                self_cancel: row.try_get("self_cancel")?,
                promote_until: row.try_get::<String, _>("promote_until")?.parse()?,
                show_remaining: row.try_get::<String, _>("show_remaining")?.parse()?,
            },
            daily: daily(&row)?,
            valid_until: row
                .try_get::<Option<String>, _>("valid_until")?
                .map(|text| rounds::instant(&text))
                .transpose()?,
            rounds: rounds::of(&mut connection, id).await?,
            projected: row.try_get::<i64, _>("projected")? != 0,
        }))
    }

    /// The campaign, which must exist.
    ///
    /// # Errors
    /// As for [`Database::campaign`], or when there is no such campaign.
    pub async fn existing(&self, id: &CampaignId) -> Result<Campaign> {
        let campaign = self.campaign(id).await?;
        Ok(campaign.ok_or_else(|| no_such_campaign(id))?)
    }

    /// The ids of all campaigns, oldest first.
    ///
    /// # Errors
    /// When the database refuses, or a stored campaign cannot be parsed.
    pub async fn campaigns(&self) -> Result<Vec<CampaignId>> {
        let mut connection = self.connection.lock().await;
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT campaign_id FROM campaigns ORDER BY created_at, campaign_id",
        )
        .fetch_all(&mut *connection)
        .await
        .context(ARE_THE_TABLES_THERE)?;
        ids.into_iter().map(|id| Ok(id.parse()?)).collect()
    }
}

/// Records that the gate knows the campaign.
pub(super) async fn set_projected(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
) -> Result<()> {
    sqlx::query("UPDATE campaigns SET projected_at = COALESCE(projected_at, UTC_TIMESTAMP(3)) WHERE campaign_id = ?")
        .bind(campaign.as_str())
        .execute(connection)
        .await
        .context("recording the projection")?;
    Ok(())
}

/// Sets the state. Overwrites `halted`, which a consumer may have written meanwhile, only if asked to.
pub(super) async fn set_state(
    connection: &mut MySqlConnection,
    campaign: &CampaignId,
    state: CampaignState,
    ends_halt: bool,
) -> Result<()> {
    sqlx::query(
        "UPDATE campaigns SET state = ? WHERE campaign_id = ? AND (state <> 'halted' OR ?)",
    )
    .bind(state.as_str())
    .bind(campaign.as_str())
    .bind(ends_halt)
    .execute(connection)
    .await
    .context("setting the campaign's state")?;
    Ok(())
}

/// Stores exactly the rules and rounds that the gate has; removes other rounds, unless they have coupons.
pub(super) async fn finalize(connection: &mut MySqlConnection, campaign: &Campaign) -> Result<()> {
    write_terms(connection, campaign).await?;
    rounds::finalize(connection, campaign).await
}

async fn write_terms(connection: &mut MySqlConnection, campaign: &Campaign) -> Result<()> {
    let daily = campaign.daily.as_ref();
    sqlx::query(
        "UPDATE campaigns SET one_per = ?, waitlist = ?, user_ids = ?, codes = ?, code_key = ?, self_cancel = ?, \
         promote_until = ?, show_remaining = ?, valid_until = ?, timezone = ?, first_day = ?, last_day = ?, opens_local = ?, open_for_s = ? \
         WHERE campaign_id = ?",
    )
    .bind(campaign.terms.one_per.as_str())
    .bind(campaign.terms.waitlist.get())
    .bind(campaign.terms.user_ids.as_str())
    .bind(campaign.terms.codes.as_str())
    .bind(match campaign.terms.codes {
        Codes::Signed(fingerprint) => Some(fingerprint.to_string()),
        Codes::None | Codes::Pool => None,
    })
    .bind(campaign.terms.self_cancel)
    .bind(campaign.terms.promote_until.as_str())
    .bind(campaign.terms.show_remaining.as_str())
    .bind(campaign.valid_until.map(rounds::datetime))
    .bind(daily.map(|daily| daily.timezone.clone()))
    .bind(daily.map(|daily| daily.first_day.to_string()))
    .bind(daily.map(|daily| daily.last_day.to_string()))
    .bind(daily.map(|daily| daily.opens_at.to_string()))
    .bind(daily.map(|daily| daily.open_for.as_secs()))
    .bind(campaign.id.as_str())
    .execute(connection)
    .await
    .context("writing the campaign's terms")?;
    Ok(())
}

fn daily(row: &MySqlRow) -> Result<Option<Daily>> {
    let text = |column| row.try_get::<Option<String>, _>(column);
    let (Some(timezone), Some(first), Some(last), Some(opens_at), Some(open_for)) = (
        text("timezone")?,
        text("first_day")?,
        text("last_day")?,
        text("opens_local")?,
        row.try_get::<Option<u32>, _>("open_for_s")?,
    ) else {
        return Ok(None);
    };
    Ok(Some(Daily {
        timezone,
        first_day: first.parse()?,
        last_day: last.parse()?,
        opens_at: opens_at.parse()?,
        open_for: SignedDuration::from_secs(open_for.into()),
    }))
}
