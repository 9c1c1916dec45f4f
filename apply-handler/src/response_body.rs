//! Defines the JSON bodies of responses: grants, refusals, campaigns, and the problem details of RFC 9457.

use crate::coupon_codes::CodeInResponse;
use rushgate_gate::apply::Grant;
use rushgate_gate::overview::{Overview, RoundOverview};
use rushgate_gate::{Applicant, CampaignId, CodeKeys, ShowRemaining};
use serde::Serialize;
use spin_sdk::http::StatusCode;

#[derive(Serialize)]
pub(crate) struct GrantBody<'a> {
    pub(crate) decision: &'a str,
    pub(crate) campaign: &'a str,
    pub(crate) round: &'a str,
    pub(crate) serial: u32,
    pub(crate) user_id: &'a str,
    pub(crate) granted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) code_unavailable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redeemed_at: Option<String>,
}

impl<'a> GrantBody<'a> {
    pub(crate) fn new(
        decision: &'a str,
        campaign: &'a CampaignId,
        applicant: &'a Applicant,
        grant: &'a Grant,
    ) -> Self {
        Self {
            decision,
            campaign: campaign.as_str(),
            round: grant.round.as_str(),
            serial: grant.serial.get(),
            user_id: applicant.as_str(),
            granted_at: grant.at.to_string(),
            code: None,
            code_unavailable: false,
            redeemed_at: None,
        }
    }

    /// Of a grant that the applicant holds, with its code unless `keys` is `None`.
    pub(crate) fn held(
        decision: &'a str,
        campaign: &'a CampaignId,
        applicant: &'a Applicant,
        grant: &'a Grant,
        keys: Option<&CodeKeys>,
    ) -> Self {
        let of_grant = CodeInResponse::of(keys, campaign, applicant, grant);
        Self {
            code: of_grant.code,
            code_unavailable: of_grant.is_unavailable,
            ..Self::new(decision, campaign, applicant, grant)
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RevokedBody<'a> {
    #[serde(flatten)]
    pub(crate) grant: GrantBody<'a>,
    pub(crate) revoked_at: String,
}

#[derive(Serialize)]
pub(crate) struct WaitlistedBody<'a> {
    pub(crate) decision: &'a str,
    pub(crate) campaign: &'a str,
    pub(crate) round: &'a str,
    pub(crate) position: u32,
    pub(crate) user_id: &'a str,
    pub(crate) waitlisted_at: String,
}

/// The applicant has left the waitlist, or its round has closed.
#[derive(Serialize)]
pub(crate) struct NoLongerWaitingBody<'a> {
    pub(crate) decision: &'a str,
    pub(crate) campaign: &'a str,
    pub(crate) round: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) waitlisted_at: String,
}

#[derive(Serialize)]
pub(crate) struct RefusalBody<'a> {
    #[serde(flatten)]
    pub(crate) problem: Details<'a>,
    pub(crate) decision: &'a str,
    pub(crate) campaign: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round: Option<&'a str>,
}

/// Problem details of RFC 9457.
#[derive(Serialize)]
pub(crate) struct Details<'a> {
    #[serde(rename = "type")]
    problem_type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<&'a str>,
}

impl<'a> Details<'a> {
    pub(crate) fn new(status: StatusCode, code: &'a str, detail: &'a str) -> Self {
        Self {
            problem_type: format!("urn:rushgate:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
            detail,
            field: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct CampaignsBody<'a> {
    pub(crate) campaigns: Vec<CampaignBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<&'a str>,
    pub(crate) next: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct CampaignBody<'a> {
    pub(crate) campaign: &'a str,
    pub(crate) state: &'static str,
    pub(crate) round: Option<RoundBody<'a>>,
    pub(crate) next_round: Option<NextRoundBody<'a>>,
    pub(crate) rules: RulesBody,
    pub(crate) server_time: String,
}

#[derive(Hash, Serialize)]
pub(crate) struct RoundBody<'a> {
    pub(crate) round: &'a str,
    pub(crate) opens_at: Option<String>,
    pub(crate) closes_at: Option<String>,
    pub(crate) quota: u32,
    // `None` where the campaign does not show counts.
    pub(crate) granted: Option<u32>,
    pub(crate) issued: Option<u32>,
    pub(crate) remaining: Option<u32>,
    pub(crate) waitlisted: Option<u32>,
    pub(crate) availability: Option<Availability>,
}

/// What a campaign tells that shows no counts.
#[derive(Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Availability {
    Many,
    /// At most a tenth of the quota.
    Few,
    None,
}

impl Availability {
    fn of(round: &RoundOverview) -> Self {
        match (round.remaining(), round.round.quota.get()) {
            (0, _) => Self::None,
            (remaining, quota) if remaining <= quota / 10 => Self::Few,
            _ => Self::Many,
        }
    }
}

#[derive(Hash, Serialize)]
pub(crate) struct RulesBody {
    one_per: &'static str,
    waitlist: u32,
    self_cancel: bool,
    show_remaining: &'static str,
}

#[derive(Hash, Serialize)]
pub(crate) struct NextRoundBody<'a> {
    pub(crate) round: &'a str,
    pub(crate) opens_at: String,
}

impl<'a> CampaignBody<'a> {
    pub(crate) fn new(campaign: &'a CampaignId, overview: &'a Overview) -> Self {
        Self {
            campaign: campaign.as_str(),
            state: overview.state.as_str(),
            round: overview
                .round
                .as_ref()
                .map(|current| RoundBody::new(current, overview.rules.show_remaining)),
            next_round: overview
                .next
                .as_ref()
                .map(|(round, opens_at)| NextRoundBody {
                    round: round.as_str(),
                    opens_at: opens_at.to_string(),
                }),
            rules: RulesBody {
                one_per: overview.rules.one_per.as_str(),
                waitlist: overview.rules.waitlist.get(),
                self_cancel: overview.rules.self_cancel,
                show_remaining: overview.rules.show_remaining.as_str(),
            },
            server_time: overview.now.to_string(),
        }
    }
}

impl<'a> RoundBody<'a> {
    fn new(current: &'a RoundOverview, show: ShowRemaining) -> Self {
        let count = |count| (show == ShowRemaining::Exact).then_some(count);
        Self {
            round: current.round.id.as_str(),
            opens_at: current.round.opens_at.map(|at| at.to_string()),
            closes_at: current.round.closes_at.map(|at| at.to_string()),
            quota: current.round.quota.get(),
            granted: count(current.granted),
            issued: count(current.issued),
            remaining: count(current.remaining()),
            waitlisted: count(current.waitlisted),
            availability: (show != ShowRemaining::Hidden).then(|| Availability::of(current)),
        }
    }
}
