//! Copies pool codes from the database to the gate, and compares the two.

use crate::database::Database;
use crate::gate::Gate;
use crate::operation::lost;
use anyhow::{Result, bail};
use rushgate_gate::CampaignId;
use rushgate_gate::load_codes::{CodeCounts, LoadOutcome, MAX_CODES};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Copies the codes that the gate lacks; `all` of them if what it has may be wrong. Idempotent.
///
/// # Errors
/// When a server does not answer or refuses, or Redis has lost the campaign.
pub(crate) async fn copy(
    database: &Database,
    gate: &mut Gate,
    id: &CampaignId,
    all: bool,
) -> Result<CodeCounts> {
    let Some(mut counts) = gate.code_counts(id).await? else {
        bail!(lost(id));
    };
    let mut width = database.pool_size(id).await?.width;
    let mut copied = if all { 0 } else { counts.loaded };
    loop {
        let codes = database.pool_codes(id, copied, MAX_CODES).await?;
        if codes.is_empty() {
            return Ok(counts);
        }
        match gate.load_codes(id, width, copied + 1, &codes).await? {
            LoadOutcome::Done(now) => {
                counts = now;
                copied += u32::try_from(codes.len())?;
            }
            LoadOutcome::Narrow(wider) => width = wider,
            LoadOutcome::Gap(now) => copied = now.loaded,
            LoadOutcome::UnknownCampaign => bail!(lost(id)),
        }
    }
}

/// A digest of all codes, by which two copies of them are compared. `page` returns the next codes after a number.
pub(crate) async fn digest(mut page: impl AsyncFnMut(u32) -> Result<Vec<String>>) -> Result<u64> {
    let (mut digest, mut read) = (DefaultHasher::new(), 0);
    loop {
        let codes = page(read).await?;
        if codes.is_empty() {
            return Ok(digest.finish());
        }
        read += u32::try_from(codes.len())?;
        codes.iter().for_each(|code| code.hash(&mut digest));
    }
}
