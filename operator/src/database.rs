//! MySQL: tables, campaigns and rows.

use crate::address;
use crate::config::Config;
use anyhow::{Context, Result};
use rushgate_gate::{CampaignId, CampaignState, Millis, OnePer, Round};
use sqlx::migrate::Migrator;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Connection, Row};
use tokio::sync::Mutex;

/// Every change of the tables, in order.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// A campaign as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Its name.
    pub id: CampaignId,
    /// What the gate should be told.
    pub state: CampaignState,
    /// How often one person may win.
    pub one_per: OnePer,
    /// Its rounds, in the order of their names.
    pub rounds: Vec<Round>,
    /// Whether the gate has been told of it; from then on it may have granted.
    pub projected: bool,
}

/// How many of a campaign's grants have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Rows of coupons that are held.
    pub inserted: i64,
    /// Dead letters that are still open.
    pub failed: i64,
}

/// The database, by way of one connection.
pub struct Database {
    connection: Mutex<MySqlConnection>,
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// When the database does not answer, or refuses.
    pub async fn connect(config: &Config) -> Result<Self> {
        let connection = MySqlConnection::connect(&config.database_url)
            .await
            .with_context(|| {
                format!(
                    "cannot use the database at {}: is it running, and is DATABASE_URL right?",
                    address::shown(&config.database_url)
                )
            })?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Applies what is missing; how many migrations there are in all.
    ///
    /// # Errors
    /// When the database refuses one.
    pub async fn migrate(&self) -> Result<usize> {
        let mut connection = self.connection.lock().await;
        MIGRATIONS
            .run(&mut *connection)
            .await
            .context("the database refused a migration")?;
        Ok(MIGRATIONS.iter().count())
    }

    /// Writes `campaign` down, unless one of that name is there; returns what is there afterwards.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn create(&self, campaign: &Campaign) -> Result<Campaign> {
        {
            let mut connection = self.connection.lock().await;
            let mut transaction = connection.begin().await?;
            let inserted =
                sqlx::query("INSERT INTO campaigns (campaign_id, state, one_per) VALUES (?, ?, ?)")
                    .bind(campaign.id.as_str())
                    .bind(campaign.state.as_str())
                    .bind(campaign.one_per.as_str())
                    .execute(&mut *transaction)
                    .await;
            match inserted {
                Ok(_) => {
                    for round in &campaign.rounds {
                        sqlx::query("INSERT INTO rounds (campaign_id, round_id, opens_at, closes_at, quota) VALUES (?, ?, ?, ?, ?)")
                            .bind(campaign.id.as_str())
                            .bind(round.id.as_str())
                            .bind(round.opens_at.map(datetime))
                            .bind(round.closes_at.map(datetime))
                            .bind(round.quota.get())
                            .execute(&mut *transaction)
                            .await
                            .context("the database refused the round")?;
                    }
                    transaction.commit().await?;
                }
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                    transaction.rollback().await?;
                }
                Err(error) => {
                    return Err(error).context(
                        "the database refused the campaign (are the tables there? `rushgate setup` makes them)",
                    );
                }
            }
        }
        self.campaign(&campaign.id)
            .await?
            .context("the campaign has vanished from the database")
    }

    /// Notes that the gate has been told of the campaign.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn set_projected(&self, campaign: &CampaignId) -> Result<()> {
        let mut connection = self.connection.lock().await;
        sqlx::query("UPDATE campaigns SET projected_at = COALESCE(projected_at, UTC_TIMESTAMP(3)) WHERE campaign_id = ?")
            .bind(campaign.as_str())
            .execute(&mut *connection)
            .await
            .context("the database refused to note the projection")?;
        Ok(())
    }

    /// The campaign of that name, if there is one.
    ///
    /// # Errors
    /// When the database refuses, or holds something that is no campaign.
    pub async fn campaign(&self, id: &CampaignId) -> Result<Option<Campaign>> {
        let mut connection = self.connection.lock().await;
        let Some(row) = sqlx::query(
            "SELECT state, one_per, projected_at IS NOT NULL AS projected FROM campaigns WHERE campaign_id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&mut *connection)
        .await
        .context("the database refused to read the campaign (are the tables there? `rushgate setup` makes them)")?
        else {
            return Ok(None);
        };
        let rounds = sqlx::query(
            "SELECT round_id, quota, \
             DATE_FORMAT(opens_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS opens_at, \
             DATE_FORMAT(closes_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS closes_at \
             FROM rounds WHERE campaign_id = ? ORDER BY round_id",
        )
        .bind(id.as_str())
        .fetch_all(&mut *connection)
        .await
        .context("the database refused to read the rounds")?;
        Ok(Some(Campaign {
            id: id.clone(),
            state: row.try_get::<String, _>("state")?.parse()?,
            one_per: row.try_get::<String, _>("one_per")?.parse()?,
            rounds: rounds.iter().map(round).collect::<Result<_>>()?,
            projected: row.try_get::<i64, _>("projected")? != 0,
        }))
    }

    /// The names of all campaigns, oldest first.
    ///
    /// # Errors
    /// When the database refuses, or holds something that is no campaign.
    pub async fn campaigns(&self) -> Result<Vec<CampaignId>> {
        let mut connection = self.connection.lock().await;
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT campaign_id FROM campaigns ORDER BY created_at, campaign_id")
                .fetch_all(&mut *connection)
                .await
                .context("the database refused to list campaigns (are the tables there? `rushgate setup` makes them)")?;
        ids.into_iter().map(|id| Ok(id.parse()?)).collect()
    }

    /// How many of the campaign's grants have arrived.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn arrived(&self, campaign: &CampaignId) -> Result<Arrived> {
        let mut connection = self.connection.lock().await;
        let inserted = sqlx::query_scalar(
            "SELECT COUNT(*) FROM coupons WHERE campaign_id = ? AND state = 'active'",
        )
        .bind(campaign.as_str())
        .fetch_one(&mut *connection)
        .await
        .context("the database refused to count coupons")?;
        let failed = sqlx::query_scalar(
            "SELECT COUNT(*) FROM failed_events WHERE record_key LIKE CONCAT(?, '/%') AND resolution IS NULL",
        )
        // `_` may stand in an id, and is a wildcard here.
        .bind(campaign.as_str().replace('_', "\\_"))
        .fetch_one(&mut *connection)
        .await
        .context("the database refused to count dead letters")?;
        Ok(Arrived { inserted, failed })
    }
}

fn round(row: &MySqlRow) -> Result<Round> {
    let instant = |column| -> Result<Option<Millis>> {
        row.try_get::<Option<String>, _>(column)?
            .map(|text| {
                let instant: jiff::Timestamp = text.parse()?;
                Ok(Millis::try_from(instant.as_millisecond())?)
            })
            .transpose()
    };
    Ok(Round {
        id: row.try_get::<String, _>("round_id")?.parse()?,
        opens_at: instant("opens_at")?,
        closes_at: instant("closes_at")?,
        quota: row.try_get::<u32, _>("quota")?.try_into()?,
    })
}

/// What MySQL calls a DATETIME: RFC 3339 without the letters.
fn datetime(instant: Millis) -> String {
    instant.to_string().trim_end_matches('Z').replace('T', " ")
}
