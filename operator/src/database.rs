//! MySQL: the connection, the tables, and what is in them.

mod campaigns;
mod coupons;
mod intentions;
mod letters;
mod log;

pub use coupons::{Arrived, Coupon};
pub use intentions::Write;
pub use letters::{Letter, Resolution, Which};
pub use log::{Action, Entry, LogLine};

use crate::address;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use rushgate_gate::{CampaignId, Millis};
use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use tokio::sync::Mutex;

/// Every change of the tables, in order.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// How often a transaction is tried before a deadlock is an error.
const ATTEMPTS: u32 = 10;

/// MySQL's number of a deadlock, whose victim was rolled back as a whole.
const DEADLOCK: u16 = 1213;

/// The name of a campaign's lock. All schemas of a server share the names of locks, and these have at most 64 characters.
macro_rules! lock {
    () => {
        "SHA2(CONCAT(DATABASE(), '/rushgate/', ?), 256)"
    };
}

/// What to say when the tables may be missing.
const ARE_THE_TABLES_THERE: &str = "are all tables there? `rushgate setup` makes them";

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

    /// Keeps other operators from changing `campaign` until this connection is gone.
    ///
    /// # Errors
    /// When somebody else is changing it for longer than 30 s.
    pub async fn reserve(&self, campaign: &CampaignId) -> Result<()> {
        let mut connection = self.connection.lock().await;
        let reserved: Option<i64> =
            sqlx::query_scalar(concat!("SELECT GET_LOCK(", lock!(), ", 30)"))
                .bind(campaign.as_str())
                .fetch_one(&mut *connection)
                .await
                .context("the database refused to reserve the campaign")?;
        if reserved != Some(1) {
            bail!("somebody else is changing campaign {campaign} just now: try again");
        }
        Ok(())
    }

    /// Whether a command is at work on `campaign`.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn is_reserved(&self, campaign: &CampaignId) -> Result<bool> {
        let mut connection = self.connection.lock().await;
        let holder: Option<u64> = sqlx::query_scalar(concat!("SELECT IS_USED_LOCK(", lock!(), ")"))
            .bind(campaign.as_str())
            .fetch_one(&mut *connection)
            .await
            .context("the database refused to say whether the campaign is reserved")?;
        Ok(holder.is_some())
    }

    /// Does `work` and commits it; all of it again when the server took it back to end a deadlock, for which of two
    /// gives way is the server's choice. Whoever does not give way goes on at once, so there is nothing to wait for.
    ///
    /// # Errors
    /// When the work fails, or only ever meets deadlocks. Nothing of it was done then, unless the answer to the commit
    /// was lost.
    async fn transact(&self, work: impl AsyncFn(&mut MySqlConnection) -> Result<()>) -> Result<()> {
        let mut connection = self.connection.lock().await;
        let mut attempts = 1;
        loop {
            let mut transaction = connection.begin().await?;
            let done = match work(&mut transaction).await {
                Ok(()) => transaction.commit().await.map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            match done {
                Err(error) if attempts < ATTEMPTS && is_deadlock(&error) => attempts += 1,
                done => return done,
            }
        }
    }
}

/// Whether the server rolled the transaction back so that another one could go on.
fn is_deadlock(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|error| error.number() == DEADLOCK)
}

/// What MySQL calls a DATETIME: RFC 3339 without the letters.
fn datetime(instant: Millis) -> String {
    instant.to_string().trim_end_matches('Z').replace('T', " ")
}

/// The reverse of [`datetime`], of a text that `DATE_FORMAT` made.
fn instant(text: &str) -> Result<Millis> {
    let instant: jiff::Timestamp = text.parse()?;
    Ok(Millis::try_from(instant.as_millisecond())?)
}
