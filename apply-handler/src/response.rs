//! Turns each decision, each status of an applicant and each campaign overview into an HTTP response.
//!
//! Every response except 204 and 304 has a Content-Length. Without it, Spin sends the body in small writes, and these
//! wait for the client's delayed TCP acknowledgement (about 40 ms).

use crate::campaign_pages::Page;
use crate::problem::{Details, Problem};
use crate::response_body::{
    CampaignBody, CampaignsBody, GrantBody, RefusalBody, RevokedBody, WaitlistedBody,
};
use bytes::Bytes;
use rushgate_gate::apply::{Grant, TimedDecision};
use rushgate_gate::overview::Overview;
use rushgate_gate::{Applicant, CampaignId, Decision, Millis, RoundId, Waiting, status};
use serde::Serialize;
use spin_sdk::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Retry-After, in seconds, where an operator has to act first.
pub(crate) const RETRY_AFTER_PAUSE: RangeInclusive<i64> = 8..=12;

impl Response {
    /// Without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::empty(status)
        }
        .with("content-type", content_type)
    }

    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::body(status, "application/json", to_json(body))
    }

    /// RFC 9457 problem details.
    pub(crate) fn problem(status: StatusCode, body: &impl Serialize) -> Self {
        Self::body(status, "application/problem+json", to_json(body))
            .with("cache-control", "no-store")
    }

    /// The response to an application.
    pub fn decision(decided: &TimedDecision, campaign: &CampaignId, applicant: &Applicant) -> Self {
        let word = decided.decision.as_str();
        let response = match &decided.decision {
            Decision::Granted(grant) => {
                let path = format!("/v1/campaigns/{campaign}/applications/{applicant}");
                Self::granted(StatusCode::CREATED, word, campaign, applicant, grant)
                    .with_text("location", &path)
            }
            Decision::AlreadyGranted(grant) => {
                Self::granted(StatusCode::OK, word, campaign, applicant, grant)
            }
            Decision::Waitlisted(waiting) => {
                Self::waitlisted(StatusCode::ACCEPTED, campaign, applicant, waiting)
            }
            Decision::Revoked { round } => refused(
                StatusCode::GONE,
                word,
                campaign,
                Some(round.as_str()),
                "The coupon was revoked. This round cannot be won again.",
            ),
            Decision::SoldOut { round } => refused(
                StatusCode::GONE,
                word,
                campaign,
                Some(round.as_str()),
                "All coupons of this round have been granted.",
            ),
            Decision::NotOpen { round, opens_at } => {
                let detail = format!("The round opens at {opens_at}.");
                let wait = opens_at.get() - decided.now.get();
                refused(
                    StatusCode::CONFLICT,
                    word,
                    campaign,
                    Some(round.as_str()),
                    &detail,
                )
                .retry_after(wait.div_euclid(1_000) + 1)
            }
            Decision::Closed => refused(
                StatusCode::GONE,
                word,
                campaign,
                None,
                "The campaign has ended.",
            ),
            Decision::Paused => refused(
                StatusCode::SERVICE_UNAVAILABLE,
                word,
                campaign,
                None,
                "The campaign is paused.",
            )
            .retry_within(RETRY_AFTER_PAUSE),
            Decision::Halted => halted(campaign),
            Decision::UnknownCampaign => return Problem::CampaignNotFound.response(),
            Decision::UserIdNotNumeric => return Problem::UserIdNotNumeric.response(),
        };
        response
            .with("rushgate-decision", word)
            .with("cache-control", "no-store")
    }

    /// The response to a status request; `round` is the one in the request.
    pub fn status(
        status: &status::Status,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<RoundId>,
    ) -> Self {
        match status {
            status::Status::Granted(grant) => {
                Self::granted(StatusCode::OK, "granted", campaign, applicant, grant)
                    .with("cache-control", "no-store")
            }
            status::Status::Issued(grant) => {
                Self::granted(StatusCode::OK, "issued", campaign, applicant, grant)
                    .with("cache-control", "no-store")
            }
            status::Status::Waitlisted(waiting) => {
                Self::waitlisted(StatusCode::OK, campaign, applicant, waiting)
                    .with("cache-control", "no-store")
            }
            status::Status::Revoked { grant, revoked_at } => {
                let body = RevokedBody {
                    grant: GrantBody::new("revoked", campaign, applicant, grant),
                    revoked_at: revoked_at.to_string(),
                };
                Self::json(StatusCode::OK, &body).with("cache-control", "no-store")
            }
            status::Status::Halted => halted(campaign),
            status::Status::NotFound => Problem::ApplicationNotFound { round }.response(),
            status::Status::UnknownRound => Problem::RoundNotFound.response(),
            status::Status::UnknownCampaign => Problem::CampaignNotFound.response(),
        }
    }

    /// The overview of a campaign. Caches may share it for a second.
    pub fn overview(campaign: &CampaignId, overview: &Overview) -> Self {
        let body = CampaignBody::new(campaign, overview);
        Self::overviews(
            &body,
            etag_parts(campaign, overview),
            next_change_ms(overview),
        )
    }

    pub fn page(page: &Page) -> Self {
        let Page {
            campaigns,
            unreadable,
            next,
        } = page;
        let body = CampaignsBody {
            campaigns: campaigns
                .iter()
                .map(|(campaign, overview)| CampaignBody::new(campaign, overview))
                .collect(),
            unreadable: unreadable.iter().map(CampaignId::as_str).collect(),
            next: next.as_ref().map(CampaignId::as_str),
        };
        let parts: Vec<_> = campaigns
            .iter()
            .map(|(campaign, overview)| etag_parts(campaign, overview))
            .collect();
        let next_change_ms = campaigns
            .iter()
            .filter_map(|(_, overview)| next_change_ms(overview))
            .min();
        Self::overviews(&body, (parts, unreadable, next), next_change_ms)
    }

    /// The ETag is weak, because it covers everything but the server's time. `Age: 0` is sent so that a cache, when it
    /// refreshes a stored response after 304, does not keep the old age beside the new time.
    fn overviews(
        body: &impl Serialize,
        etag_parts: impl Hash,
        next_change_ms: Option<i64>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        etag_parts.hash(&mut hasher);
        // max-age is in whole seconds.
        let is_cacheable = next_change_ms.is_none_or(|millis| millis >= 1_000);
        Self::json(StatusCode::OK, body)
            .with(
                "cache-control",
                match is_cacheable {
                    true => "public, max-age=1",
                    false => "public, max-age=0",
                },
            )
            .with("age", "0")
            .with_text("etag", &format!("W/\"{:016x}\"", hasher.finish()))
    }

    /// Turns the response into 304 if the client has it already (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn not_modified_if_known(self, request: &HeaderMap) -> Self {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self
            .headers
            .get("etag")
            .and_then(|tag| tag.to_str().ok())
            .map(weak);
        let known = request
            .get_all("if-none-match")
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|tag| tag.trim() == "*" || Some(weak(tag)) == own);
        if !known {
            return self;
        }
        let mut headers = self.headers;
        headers.remove("content-type");
        Self {
            headers,
            ..Self::empty(StatusCode::NOT_MODIFIED)
        }
    }

    /// Adds Server-Timing with the time spent waiting for the gate; nothing if the gate was not asked.
    #[must_use]
    pub fn with_server_timing(self, gate: Option<Duration>) -> Self {
        match gate {
            None => self,
            Some(took) => self.with_text(
                "server-timing",
                &format!("gate;dur={:.1}", took.as_secs_f64() * 1e3),
            ),
        }
    }

    /// Adds the clock of Redis, if this instance knows it.
    #[must_use]
    pub fn with_time(self, now: Option<Millis>) -> Self {
        match now {
            None => self,
            Some(now) => self.with_text("rushgate-time", &now.get().to_string()),
        }
    }

    fn granted(
        status: StatusCode,
        word: &'static str,
        campaign: &CampaignId,
        applicant: &Applicant,
        grant: &Grant,
    ) -> Self {
        let body = GrantBody::new(word, campaign, applicant, grant);
        Self::json(status, &body).with_text("rushgate-serial", &grant.serial.to_string())
    }

    fn waitlisted(
        status: StatusCode,
        campaign: &CampaignId,
        applicant: &Applicant,
        waiting: &Waiting,
    ) -> Self {
        let body = WaitlistedBody {
            decision: "waitlisted",
            campaign: campaign.as_str(),
            round: waiting.round.as_str(),
            position: waiting.position,
            user_id: applicant.as_str(),
            waitlisted_at: waiting.since.to_string(),
        };
        Self::json(status, &body).with_text("rushgate-position", &waiting.position.to_string())
    }

    #[must_use]
    pub fn with(self, name: &'static str, value: &'static str) -> Self {
        self.insert(name, HeaderValue::from_static(value))
    }

    /// Adds a header whose value consists of ids and numbers.
    #[must_use]
    pub fn with_text(self, name: &'static str, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.insert(name, value),
            // Unreachable for ids and numbers.
            Err(_) => self,
        }
    }

    /// Adds Retry-After, at least 1 second.
    #[must_use]
    pub fn retry_after(self, seconds: i64) -> Self {
        self.with_text("retry-after", &seconds.max(1).to_string())
    }

    /// Adds Retry-After with a number of this range, from the digits of the clock, so that clients rejected together do
    /// not return together.
    pub(crate) fn retry_within(self, seconds: RangeInclusive<i64>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let chance = i64::from(now.map_or(0, |now| now.subsec_nanos()) / 1_000);
        let (first, last) = seconds.into_inner();
        self.retry_after(first + chance % (last - first + 1))
    }

    /// Removes the body, for `Prefer: return=minimal`.
    #[must_use]
    pub fn into_minimal(mut self) -> Self {
        self.body = Bytes::new();
        self.headers.remove("content-type");
        self.with("preference-applied", "return=minimal")
    }

    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Status, headers (with Content-Length) and body.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, Bytes) {
        let length = self.body.len();
        // RFC 9110, section 8.6: no Content-Length on 204; on 304 only that of the body that 200 would have.
        let response = match self.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => self,
            _ => self.insert("content-length", HeaderValue::from(length)),
        };
        (response.status, response.headers, response.body)
    }

    fn insert(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }
}

