//! Creates a separate database schema for a way, with its tables, and drops it afterwards.

use super::Way;
use anyhow::{Context, Result};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use std::thread;
use tokio::runtime::Builder;

/// A schema that is dropped with this value.
pub struct Schema {
    name: String,
    server: String,
    url: String,
    way: Way,
}

impl Schema {
    /// Creates `name` on the server of `database_url`, with the tables of this way.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create(database_url: &str, name: &str, way: Way) -> Result<Self> {
        let options: MySqlConnectOptions = database_url.parse().context("DATABASE_URL")?;
        let this = Self {
            name: name.to_owned(),
            server: database_url.to_owned(),
            url: options.database(name).to_url_lossy().into(),
            way,
        };
        this.administer("CREATE DATABASE").await?;
        let mut connection = MySqlConnection::connect(&this.url).await?;
        for statement in [CAMPAIGNS, FAILED_EVENTS, &coupons(way)] {
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
                .execute(&mut connection)
                .await?;
        }
        Ok(this)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a campaign.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn open(&self, campaign: &str, quota: u32) -> Result<()> {
        let mut connection = MySqlConnection::connect(&self.url).await?;
        sqlx::query("INSERT INTO way_campaigns (campaign_id, quota, given) VALUES (?, ?, 0)")
            .bind(campaign)
            .bind(quota)
            .execute(&mut connection)
            .await?;
        if self.way == Way::Spring {
            // Its rows do not name their campaign.
            let default =
                format!("ALTER TABLE way_coupons ALTER campaign_id SET DEFAULT '{campaign}'");
            sqlx::raw_sql(AssertSqlSafe(default))
                .execute(&mut connection)
                .await?;
        }
        Ok(())
    }

    /// The table of coupons, with the schema's name.
    pub fn coupons(&self) -> String {
        format!("`{}`.way_coupons", self.name)
    }

    async fn administer(&self, what: &str) -> Result<()> {
        let mut connection = MySqlConnection::connect(&self.server).await?;
        let statement = format!("{what} `{}`", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
        Ok(())
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let schema = &*self;
        thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build();
                // A leftover schema does no harm.
                let _ = runtime.map(|runtime| runtime.block_on(schema.administer("DROP DATABASE")));
            });
        });
    }
}

/// Only the way that locks it reads it.
const CAMPAIGNS: &str = "CREATE TABLE way_campaigns (
    campaign_id VARCHAR(48)  NOT NULL,
    quota       INT UNSIGNED NOT NULL,
    given       INT UNSIGNED NOT NULL,
    PRIMARY KEY (campaign_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin";

/// Only the Spring service writes to it.
const FAILED_EVENTS: &str = "CREATE TABLE way_failed_events (
    id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    user_id VARCHAR(64)     NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin";

fn coupons(way: Way) -> String {
    let key = match way {
        // The first checks before it inserts. The table of the other has no such key in the course.
        Way::CountThenInsert | Way::Spring => "KEY",
        _ => "UNIQUE KEY",
    };
    format!(
        "CREATE TABLE way_coupons (
            id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
            campaign_id VARCHAR(48)     NOT NULL,
            user_id     VARCHAR(64)     NOT NULL,
            created_at  DATETIME(3)     NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
            PRIMARY KEY (id),
            {key} way_coupons_of_person (campaign_id, user_id)
        ) ENGINE = InnoDB DEFAULT CHARACTER SET ascii COLLATE ascii_bin"
    )
}
