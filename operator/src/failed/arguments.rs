//! The arguments that choose dead letters.

use crate::dead_letter::DeadLetterId;
use clap::Args;
use rushgate_gate::CampaignId;

/// Restricts the dead letters to a campaign or a reason.
#[derive(Args)]
pub struct Filter {
    /// Only dead letters of this campaign
    #[arg(long)]
    pub(super) campaign: Option<CampaignId>,
    /// Only dead letters with this reason, such as serial_taken
    #[arg(long)]
    pub(super) reason: Option<String>,
}

/// The dead letters to replay or discard.
#[derive(Args)]
pub struct Chosen {
    /// The dead letters' ids, from `failed list`
    #[arg(required_unless_present = "all")]
    pub(super) ids: Vec<DeadLetterId>,
    /// All open dead letters that match --campaign and --reason
    #[arg(long, conflicts_with = "ids")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) filter: Filter,
}
