//! Lists the reasons for which a record becomes a dead letter, with the details that an operator needs.

use rushgate_gate::record::PARKED;
use rushgate_gate::{Applicant, RoundId, Serial, signature};
use std::fmt;

/// The code of a rejection: the `reason` of the dead letter, and a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    BadSignature,
    Undecodable,
    /// Key and value name different serials.
    KeyMismatch,
    /// The database has no such round.
    UnknownRound,
    OverQuota,
    /// Another applicant holds the serial, by a grant with the same `turn`.
    SerialTaken,
    /// The applicant holds another coupon of the same campaign or round, by a grant with the same `win`.
    AlreadyHolds,
    /// The database refuses this row.
    RowRefused,
    /// This program does not know the event's type or version.
    UnknownVersion,
    /// The grant has its row but could not be confirmed at the gate.
    Unconfirmed,
}

/// A reason with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    /// The explanation for operators. It may contain a user id, so it goes to the database and never to the
    /// log.
    pub detail: String,
    /// The coupon that is in the way, if that is the reason.
    pub rival: Option<Rival>,
}

/// The coupon that is in the way of a grant. The consumer asks the gate whether it knows this coupon. If not,
/// Redis has gone back in time and has granted the serial, or to the applicant, a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    pub round: RoundId,
    pub serial: Serial,
    pub applicant: Applicant,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::BadSignature,
        Self::Undecodable,
        Self::KeyMismatch,
        Self::UnknownRound,
        Self::OverQuota,
        Self::SerialTaken,
        Self::AlreadyHolds,
        Self::RowRefused,
        Self::UnknownVersion,
        Self::Unconfirmed,
    ];

    /// The code in `failed_events` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadSignature => signature::REASON,
            Self::Undecodable => "undecodable",
            Self::KeyMismatch => "key_mismatch",
            Self::UnknownRound => "unknown_round",
            Self::OverQuota => "over_quota",
            Self::SerialTaken => "serial_taken",
            Self::AlreadyHolds => "already_holds",
            Self::RowRefused => "row_refused",
            Self::UnknownVersion => "unknown_version",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// Whether such a dead letter is parked, that is, replayed automatically when it may succeed.
    pub fn is_parked(self) -> bool {
        PARKED.iter().any(|(reason, _)| *reason == self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Rejection {
    /// `detail` is cut to the length of the column.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        /// The length of `failed_events.detail` in characters.
        const LONGEST: usize = 1_024;
        Self {
            reason,
            detail: detail.to_string().chars().take(LONGEST).collect(),
            rival: None,
        }
    }

    pub fn with_rival(self, rival: Option<Rival>) -> Self {
        Self { rival, ..self }
    }
}
