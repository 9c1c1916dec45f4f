//! Runs the migrations. If a run is interrupted, the next run completes it, however often that happens.
//!
//! MySQL commits every DDL statement by itself, so an interruption can leave a migration half done, but never a single
//! statement. Before a statement runs, the migrator looks up the objects that the statement creates: if all of them
//! exist, the statement is skipped. Progress is stored in the table and format of sqlx's own migrator, so either
//! migrator can continue where the other one stopped.

mod embedded;
mod statement;

use crate::waiting::noting;
use anyhow::{Context, Result, anyhow, bail};
use embedded::MIGRATIONS;
use sqlx::migrate::Migration;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Row};
use statement::Statement;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// The lock that sqlx's migrator takes as well, so that programs which still use it are kept out. (This has no effect
/// on MariaDB, which does not support sqlx's endless wait for a lock.)
const LOCK: &str = "LOWER(HEX(1026731422 * CRC32(DATABASE())))";

/// The table of progress, as [`objects`] names it.
const NOTES: &str = "table _sqlx_migrations";

/// The statement of sqlx's migrator.
const CREATE_NOTES: &str = "CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// The rights that the migrations need on the schema.
const RIGHTS: &str = "SELECT, INSERT, UPDATE, CREATE, ALTER and REFERENCES";

/// MySQL errors that mean: the user lacks a right.
const DENIED: [u16; 4] = [1044, 1142, 1143, 1227];

/// MySQL error: no such table. A user without any right on a table gets one of [`DENIED`], whether it exists or not.
const NO_TABLE: u16 = 1146;

/// How to continue after an interruption.
const GOES_ON: &str = "run `rushgate setup` again: it continues where this run stopped";

/// Runs the missing migrations; returns how many there are in all. Waits up to `patience` for another run on the same
/// schema.
///
/// # Errors
/// When a migration fails, or the schema has tables of another program or of a newer version.
pub(super) async fn run(connection: &mut MySqlConnection, patience: Duration) -> Result<usize> {
    lock(connection, patience).await?;
    let notes = notes(connection).await?;
    for migration in MIGRATIONS.iter() {
        let note = notes.get(&migration.version);
        if note.is_none_or(|note| !note.success) {
            apply(connection, migration, note.is_some())
                .await
                .with_context(|| format!("cannot run {}", shown(migration)))?;
        }
    }
    // Other runs need not wait until this connection ends.
    execute(connection, &format!("DO RELEASE_LOCK({LOCK})")).await?;
    Ok(MIGRATIONS.len())
}

/// Keeps other runs out until this connection ends.
async fn lock(connection: &mut MySqlConnection, patience: Duration) -> Result<()> {
    // By default MySQL keeps a silent connection, and so the lock, for eight hours, and waits a year for a metadata
    // lock.
    let limits = "SET SESSION wait_timeout = 60, lock_wait_timeout = 60";
    execute(connection, limits).await?;
    let schema: Option<String> = value(connection, "SELECT DATABASE()").await?;
    if schema.is_none() {
        bail!("DATABASE_URL has no schema name: add one, as in mysql://HOST:3306/rushgate");
    }
    let seconds = patience.as_secs_f64().ceil();
    let get = format!("SELECT GET_LOCK({LOCK}, {seconds})");
    let other = "another `rushgate setup` is running on the same schema";
    let locked: Option<i64> = noting(other, Some(patience), value(connection, &get)).await?;
    if locked == Some(1) {
        return Ok(());
    }
    let holder = format!("SELECT CAST(IS_USED_LOCK({LOCK}) AS SIGNED)");
    let holder: Option<i64> = value(connection, &holder).await?;
    let way_on = holder.map_or_else(
        || "it has ended by now".to_owned(),
        |id| format!("wait until it ends, or end its connection to the database with KILL {id}"),
    );
    bail!(
        "another `rushgate setup` is running on the same schema: {way_on}; then run this command again"
    )
}

/// Recorded progress of a migration.
struct Note {
    success: bool,
    checksum: Vec<u8>,
}

/// Recorded progress by version. A version that this program does not know is an error.
async fn notes(connection: &mut MySqlConnection) -> Result<BTreeMap<i64, Note>> {
    let mut notes = BTreeMap::new();
    let select = "SELECT version, success, checksum FROM _sqlx_migrations";
    let found = match sqlx::raw_sql(select).fetch_all(connection).await {
        Err(error) if number(&error) == Some(NO_TABLE) => return Ok(notes),
        found => found.map_err(|error| failed(error, select))?,
    };
    for row in found {
        let version = row.try_get("version")?;
        let note = Note {
            success: row.try_get("success")?,
            checksum: row.try_get("checksum")?,
        };
        match MIGRATIONS.iter().find(|known| known.version == version) {
            None => bail!(
                "the database has migration {version}, which this rushgate ({}) does not know: use the rushgate that \
                 set it up, or a newer one",
                env!("CARGO_PKG_VERSION")
            ),
            Some(known) if *known.checksum != note.checksum => bail!(
                "{} differs from the migration that the database was set up with: use the rushgate that set it up, or \
                 a newer one",
                shown(known)
            ),
            Some(_) => notes.insert(version, note),
        };
    }
    Ok(notes)
}

