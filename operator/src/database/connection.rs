//! The connection to MySQL or MariaDB: one for each command. It reserves campaigns and runs transactions.

use super::migrations;
use crate::config::Config;
use crate::refusal::refuse;
use crate::waiting::{noting, within};
use anyhow::{Context, Result, bail};
use rushgate_gate::CampaignId;
use rushgate_startup::DatabaseSettings;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{ConnectOptions, Connection};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;
use tokio::time::timeout;

/// Attempts of a transaction before a deadlock becomes an error.
const ATTEMPTS: u32 = 10;

/// Longest time for one transaction, one reservation or one connection attempt.
const PATIENCE: Duration = Duration::from_secs(60);

/// MySQL error: deadlock. The server has rolled back the whole transaction.
const DEADLOCK: u16 = 1213;

/// The name of a campaign's lock. Lock names are shared by all schemas of a server and have at most 64 characters.
macro_rules! lock {
    () => {
        "SHA2(CONCAT(DATABASE(), '/rushgate/', ?), 256)"
    };
}

/// How long to wait for another operator's command on the same campaign.
const RESERVATION: Duration = Duration::from_secs(30);

/// Longest time for closing the connection.
const CLOSING: Duration = Duration::from_secs(1);

/// Context for errors that may mean that a table is missing.
pub(super) const ARE_THE_TABLES_THERE: &str =
    "reading the tables (if any are missing, `rushgate setup` creates them)";

/// The database, over a single connection.
pub struct Database {
    pub(super) connection: Arc<Mutex<MySqlConnection>>,
    /// Dropped after the connection above, so that it closes it.
    _closing: Closing,
}

/// Closes the connection in the MySQL protocol, however the command ends. Otherwise the server counts an aborted
/// connection and logs it.
struct Closing(Option<Arc<Mutex<MySqlConnection>>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(connection) = self.0.take().and_then(Arc::into_inner) else {
            return;
        };
        let close = timeout(CLOSING, connection.into_inner().close());
        // A failure here does not change what the command has done.
        let _ = block_in_place(|| Handle::current().block_on(close));
    }
}

impl Database {
    /// # Errors
    /// When the database does not answer, or refuses the connection.
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

    /// Runs the missing migrations; returns how many migrations there are. Waits up to `patience` for another run on
    /// the same schema.
    ///
    /// # Errors
    /// When a migration fails, or the schema has tables of another program or of a newer version.
    pub async fn migrate(&self, patience: Duration) -> Result<usize> {
        let mut connection = self.connection.lock().await;
        migrations::run(&mut connection, patience).await
    }

    /// Keeps other operators from changing `campaign` until this connection ends.
    ///
    /// From now on the server closes the connection after 20 s of silence, which releases the reservation and all
    /// locks: a frozen or disconnected command delays consumers and other operators no longer than that.
    /// [`Database::keep`] and [`Database::beat`] keep the connection alive during long work elsewhere.
    ///
    /// # Errors
    /// When another command holds the campaign for more than 30 s.
    pub async fn reserve(&self, campaign: &CampaignId) -> Result<()> {
        let mut connection = self.connection.lock().await;
        sqlx::query("SET SESSION wait_timeout = 20, innodb_lock_wait_timeout = 20")
            .execute(&mut *connection)
            .await
            .context("setting the time limits of the database session")?;
        let reserve =
            sqlx::query_scalar::<_, Option<i64>>(concat!("SELECT GET_LOCK(", lock!(), ", ?)"))
                .bind(campaign.as_str())
                .bind(RESERVATION.as_secs())
                .fetch_one(&mut *connection);
        let other = format!("another command is changing campaign {campaign}");
        let reserved = timeout(PATIENCE, noting(&other, Some(RESERVATION), reserve)).await;
        let reserved = reserved
            .with_context(|| {
                format!(
                    "no answer from the database within {} s",
                    PATIENCE.as_secs()
                )
            })?
            .context("reserving the campaign")?;
        if reserved != Some(1) {
            refuse!(
                CampaignBusy,
                "{other}, and has not finished within {} s: run this command again when it has",
                RESERVATION.as_secs()
            );
        }
        Ok(())
    }

    /// Whether a command is running on `campaign`.
    pub async fn is_reserved(&self, campaign: &CampaignId) -> Result<bool> {
        let mut connection = self.connection.lock().await;
        let is_reserved: i64 =
            sqlx::query_scalar(concat!("SELECT IS_USED_LOCK(", lock!(), ") IS NOT NULL"))
                .bind(campaign.as_str())
                .fetch_one(&mut *connection)
                .await
                .context("checking whether another command is changing the campaign")?;
        Ok(is_reserved != 0)
    }

    /// Runs `work`, which does not use the database, and keeps the reservation alive meanwhile.
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

    /// Tells the server that the command is alive, so that it keeps the reservation.
    ///
    /// # Errors
    /// When the reservation is lost.
    pub async fn beat(&self) -> Result<()> {
        let mut connection = self.connection.lock().await;
        connection
            .ping()
            .await
            .context("the connection that reserved the campaign was lost: run this command again")
    }

    /// Runs `work` in a transaction and commits it. If the server chose the transaction as the victim of a deadlock,
    /// all of it runs again at once: the other transaction has gone on, so there is nothing to wait for.
    ///
    /// # Errors
    /// When the work fails, or every attempt ends in a deadlock. Nothing was written then, unless the answer to the
    /// commit was lost.
    pub(super) async fn transact(
        &self,
        work: impl AsyncFn(&mut MySqlConnection) -> Result<()>,
    ) -> Result<()> {
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
                Err(_) => bail!(
                    "no answer from the database within {} s",
                    PATIENCE.as_secs()
                ),
            };
            match done {
                Err(error) if attempts < ATTEMPTS && is_deadlock(&error) => attempts += 1,
                done => return done,
            }
        }
    }
}

/// The result of a statement, or an error if the server takes too long.
pub(super) async fn answered<T>(statement: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    within("the database", async { Ok(statement.await?) }).await
}

/// Whether the server rolled the transaction back to resolve a deadlock.
fn is_deadlock(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|error| error.number() == DEADLOCK)
}
