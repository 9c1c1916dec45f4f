//! Rebuilding what the gate knows.

use super::Gate;
use anyhow::{Result, bail};
use rushgate_gate::restore::{self, Granted, Outcome};
use rushgate_gate::{Applicant, CampaignId, OnePer, RoundId};

impl Gate {
    /// Makes the gate know exactly these grants. The campaign has to be halted.
    ///
    /// # Errors
    /// When Redis refuses, or the campaign is not halted.
    pub async fn restore(
        &mut self,
        campaign: &CampaignId,
        one_per: OnePer,
        granted: &[Granted],
    ) -> Result<()> {
        for call in restore::calls(campaign, one_per, granted) {
            match restore::outcome(&self.call(&call).await?)? {
                Outcome::Done => {}
                other => bail!("the gate declined to be restored: {other:?}"),
            }
        }
        Ok(())
    }

    /// Gives a place to somebody who lost his to a rival, before anybody who waits.
    ///
    /// # Errors
    /// When Redis refuses. That there is no place is an [`Outcome`].
    pub async fn seat(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
    ) -> Result<Outcome> {
        let call = restore::seat(campaign, round, applicant);
        Ok(restore::outcome(&self.call(&call).await?)?)
    }

    /// Ends the halt: the campaign is paused.
    ///
    /// # Errors
    /// When Redis refuses, or the campaign is not halted.
    pub async fn lift(&mut self, campaign: &CampaignId) -> Result<()> {
        match restore::outcome(&self.call(&restore::lift(campaign)).await?)? {
            Outcome::Done => Ok(()),
            other => bail!("the gate declined to end the halt: {other:?}"),
        }
    }
}