/// Runs the statements of `migration` that have not run yet.
async fn apply(
    connection: &mut MySqlConnection,
    migration: &Migration,
    is_noted: bool,
) -> Result<()> {
    let begun = Instant::now();
    let statements = Statement::all_of(migration.sql.as_str())?;
    // Checked before anything is written: tables of another application are left alone.
    let there = objects(connection).await?;
    if there.contains(NOTES) {
        // A user sees only those objects on which it has rights. Without this right, it is not a user for migrations,
        // and what it does not see would be reported as missing.
        let nothing = "UPDATE _sqlx_migrations SET success = TRUE WHERE FALSE";
        execute(connection, nothing).await?;
    }
    let mut missing = vec![];
    for statement in &statements {
        if !is_done(statement, &there)? {
            missing.push(&statement.sql);
        }
    }

    if !there.contains(NOTES) {
        execute(connection, CREATE_NOTES).await?;
    }
    if !is_noted {
        let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                    VALUES (?, ?, FALSE, ?, -1)";
        sqlx::query(note)
            .bind(migration.version)
            .bind(&*migration.description)
            .bind(&*migration.checksum)
            .execute(&mut *connection)
            .await
            .map_err(|error| failed(error, note))?;
    }
    for sql in missing {
        let what = format!("running {}: {}", shown(migration), head(sql));
        noting(&what, None, execute(connection, sql)).await?;
    }
    let note = "UPDATE _sqlx_migrations SET success = TRUE, execution_time = ? WHERE version = ?";
    sqlx::query(note)
        .bind(i64::try_from(begun.elapsed().as_nanos())?)
        .bind(migration.version)
        .execute(connection)
        .await
        .map_err(|error| failed(error, note))?;
    Ok(())
}

/// Whether everything that `statement` makes exists.
fn is_done(statement: &Statement, there: &HashSet<String>) -> Result<bool> {
    let (found, lacking): (Vec<&str>, Vec<&str>) = statement
        .makes
        .iter()
        .map(String::as_str)
        .partition(|made| there.contains(*made));
    if !found.is_empty() && !lacking.is_empty() {
        bail!(
            "`{}` creates all of its objects or none, but the schema has {} and lacks {}: it was changed by hand, or \
             the tables belong to another application. Give Rushgate a schema of its own (DATABASE_URL), or remove \
             what is there, or add what is missing; then run `rushgate setup` again",
            head(&statement.sql),
            found.join(", "),
            lacking.join(", ")
        );
    }
    Ok(!found.is_empty())
}

/// The names of everything in the schema, as in [`Statement::makes`].
async fn objects(connection: &mut MySqlConnection) -> Result<HashSet<String>> {
    let select = "SELECT CONCAT('table ', table_name) FROM information_schema.tables \
             WHERE table_schema = DATABASE() \
         UNION ALL SELECT CONCAT('column ', table_name, '.', column_name) FROM information_schema.columns \
             WHERE table_schema = DATABASE() \
         UNION ALL SELECT CONCAT('constraint ', table_name, '.', constraint_name) \
             FROM information_schema.table_constraints WHERE table_schema = DATABASE() \
         UNION ALL SELECT CONCAT('index ', table_name, '.', index_name) FROM information_schema.statistics \
             WHERE table_schema = DATABASE()";
    let rows = rows(connection, select).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}

/// The single value that `select` returns.
async fn value<T>(connection: &mut MySqlConnection, select: &str) -> Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
{
    let rows = rows(connection, select).await?;
    Ok(rows.first().context("no row")?.try_get(0)?)
}

// Uses the text protocol, which accepts every kind of statement.

async fn rows(connection: &mut MySqlConnection, select: &str) -> Result<Vec<MySqlRow>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connection);
    rows.await.map_err(|error| failed(error, select))
}

async fn execute(connection: &mut MySqlConnection, sql: &str) -> Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|error| failed(error, sql))
}

/// Adds what to do to the error of a statement.
fn failed(error: sqlx::Error, sql: &str) -> anyhow::Error {
    let advice = match number(&error) {
        Some(number) if DENIED.contains(&number) => format!(
            "the database user lacks a right (`rushgate setup` needs {RIGHTS} on the schema if a migration is missing, \
             and otherwise only SELECT on _sqlx_migrations): grant it, then {GOES_ON}"
        ),
        Some(_) => format!(
            "the database refused `{}`: remove the cause, then {GOES_ON}",
            head(sql)
        ),
        None => format!(
            "the connection to the database broke during `{}`, which may or may not have run: {GOES_ON}",
            head(sql)
        ),
    };
    anyhow!(error).context(advice)
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// The first words of a statement.
fn head(sql: &str) -> String {
    let words: Vec<_> = sql.split_whitespace().take(3).collect();
    format!("{} …", words.join(" "))
}

fn shown(migration: &Migration) -> String {
    format!(
        "migration {} ({})",
        migration.version, migration.description
    )
}
