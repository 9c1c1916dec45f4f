//! Inserts grants as rows of `coupons`. For each grant that cannot be inserted, it finds the reason.
//!
//! It uses a plain multi-row INSERT, and the unique keys of the table decide. If a grant collides with existing rows,
//! these rows are read, and [`judge`] decides what to do. INSERT IGNORE and ON DUPLICATE KEY UPDATE
//! would hide the collision, and the number of affected rows does not show it reliably.

use crate::rejection::{Reason, Rejection};
use crate::table::existing::Existing;
use crate::table::failure::{ErrorClass, classify, number};
use crate::table::judge;
use crate::table::plan::Planned;
use crate::table::statement_length::powers_of_two;
use crate::table::store::{RecordOutcome, StoreError};
use rushgate_gate::Millis;
use rushgate_gate::failpoint::is_active;
use sqlx::{AssertSqlSafe, MySqlConnection};
use std::collections::HashSet;
use std::sync::Arc;

/// The largest number of rows in a statement. It has 4,608 of the 65,535 placeholders that the protocol allows,
/// and about 110 KB of the 16 MB that MariaDB accepts. Longer statements are hardly faster.
const LONGEST: usize = 512;

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
                    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; 1 << power].join(", ");
                    Arc::from(format!(
                        "INSERT {ignore}INTO coupons \
                         (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at, turn, win) \
                         VALUES {rows}"
                    ))
                })
                .collect(),
        )
    }
}

/// Inserts grants and stores their outcomes. No two of the grants may have the same serial or person.
///
/// # Errors
/// When the whole transaction must be tried again.
pub(crate) async fn insert(
    connection: &mut MySqlConnection,
    statements: &InsertStatements,
    mut grants: Vec<Planned<'_>>,
    outcomes: &mut [Option<RecordOutcome>],
) -> Result<(), StoreError> {
    // Locking in the same order avoids deadlocks. The order of persons cannot be kept at the same time.
    grants.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let mut to_insert = powers_of_two(grants, LONGEST);
    to_insert.reverse();
    let mut alone = HashSet::new();
    while let Some(mut rows) = to_insert.pop() {
        let Err(error) = insert_rows(connection, statements, &rows).await else {
            for row in &rows {
                outcomes[row.place] = Some(RecordOutcome::Inserted);
            }
            continue;
        };
        match classify(&error) {
            ErrorClass::Retryable => return Err(error.into()),
            ErrorClass::Duplicate => {
                let existing = Existing::look(connection, &rows).await?;
                let before = rows.len();
                let mut made_room = false;
                let mut again = vec![];
                for row in rows {
                    match existing.judge(&row) {
                        judge::JudgeVerdict::Insert {
                            supersedes,
                            revoked_at,
                        } => {
                            made_room |= !supersedes.is_empty();
                            match overtake(connection, &row, supersedes, revoked_at).await {
                                Ok(None) => again.push(row),
                                Ok(outcome) => outcomes[row.place] = outcome,
                                Err(error) => outcomes[row.place] = Some(refused(error)?),
                            }
                        }
                        judge::JudgeVerdict::Fill(id) => {
                            let filled = fill(connection, id, row.event.at).await;
                            outcomes[row.place] = Some(match filled {
                                Ok(()) => RecordOutcome::InsertedRevoked,
                                Err(error) => refused(error)?,
                            });
                        }
                        judge::JudgeVerdict::AlreadyInserted => {
                            outcomes[row.place] = Some(RecordOutcome::AlreadyInserted)
                        }
                        judge::JudgeVerdict::AlreadyRevoked => {
                            outcomes[row.place] = Some(RecordOutcome::AlreadyRevoked)
                        }
                        judge::JudgeVerdict::Rejected(rejection) => {
                            outcomes[row.place] = Some(RecordOutcome::Rejected(rejection));
                        }
                    }
                }
                if again.len() < before || made_room {
                    to_insert.extend(powers_of_two(again, LONGEST));
                    continue;
                }
                // No row that we read explains the collision. The row may be gone by now, so try again; or the
                // key or trigger is not ours and one of the rows violates it.
                match &again[..] {
                    [row] if !alone.insert(row.place) => {
                        outcomes[row.place] = Some(row_refused(&error));
                    }
                    [_] => to_insert.push(again),
                    _ => {
                        let second_half = again.split_off(before / 2);
                        to_insert.extend([second_half, again]);
                    }
                }
            }
            ErrorClass::Permanent if rows.len() == 1 => {
                outcomes[rows[0].place] = Some(refused(error)?);
            }
            ErrorClass::Permanent => {
                let second_half = rows.split_off(rows.len() / 2);
                to_insert.extend([second_half, rows]);
            }
        }
    }
    Ok(())
}

