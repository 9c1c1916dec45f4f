//! Projects a campaign into the gate: its state, its terms and its rounds.

use super::outcome::{Declined, halted, is_refused, lost, or_repair};
use super::running::Operation;
use crate::gate::superseded;
use crate::refusal::{ErrorCode, Refusal};
use crate::terms::Campaign;
use crate::unknown::Unknown;
use anyhow::{Result, bail};
use rushgate_gate::CampaignState;
use rushgate_gate::project::{Origin, ProjectOutcome};

impl Operation {
    /// Projects the campaign; returns how many applicants moved up from the waitlists.
    pub(crate) async fn project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<u32> {
        let projected = self.try_project(campaign, origin, state).await;
        let projected = projected.map_err(|error| match is_refused(&error) {
            true => error,
            false => error.context(Unknown::new(
                format!("campaign {}: projecting it into the gate", campaign.id),
                "Run the same command again",
            )),
        });
        match projected? {
            Ok(promoted) => Ok(promoted),
            Err(Declined::Refused(why)) => bail!(why.and(or_repair(&campaign.id))),
            Err(Declined::Waits(why) | Declined::Superseded(why)) => bail!(why),
        }
    }

    pub(super) async fn try_project(
        &mut self,
        campaign: &Campaign,
        origin: Origin,
        state: CampaignState,
    ) -> Result<Result<u32, Declined>> {
        let id = &campaign.id;
        let (terms, rounds) = (&campaign.terms, &campaign.rounds);
        let outcome = self
            .gate
            .project(id, origin, state, terms, rounds, self.fence)
            .await?;
        Ok(Err(match outcome {
            ProjectOutcome::Projected { promoted } => return Ok(Ok(promoted)),
            ProjectOutcome::UnknownCampaign => Declined::Waits(lost(id)),
            ProjectOutcome::Halted => Declined::Waits(halted(id)),
            ProjectOutcome::Superseded => Declined::Superseded(superseded(id)),
            ProjectOutcome::QuotaBelowGranted { round, granted } => {
                Declined::Refused(Refusal::new(
                    ErrorCode::QuotaBelowGranted,
                    format!(
                        "round {round} of campaign {id} has already given out serials up to {granted}: choose a --quota of \
                     at least {granted}"
                    ),
                ))
            }
            ProjectOutcome::OtherOnePer { rule } => Declined::Refused(Refusal::new(
                ErrorCode::InvalidTerms,
                format!(
                    "campaign {id} already has winners under the rule of one per {rule}, so the rule cannot change"
                ),
            )),
            ProjectOutcome::RoundHasGrants { round } => Declined::Refused(Refusal::new(
                ErrorCode::RoundHasGrants,
                format!(
                    "round {round} of campaign {id} already has winners, so it cannot be removed: choose a later --to"
                ),
            )),
        }))
    }
}
