//! MySQL: the connection, the tables, and what is in them.

mod campaigns;
mod coupons;
mod intentions;
mod letters;
mod log;
mod migrations;

pub use coupons::{Arrived, Coupon};
pub use intentions::Write;
pub use letters::{Letter, Resolution, Which};
pub use log::{Action, Entry, LogLine};

use crate::config::Config;
use anyhow::{Context, Result, bail};
use rushgate_gate::{CampaignId, Millis};
use rushgate_settings::DatabaseSettings;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{ConnectOptions, Connection};
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How often a transaction is tried before a deadlock is an error.
const ATTEMPTS: u32 = 10;

/// How long the database may take over one transaction, a reservation or a connection.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let options = config.database.options()?;
        let connection = answered(options.connect()).await.with_context(|| {
            format!(
                "cannot use the database at {}: is it running, and is DATABASE_URL right?",
                DatabaseSettings::shown(&options)
            )
        })?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// Makes the tables, as far as they are missing; how many migrations there are in all. Another run on the same
    /// schema is waited for, for `patience`.
    ///
    /// # Errors
    /// When the database refuses a migration, or has tables of another program or of a newer one.
    pub async fn migrate(&self, patience: Duration) -> Result<usize> {
        let mut connection = self.connection.lock().await;
        migrations::run(&mut connection, patience).await
    }

    /// Keeps other operators from changing `campaign` until this connection is gone. From now on the server ends the
    /// connection when nothing comes for 20 s, with the reservation and what it has locked: a command that is frozen, or
    /// cut off, holds up consumers and other operators for no longer. [`Database::keep`] and [`Database::beat`] keep it through long work elsewhere.
    ///
    /// # Errors
    /// When somebody else is changing it for longer than 30 s.
    pub async fn reserve(&self, campaign: &CampaignId) -> Result<()> {
        let mut connection = self.connection.lock().await;
        sqlx::query("SET SESSION wait_timeout = 20, innodb_lock_wait_timeout = 20")
            .execute(&mut *connection)
            .await
            .context("the database refused to limit how long the command may be silent")?;
        let lock = sqlx::query_scalar(concat!("SELECT GET_LOCK(", lock!(), ", 30)"))
            .bind(campaign.as_str())
            .fetch_one(&mut *connection);
        let reserved: Option<i64> = answered(lock)
            .await
            .context("the database refused to reserve the campaign, or did not answer")?;
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
        let is_reserved: i64 =
            sqlx::query_scalar(concat!("SELECT IS_USED_LOCK(", lock!(), ") IS NOT NULL"))
                .bind(campaign.as_str())
                .fetch_one(&mut *connection)
                .await
                .context("the database refused to say whether the campaign is reserved")?;
        Ok(is_reserved != 0)
    }

    /// Does `work`, which does not ask the database, and keeps the reservation meanwhile.
    ///
    /// # Errors
    /// When the work fails, or the reservation is lost.
    pub async fn keep<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        const BEAT: Duration = Duration::from_secs(5);
        let mut work = pin!(work);
        loop {
            match timeout(BEAT, &mut work).await {
                Ok(done) => return done,
                Err(_) => self.beat().await?,
            }
        }
    }

    /// Lets the server know that the command is alive, so that it keeps the reservation.
    ///
    /// # Errors
    /// When the reservation is lost.
    pub async fn beat(&self) -> Result<()> {
        let mut connection = self.connection.lock().await;
        connection
            .ping()
            .await
            .context("the reservation of the campaign was lost")
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
            let attempt = async {
                let mut transaction = connection.begin().await?;
                work(&mut transaction).await?;
                anyhow::Ok(transaction.commit().await?)
            };
            let done = match timeout(PATIENCE, attempt).await {
                Ok(done) => done,
                Err(_) => bail!("the database has not answered for {} s", PATIENCE.as_secs()),
            };
            match done {
                Err(error) if attempts < ATTEMPTS && is_deadlock(&error) => attempts += 1,
                done => return done,
            }
        }
    }
}

/// What the database answers, unless it takes longer than [`PATIENCE`].
async fn answered<T>(asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let answer = timeout(PATIENCE, asked).await;
    answer.unwrap_or_else(|_| Err(std::io::Error::from(ErrorKind::TimedOut).into()))
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
