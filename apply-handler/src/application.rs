//! Handles the requests about applications: to apply, to ask for the status, and to cancel.
//!
//! PUT names the applicant in the path and needs no body, so none is taken from the host. That saves several calls to
//! the host, each of which costs as much as all other work for the request.

use crate::application_response;
use crate::body_reader;
use crate::gate::Gate;
use crate::http_io::{Body, Head};
use crate::problem::Problem;
use crate::refusal_cache;
use crate::request_body::{optional_applicant, required_applicant};
use crate::response::{MINIMAL, Response, prefers};
use crate::settings::Settings;
use crate::unknown_campaigns;
use rushgate_gate::cancel::{self, CancelOutcome};
use rushgate_gate::status::Status;
use rushgate_gate::{Applicant, CampaignId, Decision, Millis, RoundId, apply, status};

/// What stands in a path for the subject of the token, where tokens are required.
const ME: &str = "me";

/// A request about an application to one campaign.
pub struct Application<'a> {
    pub settings: &'static Settings,
    pub gate: &'a Gate<'a>,
    pub head: &'a Head,
    pub campaign: CampaignId,
}

impl Application<'_> {
    /// Applies for the applicant in the body, or for the subject of the token.
    ///
    /// # Errors
    /// When the body, the token or the campaign is not accepted, or the gate cannot decide.
    pub async fn post(&self, body: &mut Body<'_>) -> Result<Response, Problem> {
        let subject = self.settings.auth.applicant(|| self.head.headers())?;
        let limit = self.settings.body_timeout;
        let body = body_reader::read(self.head.headers(), body, limit).await?;
        let applicant = match subject {
            None => required_applicant(&body)?,
            Some(subject) => match optional_applicant(&body)? {
                Some(named) if named != subject => return Err(Problem::NotYourApplication),
                _ => subject,
            },
        };
        match self.cached_refusal(&applicant) {
            Some(refusal) => Ok(refusal),
            None => self.decide(&applicant).await,
        }
    }

    /// Applies for the applicant in the path. The body is not read, and for a cached refusal no header either.
    ///
    /// # Errors
    /// As for [`Application::post`].
    pub async fn put(&self, named: Applicant, body: &Body<'_>) -> Result<Response, Problem> {
        let applicant = self.addressed(named)?;
        if let Some(refusal) = self.cached_refusal(&applicant) {
            return Ok(refusal);
        }
        body_reader::check_length(body)?;
        self.decide(&applicant).await
    }

    /// The status of an application.
    ///
    /// # Errors
    /// When the token or the campaign is not accepted, or the gate does not answer.
    pub async fn get(&self, named: Applicant, round: Option<RoundId>) -> Result<Response, Problem> {
        let applicant = self.addressed(named)?;
        if unknown_campaigns::contains(&self.campaign) {
            return Err(Problem::CampaignNotFound);
        }
        let call = || status::call(&self.campaign, &applicant, round.as_ref());
        let status = self.gate.call(call, status::status).await?;
        if status == Status::UnknownCampaign {
            return Err(unknown_campaigns::problem(self.gate, &self.campaign).await?);
        }
        let (campaign, keys) = (&self.campaign, self.settings.keys_of_told_codes());
        let now = self.gate.time().unwrap_or(Millis::MAX);
        Ok(application_response::status(
            &status, now, campaign, &applicant, round, keys,
        ))
    }

    /// Takes the applicant off the waitlist, or gives their coupon back, if it is proven who asks.
    ///
    /// # Errors
    /// When the token, the applicant or the campaign is not accepted, or the gate does not answer.
    pub async fn delete(
        &self,
        named: Applicant,
        round: Option<RoundId>,
    ) -> Result<Response, Problem> {
        let applicant = self.addressed(named)?;
        if !self.settings.auth.is_proven() {
            return Err(Problem::IdentityNotProven);
        }
        let campaign = &self.campaign;
        if unknown_campaigns::contains(campaign) {
            return Err(Problem::CampaignNotFound);
        }
        let call = || cancel::call(campaign, &applicant, round.as_ref());
        let outcome = self.gate.call(call, cancel::outcome).await?;
        if outcome == CancelOutcome::UnknownCampaign {
            return Err(unknown_campaigns::problem(self.gate, campaign).await?);
        }
        Ok(application_response::cancelled(
            &outcome, campaign, &applicant, round,
        ))
    }

    /// The applicant in the path. With tokens it must be the subject, for which `me` stands.
    fn addressed(&self, named: Applicant) -> Result<Applicant, Problem> {
        match self.settings.auth.applicant(|| self.head.headers())? {
            None => Ok(named),
            Some(subject) if named == subject || named.as_str() == ME => Ok(subject),
            Some(_) => Err(Problem::NotYourApplication),
        }
    }

    fn cached_refusal(&self, applicant: &Applicant) -> Option<Response> {
        let (refusal, now) = refusal_cache::get(&self.campaign, applicant)?;
        self.gate.note_time(now);
        Some(refusal)
    }

    async fn decide(&self, applicant: &Applicant) -> Result<Response, Problem> {
        let (gate, campaign) = (self.gate, &self.campaign);
        let check_known = || match unknown_campaigns::contains(campaign) {
            true => Err(Problem::CampaignNotFound),
            false => Ok(()),
        };
        check_known()?;
        let mut first = None;
        if !refusal_cache::first_is_over() {
            first = refusal_cache::first().await;
            if first.is_none() {
                if let Some(refusal) = self.cached_refusal(applicant) {
                    return Ok(refusal);
                }
                check_known()?;
            }
        }
        let call = || apply::call(campaign, applicant);
        let decided = gate.call(call, apply::decision).await?;
        if decided.decision == Decision::UnknownCampaign {
            return Err(unknown_campaigns::problem(gate, campaign).await?);
        }
        refusal_cache::fill(&self.settings.gate, campaign, &decided.decision, first);
        let response = application_response::decision(
            &decided,
            campaign,
            applicant,
            self.settings.keys_of_told_codes(),
        );
        Ok(
            if response.is_success() && prefers(self.head.headers(), MINIMAL) {
                response.into_minimal()
            } else {
                response
            },
        )
    }
}
