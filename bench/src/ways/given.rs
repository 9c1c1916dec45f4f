//! Counts the coupons that a way has given out, from the rows in its table.

use sqlx::{AssertSqlSafe, MySqlConnection, Row};

/// The content of the table once all requests are answered and nothing is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub rows: u64,
    /// Applicants with a row.
    pub people: u64,
    /// Applicants with more than one row.
    pub doubled: u64,
}

/// The number of rows of `campaign` in this table.
///
/// # Errors
/// When the database does not answer.
pub async fn rows(
    database: &mut MySqlConnection,
    table: &str,
    campaign: &str,
) -> sqlx::Result<u64> {
    let count = format!("SELECT COUNT(*) FROM {table} WHERE campaign_id = ?");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .bind(campaign)
        .fetch_one(database)
        .await?;
    Ok(count.unsigned_abs())
}

/// The coupons of `campaign` in this table.
///
/// # Errors
/// When the database does not answer.
pub async fn given(
    database: &mut MySqlConnection,
    table: &str,
    campaign: &str,
) -> sqlx::Result<Given> {
    let people = format!(
        "SELECT CAST(COALESCE(SUM(coupons), 0) AS UNSIGNED) AS total, COUNT(*) AS people, \
         CAST(COALESCE(SUM(coupons > 1), 0) AS UNSIGNED) AS doubled \
         FROM (SELECT COUNT(*) AS coupons FROM {table} WHERE campaign_id = ? GROUP BY user_id) AS people"
    );
    let row = sqlx::query(AssertSqlSafe(people))
        .bind(campaign)
        .fetch_one(database)
        .await?;
    Ok(Given {
        rows: row.try_get("total")?,
        people: row.try_get::<i64, _>("people")?.unsigned_abs(),
        doubled: row.try_get("doubled")?,
    })
}
