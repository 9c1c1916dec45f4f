//! Inserts grants as rows of `coupons`. For each grant that cannot be inserted, it finds the reason.
//!
//! It uses a plain multi-row INSERT, and the unique keys of the table decide. If a grant collides with existing rows,
//! these rows are read, and [`judge`](crate::table::judge) decides what to do. INSERT IGNORE and ON DUPLICATE KEY UPDATE
//! would hide the collision, and the number of affected rows does not show it reliably.

use crate::table::coupon_row::{
    InsertStatements, LONGEST, fill, insert_revoked, insert_rows, revoke_row,
};
use crate::table::error::StoreError;
use crate::table::existing::Existing;
use crate::table::failure::{ErrorClass, classify};
use crate::table::judge::JudgeVerdict;
use crate::table::outcome::{RecordOutcome, refused, row_refused};
use crate::table::plan::Planned;
use crate::table::statement_length::powers_of_two;
use rushgate_gate::Millis;
use sqlx::MySqlConnection;
use std::collections::HashSet;

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
                        JudgeVerdict::Insert {
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
                        JudgeVerdict::Fill(id) => {
                            let filled = fill(connection, id, &row).await;
                            outcomes[row.place] = Some(match filled {
                                Ok(()) => RecordOutcome::InsertedRevoked,
                                Err(error) => refused(error)?,
                            });
                        }
                        JudgeVerdict::AlreadyInserted => {
                            outcomes[row.place] = Some(RecordOutcome::AlreadyInserted)
                        }
                        JudgeVerdict::AlreadyRevoked => {
                            outcomes[row.place] = Some(RecordOutcome::AlreadyRevoked)
                        }
                        JudgeVerdict::Rejected(rejection) => {
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

fn sort_key<'a>(grant: &Planned<'a>) -> (&'a str, &'a str, u32) {
    let event = grant.event;
    (
        event.campaign.as_str(),
        event.round.as_str(),
        event.serial.get(),
    )
}
