//! The report of a command that creates or changes a campaign.

use crate::operation::{Done, Operation, Reported};
use crate::terms::Campaign;
use anyhow::Result;
use serde::Serialize;
use std::fmt;

pub(super) type CampaignReport = Reported<CampaignDone>;

/// What was done to a campaign, and the campaign after it.
#[derive(Serialize)]
pub(super) struct CampaignDone {
    #[serde(flatten)]
    campaign: Campaign,
    changed: bool,
    promoted: u32,
    message: String,
}

impl fmt::Display for CampaignDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The report of an operation that has ended.
pub(super) fn report(operation: &Operation, done: Result<Done>) -> Result<CampaignReport> {
    operation.with_report(done.map(|done| CampaignDone {
        campaign: operation.campaign.clone(),
        changed: done.changed,
        promoted: done.promoted,
        message: done.message,
    }))
}