/// What the ETag covers.
fn etag_parts<'a>(campaign: &'a CampaignId, overview: &'a Overview) -> impl Hash + use<'a> {
    let Overview {
        state, round, next, ..
    } = overview;
    (campaign, state.as_str(), round, next)
}

/// Time until the next opening or closing of a round, in ms.
fn next_change_ms(overview: &Overview) -> Option<i64> {
    let opens_at = overview.next.as_ref().map(|(_, opens_at)| *opens_at);
    let current = overview.round.as_ref();
    let closes_at = current.and_then(|current| current.round.closes_at);
    let left = |at: Millis| at.get() - overview.now.get();
    let ahead = |left: &i64| *left > 0;
    [opens_at, closes_at]
        .into_iter()
        .flatten()
        .map(left)
        .filter(ahead)
        .min()
}

fn halted(campaign: &CampaignId) -> Response {
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        Decision::Halted.as_str(),
        campaign,
        None,
        "The campaign is halted until its grants are restored.",
    )
    .retry_within(RETRY_AFTER_PAUSE)
}

/// A refusal is a problem detail whose `code` is the decision.
fn refused(
    status: StatusCode,
    word: &'static str,
    campaign: &CampaignId,
    round: Option<&str>,
    detail: &str,
) -> Response {
    Response::problem(
        status,
        &RefusalBody {
            problem: Details::new(status, word, detail),
            decision: word,
            campaign: campaign.as_str(),
            round,
        },
    )
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers, so this cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::overview::RoundOverview;
    use rushgate_gate::{CampaignState, Quota, Round, RoundId};

    fn at(millis: i64) -> Millis {
        Millis::try_from(millis).expect("an instant")
    }

    /// An overview at 5,000 ms, with the closing time of the current round and the opening time of the next.
    fn overview_with(closes_at: Option<i64>, opens_at: Option<i64>) -> Overview {
        Overview {
            state: CampaignState::Running,
            round: Some(RoundOverview {
                round: Round {
                    id: RoundId::once(),
                    opens_at: None,
                    closes_at: closes_at.map(at),
                    quota: Quota::try_from(5_u32).expect("a quota"),
                },
                granted: 0,
                issued: 0,
                waitlisted: 0,
            }),
            next: opens_at.map(|millis| (RoundId::once(), at(millis))),
            now: at(5_000),
        }
    }

    fn header(response: &Response, name: &str) -> String {
        let value = response.headers.get(name).expect(name);
        value.to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn counts_are_cacheable_for_a_second_but_not_beyond_an_opening_or_closing() {
        let campaign: CampaignId = "welcome".parse().expect("an id");
        for (closes_at, opens_at, max_age) in [
            (None, None, 1),
            (Some(6_000), None, 1),
            (Some(5_999), None, 0),
            (None, Some(5_999), 0),
            (Some(9_000), Some(5_001), 0),
            (Some(5_000), Some(7_000), 1),
        ] {
            let overview = overview_with(closes_at, opens_at);
            let single = Response::overview(&campaign, &overview);
            let page = Response::page(&Page {
                campaigns: vec![
                    (campaign.clone(), overview_with(None, None)),
                    (campaign.clone(), overview),
                ],
                unreadable: vec![],
                next: None,
            });
            let expected = format!("public, max-age={max_age}");
            for response in [single, page] {
                let max_age_header = header(&response, "cache-control");
                assert_eq!(max_age_header, expected, "{closes_at:?} {opens_at:?}");
            }
        }
    }

    #[test]
    fn the_etag_covers_everything_but_the_time() {
        let campaign = |id: &str| -> CampaignId { id.parse().expect("an id") };
        let tag = |id: &str, overview: &Overview, next: Option<&str>| {
            let page = Response::page(&Page {
                campaigns: vec![(campaign(id), overview.clone())],
                unreadable: vec![],
                next: next.map(campaign),
            });
            header(&page, "etag")
        };
        let before = overview_with(None, Some(7_000));
        let after = Overview {
            now: at(6_000),
            ..before.clone()
        };
        assert_eq!(tag("a", &before, None), tag("a", &after, None));
        assert_ne!(tag("a", &before, None), tag("b", &before, None));
        assert_ne!(tag("a", &before, None), tag("a", &before, Some("a")));
        let other = overview_with(None, Some(7_001));
        assert_ne!(tag("a", &before, None), tag("a", &other, None));
    }
}
