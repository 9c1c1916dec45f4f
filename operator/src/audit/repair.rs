//! Repairs findings of the audit, as far as they are certain.

use super::finding::Finding;
use crate::config::Config;
use crate::intention::{GrantRef, Task};
use crate::operation::Reserved;
use anyhow::Result;
use rushgate_gate::CampaignId;
use std::collections::BTreeSet;

/// Most findings repaired in one batch.
const AT_ONCE: usize = 5_000;

/// Repairs what is certain; returns how many findings that covers.
pub(super) async fn repair(
    config: &Config,
    id: &CampaignId,
    found: &BTreeSet<Finding>,
    lines: &mut Vec<String>,
) -> Result<usize> {
    let mut operation = Reserved::new(config, id).await?.take_over().await?;
    if operation.is_halted() {
        lines.push(operation.halt_both("an audit has found it").await?);
        return Ok(0);
    }
    operation.finish().await?;
    lines.extend_from_slice(operation.finished_first());
    if let Some(Task::Repair { .. }) = operation.finished_task() {
        // The interrupted command was this repair, and it covered what is found now.
        return Ok(found.iter().filter(|it| it.is_repairable()).count());
    }
    let mut repaired = usize::from(found.iter().any(Finding::is_unfinished));
    let mut left: Vec<&Finding> = found.iter().filter(|it| it.is_repairable()).collect();
    left.retain(|finding| !finding.is_unfinished());
    for findings in left.chunks(AT_ONCE) {
        let done = operation.perform(task(findings), None).await?;
        lines.push(format!("repaired: {done}"));
        repaired += findings.len();
    }
    Ok(repaired)
}

/// The task that repairs the repairable findings.
fn task(findings: &[&Finding]) -> Task {
    let (mut resend, mut confirm, mut agree) = (vec![], vec![], false);
    for finding in findings {
        match finding {
            Finding::Missing { place, .. } | Finding::StillActive(place) => {
                resend.push(GrantRef::from(place));
            }
            Finding::Unconfirmed(place) => confirm.push(GrantRef::from(place)),
            _ => agree = true,
        }
    }
    Task::Repair {
        resend,
        confirm,
        agree,
    }
}
