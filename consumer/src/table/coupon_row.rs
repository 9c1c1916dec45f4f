//! The statements that write rows of `coupons`.

use crate::table::failure::{ErrorClass, classify};
use crate::table::plan::Planned;
use rushgate_gate::Millis;
use rushgate_gate::failpoint::is_active;
use sqlx::mysql::MySqlArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection};
use std::sync::Arc;

/// `coupons.state` of a coupon that was not revoked.
pub(crate) const ACTIVE: &str = "active";

/// The largest number of rows in a statement. It has 5,632 of the 65,535 placeholders that the protocol allows,
/// and about 120 KB of the 16 MB that MariaDB accepts. Longer statements are hardly faster.
pub(crate) const LONGEST: usize = 512;

/// The INSERT statements for 1, 2, 4 … 512 rows.
pub(crate) struct InsertStatements(Vec<Arc<str>>);

impl Default for InsertStatements {
    fn default() -> Self {
        let ignore = if is_active("bug::insert_ignore") {
            "IGNORE "
        } else {
            ""
        };
        Self(
            (0..=LONGEST.ilog2())
                .map(|power| {
                    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; 1 << power].join(", ");
                    Arc::from(format!(
                        "INSERT {ignore}INTO coupons \
                         (campaign_id, round_id, serial, user_id, quota, person_scope, turn, win, code, \
                         code_number, granted_at) VALUES {rows}"
                    ))
                })
                .collect(),
        )
    }
}

/// Inserts rows; their number is a power of two. If the statement fails, it rolls back its own rows only.
pub(crate) async fn insert_rows(
    connection: &mut MySqlConnection,
    statements: &InsertStatements,
    rows: &[Planned<'_>],
) -> Result<(), sqlx::Error> {
    let statement = &statements.0[rows.len().ilog2() as usize];
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)));
    for row in rows {
        query = bind_grant(query, row, row.code_number()).bind(datetime(row.event.at));
    }
    query.execute(connection).await.map(drop)
}

/// Inserts a coupon that was revoked before its row was written. `granted_at` is `None` if its grant has not
/// arrived yet. Without its number if another row has that: only a gate that has lost data gives a number twice, and it
/// belongs to the other row.
pub(crate) async fn insert_revoked(
    connection: &mut MySqlConnection,
    row: &Planned<'_>,
    granted_at: Option<Millis>,
    revoked_at: Millis,
) -> Result<(), sqlx::Error> {
    let mut number = row.code_number();
    loop {
        let query = sqlx::query(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, turn, win, code, \
             code_number, granted_at, revoked_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'revoked')",
        );
        let inserted = bind_grant(query, row, number)
            .bind(granted_at.map(datetime))
            .bind(datetime(revoked_at))
            .execute(&mut *connection)
            .await;
        match inserted {
            Err(error) if number.is_some() && classify(&error) == ErrorClass::Duplicate => {
                number = None;
            }
            done => return done.map(drop),
        }
    }
}

/// Adds the time of the grant to a row that its revocation inserted, and the code or its number if it is missing. The
/// number as for [`insert_revoked`].
pub(crate) async fn fill(
    connection: &mut MySqlConnection,
    id: u64,
    row: &Planned<'_>,
) -> Result<(), sqlx::Error> {
    let mut number = row.code_number();
    loop {
        let filled = sqlx::query(
            "UPDATE coupons SET granted_at = ?, code = COALESCE(code, ?), code_number = COALESCE(code_number, ?) \
             WHERE id = ?",
        )
        .bind(datetime(row.event.at))
        .bind(row.code.map(|code| code.to_string()))
        .bind(number)
        .bind(id)
        .execute(&mut *connection)
        .await;
        match filled {
            Err(error) if number.is_some() && classify(&error) == ErrorClass::Duplicate => {
                number = None;
            }
            done => return done.map(drop),
        }
    }
}

pub(crate) async fn revoke_row(
    connection: &mut MySqlConnection,
    id: u64,
    at: Millis,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE coupons SET state = 'revoked', revoked_at = ? WHERE id = ?")
        .bind(datetime(at))
        .bind(id)
        .execute(connection)
        .await
        .map(drop)
}

/// Binds the columns from `campaign_id` to `code_number`.
fn bind_grant<'q>(
    query: Query<'q, MySql, MySqlArguments>,
    row: &Planned<'q>,
    code_number: Option<u32>,
) -> Query<'q, MySql, MySqlArguments> {
    query
        .bind(row.event.campaign.as_str())
        .bind(row.event.round.as_str())
        .bind(row.event.serial.get())
        .bind(row.event.applicant.as_str())
        .bind(row.round.quota.get())
        .bind(row.person_scope())
        .bind(row.event.turn.get())
        .bind(row.event.win.get())
        .bind(row.code.map(|code| code.to_string()))
        .bind(code_number)
}

/// Formats a time as a `DATETIME(3)`.
fn datetime(at: Millis) -> String {
    let mut text = at.to_string();
    text.replace_range(10..11, " ");
    text.pop();
    text
}
