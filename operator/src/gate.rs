//! The client of the gate in Redis. It projects campaigns, changes grants, and reads counts and states.

mod books;
mod connection;
mod reading;
mod restore;

pub use books::Unpublished;
pub use connection::{Gate, GateError};
pub use reading::{CampaignReading, GateReading};
pub(crate) use restore::superseded;

use anyhow::{Context, Result};
use rushgate_gate::balance::{self, Miscount};
use rushgate_gate::load_codes::{self, CodeCounts, LoadOutcome};
use rushgate_gate::overview::{self, Overview};
use rushgate_gate::project::{self, Origin, ProjectOutcome};
use rushgate_gate::projection::{self, Projection};
use rushgate_gate::{
    Applicant, Assignment, CampaignId, CampaignState, FencingToken, PoolCode, Round, RoundId,
    Terms, confirm, keys, redeem, resend, revoke, status,
};

impl Gate {
    /// Registers `campaigns`, which must be all campaigns of the database. From then on an id outside the index is an
    /// unknown campaign, and a registered campaign that Redis does not have is a lost one. Called before a campaign can
    /// grant, so that no grant waits in a stream that no bridge reads.
    pub async fn register(&mut self, campaigns: &[CampaignId]) -> Result<()> {
        const WHAT: &str = "registering the campaigns with Redis";
        if !campaigns.is_empty() {
            let mut add = redis::cmd("SADD");
            add.arg(keys::CAMPAIGNS);
            for campaign in campaigns {
                add.arg(campaign.as_str());
            }
            self.query::<i64>(&add).await.context(WHAT)?;
        }
        // Rebuilt in one step, so that no campaign is ever missing: neither those older than the index, nor those that
        // an older `rushgate` has created since.
        let mut index = redis::cmd("ZUNIONSTORE");
        index.arg(keys::CAMPAIGN_INDEX).arg(1).arg(keys::CAMPAIGNS);
        index.arg("WEIGHTS").arg(0);
        self.query::<i64>(&index).await.context(WHAT)?;
        let mut mark = redis::cmd("SET");
        mark.arg(keys::SET_UP).arg(1);
        self.query::<String>(&mark).await.context(WHAT)?;
        Ok(())
    }

    /// What the gate knows of a campaign's terms; `None` if it does not know the campaign.
    pub async fn projection(&mut self, campaign: &CampaignId) -> Result<Option<Projection>> {
        Ok(projection::projection(
            &self.call(&projection::call(campaign)).await?,
        )?)
    }

    /// Counters of the gate that differ from what it stores.
    pub async fn miscounts(&mut self, campaign: &CampaignId) -> Result<Vec<Miscount>> {
        Ok(balance::miscounts(
            &self.call(&balance::call(campaign)).await?,
        )?)
    }

    /// Gives the gate the terms and the state from the database.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. A refusal by the script is an [`ProjectOutcome`].
    pub async fn project(
        &mut self,
        campaign: &CampaignId,
        origin: Origin,
        state: CampaignState,
        terms: &Terms,
        rounds: &[Round],
        fence: FencingToken,
    ) -> Result<ProjectOutcome> {
        let call = project::call(campaign, origin, state, terms, rounds, fence);
        Ok(project::outcome(&self.call(&call).await?)?)
    }

    /// The campaign's counts; `None` if the gate does not know the campaign.
    pub async fn overview(&mut self, campaign: &CampaignId) -> Result<Option<Overview>> {
        Ok(overview::overview(
            &self.call(&overview::call(campaign)).await?,
        )?)
    }

    /// Revokes `applicant`'s grant and passes its serial on.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That there is no such grant is a [`revoke::RevokeOutcome`].
    pub async fn revoke(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<revoke::RevokeOutcome> {
        let call = revoke::call(campaign, applicant, round);
        Ok(revoke::outcome(&self.call(&call).await?)?)
    }

    /// Marks a grant as redeemed.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That there is no such grant is a [`redeem::RedeemOutcome`].
    pub async fn redeem(
        &mut self,
        campaign: &CampaignId,
        grant: &Assignment,
    ) -> Result<redeem::RedeemOutcome> {
        let call = redeem::call(campaign, grant);
        Ok(redeem::outcome(&self.call(&call).await?)?)
    }

    /// How many pool codes the gate has, and how many are taken; `None` if it does not know the campaign.
    pub async fn code_counts(&mut self, campaign: &CampaignId) -> Result<Option<CodeCounts>> {
        Ok(match self.load_codes(campaign, 1, 1, &[]).await? {
            LoadOutcome::Done(counts) | LoadOutcome::Gap(counts) => Some(counts),
            LoadOutcome::UnknownCampaign | LoadOutcome::Narrow(_) => None,
        })
    }

    /// Writes pool codes, from the number `first` on.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. A refusal by the script is a [`LoadOutcome`].
    pub async fn load_codes(
        &mut self,
        campaign: &CampaignId,
        width: usize,
        first: u32,
        codes: &[PoolCode],
    ) -> Result<LoadOutcome> {
        let call = load_codes::call(campaign, width, first, codes);
        Ok(load_codes::outcome(&self.call(&call).await?)?)
    }

    /// What became of `applicant`'s application.
    pub async fn application(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<status::Status> {
        let call = status::call(campaign, applicant, round);
        Ok(status::status(&self.call(&call).await?)?)
    }

    /// Marks grants as issued, as consumers do after the commit.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That the gate does not know a grant is a [`confirm::ConfirmOutcome`].
    pub async fn confirm(
        &mut self,
        campaign: &CampaignId,
        places: &[Assignment],
    ) -> Result<confirm::ConfirmOutcome> {
        let mut issued = 0;
        for places in places.chunks(confirm::MAX_ROWS) {
            let rows = places.iter().map(|place| confirm::Row {
                round: &place.round,
                serial: place.serial,
                applicant: &place.applicant,
                is_revoked: false,
            });
            let call = confirm::call(campaign, rows);
            match confirm::outcome(&self.call(&call).await?)? {
                confirm::ConfirmOutcome::Confirmed { issued: more } => issued += more,
                other => return Ok(other),
            }
        }
        Ok(confirm::ConfirmOutcome::Confirmed { issued })
    }

    /// Puts the gate's latest event about a grant on the stream again.
    pub async fn resend(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
    ) -> Result<resend::ResendOutcome> {
        let call = resend::call(campaign, round, applicant);
        Ok(resend::outcome(&self.call(&call).await?)?)
    }
}
