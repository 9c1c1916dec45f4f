//! Creates a separate database schema for a test, and drops it afterwards.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use crate::shared::server;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

/// An empty schema on the server of `DATABASE_URL`, dropped with this value.
pub struct Schema {
    pub name: String,
    pub url: String,
}

impl Schema {
    pub async fn create(name: &str) -> Self {
        let mut url = url::Url::parse(&server("DATABASE_URL")).expect("DATABASE_URL is a URL");
        url.set_path(name);
        administer(&format!("CREATE DATABASE {name}"))
            .await
            .expect("CREATE DATABASE");
        Self {
            name: name.to_owned(),
            url: url.into(),
        }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {}", self.name);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                // A schema that cannot be dropped does not fail the test.
                let _ = runtime.map(|runtime| runtime.block_on(administer(&drop)));
            });
        });
    }
}

/// Runs a statement without a current schema.
pub async fn administer(statement: &str) -> sqlx::Result<()> {
    let mut connection = MySqlConnection::connect(&server("DATABASE_URL")).await?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await?;
    connection.close().await
}
