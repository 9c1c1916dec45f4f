//! Decides what to do with a grant if the table may already contain rows of later events. All functions are pure.
//!
//! Records that are sent again can arrive out of order, and the records of one applicant are in several partitions. So
//! the gate numbers the grants of each serial (`turn`) and the grants of each applicant (`win`). Of two grants, the
//! one with the higher number is later: its applicant holds the coupon, and the other grant is only history. Two
//! grants with the same number cannot both be valid: Redis has lost writes and used the number again. Then the grant
//! that arrives second becomes a dead letter.

use crate::rejection::{Reason, Rejection, Rival};
use rushgate_gate::{Event, Millis, Ordinal, Serial};

/// A row of `coupons` that has a grant's serial or person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingRow {
    pub id: u64,
    pub round: String,
    pub serial: u32,
    pub user_id: String,
    pub active: bool,
    pub turn: Ordinal,
    pub win: Ordinal,
    /// When it was granted; `None` if only its revocation has arrived.
    pub granted_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgeVerdict {
    /// The grant has its row.
    AlreadyInserted,
    /// The grant has its row, which was revoked since.
    AlreadyRevoked,
    /// The grant has its row, inserted by its revocation. The time of the grant must be added.
    Fill(u64),
    /// Revoke the superseded rows, whose own revocations are still on their way. Then insert the grant: as a
    /// held coupon, or with `revoked_at` as a revoked one. Its own revocation corrects that time later.
    Insert {
        supersedes: Vec<u64>,
        revoked_at: Option<Millis>,
    },
    /// The grant cannot have a row, given the rows in the table.
    Rejected(Rejection),
}

/// Judges a grant by the rows of its serial, and by the row that its applicant holds within the same campaign
/// or round.
pub fn judge(
    grant: &Event,
    of_serial: &[ExistingRow],
    of_person: Option<&ExistingRow>,
) -> JudgeVerdict {
    let is_own = |row: &&ExistingRow| row.user_id == grant.applicant.as_str();
    if let Some(own) = of_serial.iter().find(is_own) {
        // Also if it was revoked since: a revoked grant does not become active again.
        return match own.granted_at {
            Some(_) if own.active => JudgeVerdict::AlreadyInserted,
            Some(_) => JudgeVerdict::AlreadyRevoked,
            None => JudgeVerdict::Fill(own.id),
        };
    }
    let rivals = of_serial
        .iter()
        .filter(|row| row.active)
        .map(|row| (row, row.turn.cmp(&grant.turn), Reason::SerialTaken))
        .chain(of_person.map(|row| (row, row.win.cmp(&grant.win), Reason::AlreadyHolds)));
    let mut supersedes = vec![];
    let mut revoked_at = None;
    for (row, order, reason) in rivals {
        match order {
            std::cmp::Ordering::Less => supersedes.push(row.id),
            std::cmp::Ordering::Greater => revoked_at = Some(row.granted_at.unwrap_or(grant.at)),
            std::cmp::Ordering::Equal => {
                return JudgeVerdict::Rejected(rejection(grant, row, reason));
            }
        }
    }
    supersedes.sort_unstable();
    supersedes.dedup();
    JudgeVerdict::Insert {
        supersedes,
        revoked_at,
    }
}

fn rejection(grant: &Event, row: &ExistingRow, reason: Reason) -> Rejection {
    Rejection::new(
        reason,
        format_args!(
            "{} of user_id {}, but {}/{}/{} is held by user_id {}",
            grant.key(),
            grant.applicant,
            grant.campaign,
            row.round,
            row.serial,
            row.user_id
        ),
    )
    .with_rival(rival(row))
}

/// The values in the table were checked before they were written.
fn rival(row: &ExistingRow) -> Option<Rival> {
    Some(Rival {
        round: row.round.parse().ok()?,
        serial: Serial::try_from(row.serial).ok()?,
        applicant: row.user_id.parse().ok()?,
    })
}
