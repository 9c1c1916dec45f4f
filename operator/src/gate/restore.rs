//! Rebuilding what the gate knows.

use super::Gate;
use anyhow::{Result, bail};
use rushgate_gate::restore::{self, Granted, Outcome};
use rushgate_gate::{Applicant, CampaignId, FencingToken, OnePer, RoundId};

impl Gate {
    /// Makes the gate know exactly these grants. The campaign has to be halted.
    ///
    /// # Errors
    /// When Redis refuses or does not answer, or the campaign is not halted or restored by somebody else.
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
                other => bail!("the gate declined to be restored: {other:?}"),
            }
        }
        Ok(())
    }

    /// Gives a place to somebody who lost one to another grant, before anybody who waits.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That there is no place is an [`Outcome`].
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
