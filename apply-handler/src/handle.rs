//! From request to answer.

use crate::auth::TokenError;
use crate::campaign_pages;
use crate::clock;
use crate::cors;
use crate::gate::{Gate, GateError};
use crate::http_io::{self, Body};
use crate::overview_cache::{self, FRESH};
use crate::problem::Problem;
use crate::refusal_cache;
use crate::request_body::{MAX_BODY, is_json, optional_applicant, required_applicant};
use crate::response::Response;
use crate::route::{Resource, takes};
use crate::settings::{InvalidVariable, Settings};
use crate::unknown_campaigns;
use futures::future::{Either, select};
use futures::poll;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use rushgate_gate::status::Status;
use rushgate_gate::{CampaignId, Decision, RoundId, apply, status};
use spin_sdk::http::{HeaderMap, Method, StatusCode};
use spin_sdk::wasip3::http::types::Request;
use std::pin::pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The page, with its style and script in it.
const PAGE: &str = include_str!("../../web/index.html");

/// What this API is, for programs: OpenAPI 3.1.
const OPENAPI: &str = include_str!("../openapi.json");

/// Answers one request.
pub async fn handle(request: Request) -> Response {
    let Ok(head) = http_io::head(&request) else {
        return Problem::MalformedRequest.response();
    };
    let Ok(mut body) = Body::new(request, &head.headers) else {
        return Problem::MalformedRequest.response();
    };
    let settings = match Settings::get().await {
        Ok(settings) => settings,
        Err(error) => {
            log_misconfiguration(&error);
            return Problem::Misconfigured.response();
        }
    };
    let gate = Gate::new(settings);
    let response = match respond(settings, &gate, &head, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            discard(&mut body).await;
            problem.response()
        }
    };
    let response = response.timed(gate.waited()).at(clock::now());
    settings.allowed_origins.share(&head.headers, response)
}

/// Says that nothing can be answered, and why: once, and then how often that was, in steps of ten times as many.
fn log_misconfiguration(error: &InvalidVariable) {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    match REQUESTS.fetch_add(1, Ordering::Relaxed) + 1 {
        1 => eprintln!("{error}; until then every request is answered with 500"),
        count if is_power_of_ten(count) => {
            eprintln!("{error}; {count} requests were answered with 500");
        }
        _ => {}
    }
}

fn is_power_of_ten(count: u64) -> bool {
    count
        .checked_ilog10()
        .is_some_and(|digits| count == 10_u64.pow(digits))
}

async fn respond(
    settings: &'static Settings,
    gate: &Gate<'_>,
    head: &Parts,
    body: &mut Body,
) -> Result<Response, Problem> {
    let path = head.uri.path();
    let allow = Resource::allow(path);
    // First, because whether a method makes sense does not depend on who is meant.
    if !takes(allow, &head.method) {
        return match Resource::at(path) {
            Err(Problem::NoSuchResource) => Err(Problem::NoSuchResource),
            _ => Err(Problem::MethodNotAllowed { allow }),
        };
    }
    let resource = Resource::at(path)?;
    if head.method == Method::OPTIONS {
        return Ok(cors::options(
            allow,
            &settings.allowed_headers,
            &head.headers,
        ));
    }
    match resource {
        Resource::Page => Ok(page()),
        Resource::Health => Ok(Response::empty(StatusCode::OK)),
        Resource::Readiness => {
            gate.ping().await?;
            Ok(Response::empty(StatusCode::OK))
        }
        Resource::OpenApi => Ok(openapi()),
        Resource::Campaigns => {
            let after = parameter(head, "after", Problem::InvalidAfter)?;
            let page = campaign_pages::page(gate, after.as_ref()).await?;
            let page = page.ok_or(Problem::BooksIncomplete)?;
            Ok(Response::page(&page).unless_known(&head.headers))
        }
        Resource::Campaign(campaign) => {
            if unknown_campaigns::contains(&campaign) {
                return Err(Problem::CampaignNotFound);
            }
            let Some(overview) = overview_cache::overview(gate, &campaign, FRESH).await? else {
                return Err(unknown(gate, &campaign).await?);
            };
            Ok(Response::overview(&campaign, &overview).unless_known(&head.headers))
        }
        Resource::Applications(campaign) => {
            apply(settings, gate, &head.headers, body, &campaign).await
        }
        Resource::Application(campaign, applicant) => {
            let known = settings.auth.applicant(&head.headers)?;
            if known.is_some_and(|known| known != applicant) {
                return Err(Problem::NotYourApplication);
            }
            // A round that no campaign can have is as unknown as one that there is not.
            let round: Option<RoundId> = parameter(head, "round", Problem::RoundNotFound)?;
            if unknown_campaigns::contains(&campaign) {
                return Err(Problem::CampaignNotFound);
            }
            let call = status::call(&campaign, &applicant, round.as_ref());
            let status = gate.call(&call, status::status).await?;
            if status == Status::UnknownCampaign {
                return Err(unknown(gate, &campaign).await?);
            }
            Ok(Response::status(&status, &campaign, &applicant, round))
        }
    }
}

