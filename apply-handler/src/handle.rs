//! Handles one request: routing, authentication, caches, the call to the gate, and the response. Every request gets a
//! response; no request makes the Wasm instance trap (crash).

use crate::application::Application;
use crate::body_reader;
use crate::campaign_pages;
use crate::campaign_response;
use crate::clock;
use crate::cors;
use crate::gate::Gate;
use crate::http_io::{Body, Head};
use crate::overview_cache::{self, FRESH};
use crate::problem::{InvalidUserId, Problem};
use crate::response::Response;
use crate::route::{Resource, Segments, takes};
use crate::settings::{InvalidVariable, Settings};
use crate::unknown_campaigns;
use crate::web_page;
use percent_encoding::percent_decode_str;
use spin_sdk::http::{Method, StatusCode};
use spin_sdk::wasip3::http::types::Request;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

const OPENAPI: &str = include_str!("../openapi.json");

pub async fn handle(request: Request) -> Response {
    let Ok(head) = Head::of(request) else {
        return Problem::MalformedRequest.response();
    };
    let mut body = Body::of(&head);
    let settings = match Settings::get().await {
        Ok(settings) => settings,
        Err(error) => {
            log_misconfiguration(&error);
            return Problem::Misconfigured.response();
        }
    };
    let gate = Gate::new(&settings.gate);
    let (response, time) = match respond(settings, &gate, &head, &mut body).await {
        Ok(response) => (response, gate.time()),
        Err(problem) => {
            body_reader::discard(&mut body).await;
            (problem.response(), None)
        }
    };
    let response = match gate.waited() {
        Some(waited) => response.with_server_timing(head.headers(), waited),
        None => response,
    };
    let response = match time.or_else(clock::now) {
        Some(now) => response.with_text("rushgate-time", now.get().to_string()),
        None => response,
    };
    settings.allowed_origins.share(|| head.headers(), response)
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
    head: &Head,
    body: &mut Body<'_>,
) -> Result<Response, Problem> {
    let path = Segments::of(head.path());
    let allow = path.allow();
    // Checked first, because it does not depend on the ids in the path.
    if !takes(allow, &head.method) {
        return match path.resource() {
            Err(Problem::NoSuchResource) => Err(Problem::NoSuchResource),
            _ => Err(Problem::MethodNotAllowed { allow }),
        };
    }
    let resource = path.resource().map_err(|problem| match problem {
        // The id in the path is invalid, and to be applied for.
        Problem::ApplicationNotFound { .. } if head.method == Method::PUT => {
            Problem::UserId(InvalidUserId::NotAllowed)
        }
        other => other,
    })?;
    if head.method == Method::OPTIONS {
        return Ok(cors::options(
            allow,
            &settings.allowed_headers,
            head.headers(),
        ));
    }
    let application = |campaign| Application {
        settings,
        gate,
        head,
        campaign,
    };
    match resource {
        Resource::Page => Ok(web_page::page(&settings.frame_ancestors, head.headers())),
        Resource::PageFile(file) => Ok(file.response()),
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
            Ok(shown(settings, head, campaign_response::page(&page)))
        }
        Resource::Campaign(campaign) => {
            if unknown_campaigns::contains(&campaign) {
                return Err(Problem::CampaignNotFound);
            }
            let Some(overview) = overview_cache::overview(gate, &campaign, FRESH).await? else {
                return Err(unknown_campaigns::problem(gate, &campaign).await?);
            };
            let response = campaign_response::overview(&campaign, &overview);
            Ok(shown(settings, head, response))
        }
        Resource::Applications(campaign) => application(campaign).post(body).await,
        Resource::Application(campaign, named) if head.method == Method::PUT => {
            application(campaign).put(named, body).await
        }
        Resource::Application(campaign, named) => {
            // An invalid round id is reported like an unknown round.
            let round = parameter(head, "round", Problem::RoundNotFound)?;
            match head.method {
                Method::DELETE => application(campaign).delete(named, round).await,
                _ => application(campaign).get(named, round).await,
            }
        }
    }
}

/// Parses the query parameter `name`; `wrong` is the problem for an invalid value.
fn parameter<T: FromStr>(head: &Head, name: &str, wrong: Problem) -> Result<Option<T>, Problem> {
    head.query()
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .map(|value| {
            let value = percent_decode_str(value).decode_utf8();
            value.ok().and_then(|value| value.parse().ok()).ok_or(wrong)
        })
        .transpose()
}

/// A response about campaigns: 304 if the client has it, and how the service knows applicants, so that a page can apply.
fn shown(settings: &Settings, head: &Head, response: Response) -> Response {
    response
        .with("rushgate-identities", settings.auth.as_str())
        .not_modified_if_known(head.headers())
}

fn openapi() -> Response {
    Response::body(StatusCode::OK, "application/json", OPENAPI)
        .with("cache-control", "public, max-age=60")
}
