//! Why a record can never become a coupon, as things stand.

use rushgate_gate::record::PARKED;
use rushgate_gate::{Applicant, RoundId, Serial, signature};
use std::fmt;

/// The code of a refusal: the `reason` of a dead letter, and the label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No bridge has signed the record.
    BadSignature,
    /// The record is not an event.
    Undecodable,
    /// The record's key names another serial than its value does.
    KeyMismatch,
    /// No such round in the database.
    UnknownRound,
    /// The serial is above the round's quota.
    OverQuota,
    /// Somebody else holds that serial.
    SerialTaken,
    /// The applicant holds another coupon of the same campaign, or round.
    AlreadyHolds,
    /// The database refuses the row by itself.
    RowRefused,
    /// The record is of a version that this program does not know.
    UnknownVersion,
    /// It has its row, and the gate cannot be told so.
    Unconfirmed,
}

/// Why a record can never become a coupon, as things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code.
    pub reason: Reason,
    /// The same for people. It may name an applicant, so it goes into the database and into no log line.
    pub detail: String,
    /// The coupon that holds the serial, or that the applicant holds, if that is why.
    pub rival: Option<Rival>,
}

/// A coupon that two grants cannot both be. The gate is asked whether it knows it: if not, Redis has gone back in
/// time, and has given the serial, or the applicant his place, a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its round.
    pub round: RoundId,
    /// Its serial.
    pub serial: Serial,
    /// Whose it is.
    pub applicant: Applicant,
}

impl Reason {
    /// The word for it in `failed_events` and in metrics.
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

    /// Whether such a dead letter is parked: replayed by itself, as soon as that may succeed.
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
    /// A refusal with its explanation, cut to what the column holds.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        /// Characters in `failed_events.detail`.
        const LONGEST: usize = 1_024;
        Self {
            reason,
            detail: detail.to_string().chars().take(LONGEST).collect(),
            rival: None,
        }
    }

    /// The same, because of that coupon.
    pub fn with_rival(self, rival: Option<Rival>) -> Self {
        Self { rival, ..self }
    }
}
