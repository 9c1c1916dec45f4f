//! How a task ends that was not carried out, and the words for it.

use crate::gate::GateError;
use crate::refusal::{ErrorCode, Refusal};
use rushgate_gate::{Applicant, CampaignId};
use serde::Serialize;
use std::fmt;

/// What a command has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Done {
    /// False if it was done before.
    pub(crate) changed: bool,
    /// How many applicants moved up from the waitlists.
    pub(crate) promoted: u32,
    /// The applicant who got the serial of a revoked grant.
    pub(crate) next_owner: Option<Applicant>,
    pub(crate) message: String,
}

impl Done {
    /// It was done now.
    pub(crate) fn now(message: impl Into<String>) -> Self {
        Self {
            changed: true,
            promoted: 0,
            next_owner: None,
            message: message.into(),
        }
    }

    /// It was done before.
    pub(crate) fn before(message: impl Into<String>) -> Self {
        Self {
            changed: false,
            ..Self::now(message)
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The report of a command on a campaign: what an interrupted command had left and was finished first, then what this
/// command has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reported<T> {
    pub(crate) finished_first: Vec<String>,
    #[serde(flatten)]
    pub(crate) done: T,
}

impl<T: fmt::Display> fmt::Display for Reported<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.done.to_string();
        let lines = self.finished_first.iter().map(String::as_str);
        let lines: Vec<&str> = lines.chain((!done.is_empty()).then_some(&*done)).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Why a task was not carried out.
pub(super) enum Declined {
    /// The gate refused it: nothing was done, and nothing will be.
    Refused(Refusal),
    /// It is not possible now; the intention stays stored.
    Waits(Refusal),
    /// Another command has taken the campaign over and has finished the task.
    Superseded(Refusal),
}

/// Whether a server has returned an error: nothing of the call or of the transaction was done.
pub(crate) fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let by_redis = matches!(cause.downcast_ref(), Some(GateError::Refused { .. }));
        let by_database = cause.downcast_ref::<sqlx::Error>();
        by_redis || by_database.is_some_and(|error| error.as_database_error().is_some())
    })
}

/// Advice when the gate refuses terms that this command has not changed.
pub(super) fn or_repair(id: &CampaignId) -> String {
    format!(
        ". The terms of database and gate differ: `rushgate audit {id} --repair` makes them agree"
    )
}

/// The note about applicants who moved up from the waitlists.
pub(crate) fn moved_up(promoted: u32) -> String {
    match promoted {
        0 => String::new(),
        people => format!("; {people} from the waitlist got a coupon"),
    }
}

/// The error for a campaign that has to be restored.
pub(crate) fn halted(id: &CampaignId) -> Refusal {
    Refusal::new(
        ErrorCode::CampaignHalted,
        format!(
            "campaign {id} is halted, because Redis has lost grants: `rushgate restore {id}` rebuilds the gate \
             (`rushgate campaign log {id}` shows when it was halted)"
        ),
    )
}

/// The error for a campaign that was projected and is missing at the gate.
pub(crate) fn lost(id: &CampaignId) -> Refusal {
    Refusal::new(
        ErrorCode::CampaignLost,
        format!(
            "Redis has lost campaign {id} and its winners; starting it again would give out serials twice. Bring back \
             the data of Redis (its append-only file, or a replica) and run this command again, or run `rushgate \
             restore {id}`, which rebuilds the gate from the database"
        ),
    )
}
