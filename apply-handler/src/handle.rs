//! Handles one request: routing, authentication, caches, the call to the gate, and the response. Every request gets a
//! response; no request makes the Wasm instance trap (crash).

use crate::application_response;
use crate::campaign_pages;
use crate::campaign_response;
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

/// The web page, with style and script inline.
const PAGE: &str = include_str!("../../web/index.html");

const OPENAPI: &str = include_str!("../openapi.json");

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
    let gate = Gate::new(&settings.gate);
    let response = match respond(settings, &gate, &head, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            discard(&mut body).await;
            problem.response()
        }
    };
    let response = response.with_server_timing(gate.waited());
    let response = match clock::now() {
        Some(now) => response.with_text("rushgate-time", &now.get().to_string()),
        None => response,
    };
    settings.allowed_origins.share(&head.headers, response)
}

/// Logs that every request gets 500, and why: at the first request, then at the 10th, 100th and so on with the count.
fn log_misconfiguration(error: &InvalidVariable) {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    match REQUESTS.fetch_add(1, Ordering::Relaxed) + 1 {
        1 => eprintln!("{error}; until then every request gets 500"),
        count if is_power_of_ten(count) => {
            eprintln!("{error}; {count} requests got 500");
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
    // Checked first, because it does not depend on the ids in the path.
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
            Ok(campaign_response::page(&page).not_modified_if_known(&head.headers))
        }
        Resource::Campaign(campaign) => {
            if unknown_campaigns::contains(&campaign) {
                return Err(Problem::CampaignNotFound);
            }
            let Some(overview) = overview_cache::overview(gate, &campaign, FRESH).await? else {
                return Err(unknown_campaign(gate, &campaign).await?);
            };
            Ok(campaign_response::overview(&campaign, &overview)
                .not_modified_if_known(&head.headers))
        }
        Resource::Applications(campaign) => {
            apply(settings, gate, &head.headers, body, &campaign).await
        }
        Resource::Application(campaign, applicant) => {
            let known = settings.auth.applicant(&head.headers)?;
            if known.is_some_and(|known| known != applicant) {
                return Err(Problem::NotYourApplication);
            }
            // An invalid round id is reported like an unknown round.
            let round: Option<RoundId> = parameter(head, "round", Problem::RoundNotFound)?;
            if unknown_campaigns::contains(&campaign) {
                return Err(Problem::CampaignNotFound);
            }
            let call = status::call(&campaign, &applicant, round.as_ref());
            let status = gate.call(&call, status::status).await?;
            if status == Status::UnknownCampaign {
                return Err(unknown_campaign(gate, &campaign).await?);
            }
            Ok(application_response::status(
                &status, &campaign, &applicant, round,
            ))
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
                return Err(unknown_campaign(gate, campaign).await?);
            }
            refusal_cache::fill(&settings.gate, campaign, &decided.decision);
            decided
        }
    };
    let response = application_response::decision(&decided, campaign, &applicant);
    Ok(if response.is_success() && wants_minimal(headers) {
        response.into_minimal()
    } else {
        response
    })
}

/// The problem for a campaign that the gate does not know. "Not found" is certain only if Redis has been given all
/// campaigns, and this one is not among them.
async fn unknown_campaign(gate: &Gate<'_>, campaign: &CampaignId) -> Result<Problem, GateError> {
    Ok(match gate.may_have_lost(campaign).await? {
        true => Problem::BooksIncomplete,
        false => {
            unknown_campaigns::insert(campaign, gate.waited());
            Problem::CampaignNotFound
        }
    })
}

/// Parses the query parameter `name`; `wrong` is the problem for an invalid value.
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

/// Reads the whole body. Its type must be JSON, and its size at most [`MAX_BODY`].
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
    // A web page can send a body without a type to another origin without a preflight request, but not JSON.
    if content_type.is_none() && !read.is_empty() {
        return Err(Problem::UnsupportedMediaType);
    }
    Ok(read)
}

/// Reads and drops the rest of the body. If the connection were closed while the client is sending, the client would
/// see a broken pipe instead of the response. A client that sends nothing gets its response after 50 ms.
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

/// The result of `work`; `None` if it takes longer than `limit`. No timer is started for work that is ready at once.
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

/// Whether the client asked for a response without a body (RFC 7240).
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
