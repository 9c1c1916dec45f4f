//! Rebuilds the grants of a halted campaign in the gate.

use super::connection::Gate;
use crate::refusal::{ErrorCode, Refusal};
use anyhow::{Context, Result, bail};
use rushgate_gate::restore::{self, Granted, RestoreOutcome, Step};
use rushgate_gate::{Applicant, CampaignId, CampaignState, FencingToken, Keys, OnePer, RoundId};

/// The types of [`Keys::all`], in its order.
const TYPES: [&str; 13] = [
    "hash", "zset", "hash", "hash", "stream", "zset", "hash", "hash", "zset", "set", "string",
    "string", "stream",
];

impl Gate {
    /// Renames keys of the campaign whose type is wrong, because no script can run while they exist. Halts the campaign
    /// first: without such a key, the gate may not know its grants. Returns the renamed keys with their new names.
    /// Idempotent.
    pub async fn set_odd_keys_aside(&mut self, campaign: &CampaignId) -> Result<Vec<String>> {
        const WHAT: &str = "setting keys of a wrong type aside";
        let keys = Keys::of(campaign);
        let mut aside = vec![];
        for (key, expected) in keys.all().into_iter().zip(TYPES) {
            let mut ask = redis::cmd("TYPE");
            let found: String = self.query(ask.arg(&key)).await.context(WHAT)?;
            if found == expected || found == "none" {
                continue;
            }
            // Without a filter, the gate lacks nothing.
            if key != keys.campaign() && key != keys.filter() {
                let mut halt = redis::cmd("HSET");
                halt.arg(keys.campaign()).arg("state");
                halt.arg(CampaignState::Halted.as_str());
                self.query::<i64>(&halt).await.context(WHAT)?;
            }
            let name = format!("{key}:{found}");
            let mut rename = redis::cmd("RENAME");
            rename.arg(&key).arg(&name);
            self.query::<String>(&rename).await.context(WHAT)?;
            aside.push(format!("{key} was a {found} and is {name} now"));
        }
        Ok(aside)
    }

    /// Replaces all grants of the gate by these. The campaign must be halted.
    ///
    /// # Errors
    /// When Redis refuses or does not answer, the campaign is not halted, or another command is restoring it.
    pub async fn restore(
        &mut self,
        campaign: &CampaignId,
        one_per: OnePer,
        granted: &[Granted],
        codes_taken: u32,
        fence: FencingToken,
    ) -> Result<()> {
        for step in restore::steps(one_per, granted, codes_taken) {
            match self.restore_step(campaign, &step, fence).await? {
                RestoreOutcome::Done => {}
                RestoreOutcome::Superseded => bail!(superseded(campaign)),
                other => bail!("rebuilding the gate: it refused ({other:?})"),
            }
        }
        Ok(())
    }

    /// Gives another serial to an applicant who lost theirs to another grant, ahead of the waitlist.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That no serial is left is an [`RestoreOutcome`].
    pub async fn reassign(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
        fence: FencingToken,
    ) -> Result<RestoreOutcome> {
        let step = Step::Reassign {
            round: round.clone(),
            applicant: applicant.clone(),
        };
        self.restore_step(campaign, &step, fence).await
    }

    async fn restore_step(
        &mut self,
        campaign: &CampaignId,
        step: &Step,
        fence: FencingToken,
    ) -> Result<RestoreOutcome> {
        let reply = self.call(&step.call(campaign, fence)).await?;
        Ok(restore::outcome(&reply)?)
    }
}

/// The error of a command that was interrupted for so long that another command has taken the campaign over.
pub(crate) fn superseded(campaign: &CampaignId) -> Refusal {
    Refusal::new(
        ErrorCode::CampaignBusy,
        format!(
            "another command has taken campaign {campaign} over: `rushgate campaign log {campaign}` shows what was done"
        ),
    )
}
