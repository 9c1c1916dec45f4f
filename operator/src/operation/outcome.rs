//! How a task ends that was not carried out, and the words for it.

use crate::gate::GateError;
use rushgate_gate::CampaignId;

/// Why a task was not carried out.
pub(super) enum Declined {
    /// The gate refused it: nothing was done, and nothing will be.
    Refused(String),
    /// It is not possible now; the intention stays stored.
    Waits(String),
    /// Another command has taken the campaign over and has finished the task.
    Superseded(String),
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
pub(crate) fn halted(id: &CampaignId) -> String {
    format!(
        "campaign {id} is halted, because Redis has lost grants (`rushgate campaign log {id}` shows when): `rushgate \
         restore {id}` rebuilds the gate"
    )
}

/// The error for a campaign that was projected and is missing at the gate.
pub(crate) fn lost(id: &CampaignId) -> String {
    format!(
        "Redis has lost campaign {id} and its winners; starting it again would give out serials twice. Bring back the \
         data of Redis (its append-only file, or a replica) and run this command again, or run `rushgate restore \
         {id}`, which rebuilds the gate from the database"
    )
}
