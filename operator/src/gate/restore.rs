//! Rebuilds the gate of a halted campaign.

use super::Gate;
use anyhow::{Result, bail};
use rushgate_gate::restore::{self, Granted, Outcome};
use rushgate_gate::{Applicant, CampaignId, FencingToken, OnePer, RoundId};

impl Gate {
    /// Replaces all grants of the gate by these. The campaign must be halted.
    ///
    /// # Errors
    /// When Redis refuses or does not answer, the campaign is not halted, or another command is restoring it.
    pub async fn restore(
        &mut self,
        campaign: &CampaignId,
        one_per: OnePer,
        granted: &[Granted],
        fence: FencingToken,
    ) -> Result<()> {
        for call in restore::calls(campaign, one_per, granted, fence) {
            match restore::outcome(&self.call(&call).await?)? {
                Outcome::Done => {}
                Outcome::Superseded => bail!("{}", super::superseded(campaign)),
                other => bail!("rebuilding the gate: it refused ({other:?})"),
            }
        }
        Ok(())
    }

    /// Gives another serial to an applicant who lost theirs to another grant, ahead of the waitlist.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That no serial is left is an [`Outcome`].
    pub async fn reassign(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
        fence: FencingToken,
    ) -> Result<Outcome> {
        let call = restore::seat(campaign, round, applicant, fence);
        Ok(restore::outcome(&self.call(&call).await?)?)
    }
}