async fn apply(
    settings: &'static Settings,
    gate: &Gate<'_>,
    headers: &HeaderMap,
    body: &mut Body,
    campaign: &CampaignId,
) -> Result<Response, Problem> {
    let known = settings.auth.applicant(headers)?;
    let body = within(settings.body_timeout, read(headers, body))
        .await
        .unwrap_or(Err(Problem::BodyTimeout))?;
    let applicant = match known {
        None => required_applicant(&body)?,
        Some(known) => match optional_applicant(&body)? {
            Some(named) if named != known => return Err(Problem::NotYourApplication),
            _ => known,
        },
    };
    let decided = match refusal_cache::get(campaign, &applicant) {
        Some(refused) => refused,
        None if unknown_campaigns::contains(campaign) => return Err(Problem::CampaignNotFound),
        None => {
            let call = apply::call(campaign, &applicant);
            let decided = gate.call(&call, apply::decision).await?;
            if decided.decision == Decision::UnknownCampaign {
                return Err(unknown(gate, campaign).await?);
            }
            refusal_cache::fill(settings, campaign, &decided.decision);
            decided
        }
    };
    let response = Response::decision(&decided, campaign, &applicant);
    Ok(if response.is_success() && wants_minimal(headers) {
        response.minimal()
    } else {
        response
    })
}

/// What is wrong with a campaign that the gate does not know. That there is none is certain only where Redis has been told
/// of all that there are, and this one is not among them.
async fn unknown(gate: &Gate<'_>, campaign: &CampaignId) -> Result<Problem, GateError> {
    Ok(match gate.may_have_lost(campaign).await? {
        true => Problem::BooksIncomplete,
        false => {
            unknown_campaigns::insert(gate, campaign);
            Problem::CampaignNotFound
        }
    })
}

/// What the parameter `name` of the query says; `wrong`, if it cannot be that.
fn parameter<T: FromStr>(head: &Parts, name: &str, wrong: Problem) -> Result<Option<T>, Problem> {
    let query = head.uri.query().unwrap_or_default();
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .map(|value| {
            let value = percent_decode_str(value).decode_utf8();
            value.ok().and_then(|value| value.parse().ok()).ok_or(wrong)
        })
        .transpose()
}

fn page() -> Response {
    Response::body(StatusCode::OK, "text/html; charset=utf-8", PAGE)
        .with("cache-control", "public, max-age=60")
        .with(
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        )
}

fn openapi() -> Response {
    Response::body(StatusCode::OK, "application/json", OPENAPI)
        .with("cache-control", "public, max-age=60")
}

/// The whole body, if it is said to be JSON and is short enough.
async fn read(headers: &HeaderMap, body: &mut Body) -> Result<Vec<u8>, Problem> {
    let content_type = headers.get("content-type");
    if content_type.is_some_and(|value| !is_json(value.as_bytes())) {
        return Err(Problem::UnsupportedMediaType);
    }
    let is_too_large = |length: u64| length > MAX_BODY as u64;
    if body.announced().is_some_and(is_too_large) {
        return Err(Problem::BodyTooLarge);
    }
    let mut read = Vec::new();
    while let Some(piece) = body.next().await.map_err(|_| Problem::IncompleteBody)? {
        read.extend(piece);
        if is_too_large(read.len() as u64) {
            return Err(Problem::BodyTooLarge);
        }
    }
    // A page cannot send JSON to another origin without asking first; one without a type it can.
    if content_type.is_none() && !read.is_empty() {
        return Err(Problem::UnsupportedMediaType);
    }
    Ok(read)
}

/// Takes in what a client is still sending, because one whose connection is closed while it sends sees a broken pipe and
/// not the answer. A client that sends nothing does not hold up its answer.
async fn discard(body: &mut Body) {
    const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_TIME: Duration = Duration::from_secs(1);
    const MAX_SILENCE: Duration = Duration::from_millis(50);
    let (begun, mut discarded) = (Instant::now(), 0);
    while discarded < MAX_BYTES && begun.elapsed() < MAX_TIME {
        match within(MAX_SILENCE, body.next()).await {
            Some(Ok(Some(piece))) => discarded += piece.len(),
            _ => return,
        }
    }
}

/// What `work` comes to, unless it takes longer than `limit`. The clock is not asked for what is ready at once.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll!(&mut work) {
        return Some(done);
    }
    match select(work, pin!(spin_sdk::time::sleep(limit))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}

/// RFC 7240: whether the client asked for an answer without a body.
fn wants_minimal(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| {
            preference
                .split(';')
                .next()
                .is_some_and(|preference| preference.trim().eq_ignore_ascii_case("return=minimal"))
        })
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<GateError> for Problem {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Behind(_) => Self::Overloaded,
            _ => Self::GateUnavailable,
        }
    }
}
