//! Creates a separate database schema for each test.

use crate::{CAMPAIGN, setting, unique};
use sqlx::migrate::Migrator;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use std::path::Path;

/// A schema with all migrations. It is dropped from the server when this is dropped.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    /// On the server of `DATABASE_URL`, with one campaign and one round of this quota.
    pub(crate) async fn new(quota: u32) -> Self {
        let url = setting("DATABASE_URL");
        let (server, _) = url.rsplit_once('/').expect("a DATABASE_URL with a name");
        Self::on(server, quota).await
    }

    /// On the given server (a URL without a database name).
    pub(crate) async fn on(server: &str, quota: u32) -> Self {
        let name = unique("rg_consumer");
        let this = Self {
            url: format!("{server}/{name}"),
            server: server.to_owned(),
            name,
        };
        let mut admin = connect(&this.server).await;
        run(&mut admin, format!("CREATE DATABASE {}", this.name)).await;
        let mut connection = this.connect().await;
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let migrator = Migrator::new(migrations).await.expect("the migrations");
        migrator.run(&mut connection).await.expect("migrates");
        this.add(CAMPAIGN, quota).await;
        this
    }

    /// Adds a campaign with one round of this quota.
    pub(crate) async fn add(&self, campaign: &str, quota: u32) {
        self.execute(format!(
            "INSERT INTO campaigns (campaign_id, state, one_per) VALUES ('{campaign}', 'running', 'campaign')"
        ))
        .await;
        self.execute(format!(
            "INSERT INTO rounds (campaign_id, round_id, quota) VALUES ('{campaign}', 'once', {quota})"
        ))
        .await;
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        connect(&self.url).await
    }

    pub(crate) async fn execute(&self, sql: impl Into<String>) {
        run(&mut self.connect().await, sql).await;
    }

    /// Runs a query with one number as its result.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.connect().await)
            .await
            .expect(sql)
    }

    /// Runs a query with one text column.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut self.connect().await)
            .await
            .expect(sql)
    }

    /// The number of active coupons.
    pub(crate) async fn active(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM coupons WHERE state = 'active'")
            .await
    }

    /// The number of dead letters.
    pub(crate) async fn failed(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM failed_events").await
    }

    /// Everything that the consumer writes, for comparisons.
    pub(crate) async fn everything(&self) -> Vec<String> {
        let mut all = self
            .texts(
                "SELECT CONCAT_WS('|', id, campaign_id, round_id, serial, user_id, state, quota, person_scope, \
                 granted_at, issued_at, revoked_at, active_serial, active_user_id, code) FROM coupons ORDER BY id",
            )
            .await;
        all.extend(
            self.texts(
                "SELECT CONCAT_WS('|', id, topic, kafka_partition, kafka_offset, reason, detail, attempts, \
                 created_at) FROM failed_events ORDER BY id",
            )
            .await,
        );
        all
    }

    /// Asserts that the active coupons are exactly serials 1 to `count`, serial n of user n, without dead
    /// letters.
    pub(crate) async fn assert_exact(&self, count: u32) {
        assert_eq!(
            self.texts("SELECT CONCAT(reason, ': ', detail) FROM failed_events LIMIT 5")
                .await,
            Vec::<String>::new()
        );
        assert_eq!(self.active().await, i64::from(count));
        let wrong =
            "SELECT COUNT(*) FROM coupons WHERE user_id <> CONCAT('u', serial) OR serial > ";
        assert_eq!(self.number(&format!("{wrong}{count}")).await, 0);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (
            self.server.clone(),
            format!("DROP DATABASE IF EXISTS {}", self.name),
        );
        crate::topic::aside(async move {
            // If the server is gone already, so is the schema.
            if let Ok(mut connection) = MySqlConnection::connect(&server).await {
                let _ = sqlx::query(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await;
            }
        });
    }
}

/// Runs one statement in the text protocol, because MySQL cannot prepare every kind of statement, such as
/// BEGIN.
pub(crate) async fn run(connection: &mut MySqlConnection, sql: impl Into<String>) {
    let sql = sql.into();
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(connection)
        .await
        .expect(&sql);
}

async fn connect(url: &str) -> MySqlConnection {
    let options: MySqlConnectOptions = url.parse().expect("an address");
    options
        .disable_statement_logging()
        .connect()
        .await
        .expect("connects")
}