/// Runs one statement. If it fails, it rolls back its own rows only.
async fn insert_rows(
    connection: &mut MySqlConnection,
    statements: &InsertStatements,
    rows: &[Planned<'_>],
) -> Result<(), sqlx::Error> {
    let statement = &statements.0[rows.len().ilog2() as usize];
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)));
    for row in rows {
        query = query
            .bind(row.event.campaign.as_str())
            .bind(row.event.round.as_str())
            .bind(row.event.serial.get())
            .bind(row.event.applicant.as_str())
            .bind(row.round.quota.get())
            .bind(row.person_scope())
            .bind(datetime(row.event.at))
            .bind(row.event.turn.get())
            .bind(row.event.win.get());
    }
    query.execute(connection).await.map(drop)
}

/// Revokes the rows that a grant supersedes. Returns the outcome if the grant itself was superseded; otherwise
/// it is to be inserted.
async fn overtake(
    connection: &mut MySqlConnection,
    row: &Planned<'_>,
    supersedes: Vec<u64>,
    revoked_at: Option<Millis>,
) -> Result<Option<RecordOutcome>, sqlx::Error> {
    for id in supersedes {
        revoke_row(connection, id, row.event.at).await?;
    }
    let Some(at) = revoked_at else {
        return Ok(None);
    };
    insert_revoked(connection, row, Some(row.event.at), at).await?;
    Ok(Some(RecordOutcome::InsertedRevoked))
}

/// Adds the time of the grant to a row that its revocation inserted.
async fn fill(
    connection: &mut MySqlConnection,
    id: u64,
    granted_at: Millis,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE coupons SET granted_at = ? WHERE id = ?")
        .bind(datetime(granted_at))
        .bind(id)
        .execute(connection)
        .await
        .map(drop)
}

/// The outcome of a record whose own statement failed.
///
/// # Errors
/// When the whole transaction must be tried again.
pub(crate) fn refused(error: sqlx::Error) -> Result<RecordOutcome, StoreError> {
    if classify(&error) != ErrorClass::Permanent {
        return Err(error.into());
    }
    Ok(row_refused(&error))
}

fn row_refused(error: &sqlx::Error) -> RecordOutcome {
    let number = number(error);
    let detail = format_args!("error {number}: {error}");
    RecordOutcome::Rejected(Rejection::new(Reason::RowRefused, detail))
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

/// Inserts a coupon that was revoked before its row was written.
pub(crate) async fn insert_revoked(
    connection: &mut MySqlConnection,
    row: &Planned<'_>,
    granted_at: Option<Millis>,
    revoked_at: Millis,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at, turn, win, \
         state, revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'revoked', ?)",
    )
    .bind(row.event.campaign.as_str())
    .bind(row.event.round.as_str())
    .bind(row.event.serial.get())
    .bind(row.event.applicant.as_str())
    .bind(row.round.quota.get())
    .bind(row.person_scope())
    .bind(granted_at.map(datetime))
    .bind(row.event.turn.get())
    .bind(row.event.win.get())
    .bind(datetime(revoked_at))
    .execute(connection)
    .await
    .map(drop)
}

/// Formats a time as a `DATETIME(3)`.
pub(crate) fn datetime(at: Millis) -> String {
    let mut text = at.to_string();
    text.replace_range(10..11, " ");
    text.pop();
    text
}

fn sort_key<'a>(grant: &Planned<'a>) -> (&'a str, &'a str, u32) {
    let event = grant.event;
    (
        event.campaign.as_str(),
        event.round.as_str(),
        event.serial.get(),
    )
}
