//! MySQL: the connection, the tables, and what is in them.

mod campaigns;
mod coupons;
mod failed_events;
mod intentions;
mod log;
mod migrations;

pub use coupons::{Arrived, Coupon};
pub use failed_events::{FailedEvent, FailedEventFilter, Resolution};
pub use intentions::Write;
pub use log::{Action, Entry, LogLine};

use crate::config::Config;
use crate::waiting::{noting, within};
use anyhow::{Context, Result, bail};
use rushgate_gate::{CampaignId, Millis};
use rushgate_settings::DatabaseSettings;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{ConnectOptions, Connection};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;
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

/// How long other operators may take over a campaign before it is given up.
const RESERVATION: Duration = Duration::from_secs(30);

/// How long the server may take over the end of a connection.
const CLOSING: Duration = Duration::from_secs(1);

/// What to say when the tables may be missing.
const ARE_THE_TABLES_THERE: &str =
    "cannot read the tables (are all there? `rushgate setup` makes those that are missing)";

/// The database, by way of one connection.
pub struct Database {
    connection: Arc<Mutex<MySqlConnection>>,
    /// Is dropped after the connection above, and so has the last word on it.
    _closing: Closing,
}

/// Ends a connection as the server expects it, however the command ends: else it counts as aborted, and the server's log
/// says so.
struct Closing(Option<Arc<Mutex<MySqlConnection>>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(connection) = self.0.take().and_then(Arc::into_inner) else {
            return;
        };
        let close = timeout(CLOSING, connection.into_inner().close());
        // Whether that could be said to the server makes no difference to what the command has done.
        let _ = block_in_place(|| Handle::current().block_on(close));
    }
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
                "cannot use the database at {} (is it running, and is DATABASE_URL right?)",
                DatabaseSettings::shown(&options)
            )
        })?;
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self {
            _closing: Closing(Some(Arc::clone(&connection))),
            connection,
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
        let reserve =
            sqlx::query_scalar::<_, Option<i64>>(concat!("SELECT GET_LOCK(", lock!(), ", ?)"))
                .bind(campaign.as_str())
                .bind(RESERVATION.as_secs())
                .fetch_one(&mut *connection);
        let other = format!("another operator is changing campaign {campaign}");
        let reserved = timeout(PATIENCE, noting(&other, Some(RESERVATION), reserve)).await;
        let reserved = reserved
            .with_context(|| format!("the database has not answered for {} s", PATIENCE.as_secs()))?
            .context("the database refused to reserve the campaign")?;
        if reserved != Some(1) {
            bail!(
                "{other}, and has not finished within {} s: run this again when that is over",
                RESERVATION.as_secs()
            );
        }
        Ok(())
    }

    /// Whether a command is at work on `campaign`.
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

/// What a statement gives, unless the server takes longer over it than it may.
async fn answered<T>(statement: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    within("the database", async { Ok(statement.await?) }).await
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
