//! The endpoint `POST /v1/campaigns/{campaign}/applications` as a native service: axum, one multiplexed connection to
//! Redis, the same script, the same JSON and the same timeout. The comparison with it shows what WebAssembly and its
//! host cost.

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use rushgate_gate::apply::{self, TimedDecision};
use rushgate_gate::script::Eval;
use rushgate_gate::{Applicant, Call, CampaignId, Decision, Value};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::net::TcpListener;

/// As in `spin.toml`.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Largest request body, in bytes.
const LARGEST_BODY: usize = 4 * 1024;

#[derive(Deserialize)]
struct Application<'a> {
    #[serde(borrow)]
    user_id: UserId<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UserId<'a> {
    Text(&'a str),
    Number(u64),
}

#[derive(Serialize)]
struct Grant<'a> {
    decision: &'a str,
    campaign: &'a str,
    round: &'a str,
    serial: u32,
    user_id: &'a str,
    granted_at: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
}

/// Serves until the process ends.
///
/// # Errors
/// When Redis does not answer or the address cannot be used.
pub async fn serve(listener: TcpListener, redis_url: &str) -> Result<()> {
    let client = redis::Client::open(redis_url).context("REDIS_URL")?;
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .context("cannot use Redis")?;
    let router = Router::new()
        .route("/v1/campaigns/{campaign}/applications", post(application))
        .route("/readyz", get(async || ""))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(redis);
    axum::serve(listener, router).await.context("serving")
}

async fn application(
    State(redis): State<MultiplexedConnection>,
    Path(campaign): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match decided(redis, &campaign, &headers, &body).await {
        Ok((decided, campaign, applicant)) => {
            let minimal = headers
                .get("prefer")
                .is_some_and(|prefer| prefer == "return=minimal");
            answer(&decided, &campaign, &applicant, minimal)
        }
        Err((status, code)) => problem(status, code, "", None, None),
    }
}

async fn decided(
    redis: MultiplexedConnection,
    campaign: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(TimedDecision, CampaignId, Applicant), (StatusCode, &'static str)> {
    let campaign: CampaignId = campaign
        .parse()
        .map_err(|_| (StatusCode::NOT_FOUND, "campaign_not_found"))?;
    let json = headers.get(header::CONTENT_TYPE);
    if json.is_none_or(|json| !json.as_bytes().starts_with(b"application/json")) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"));
    }
    let application: Application =
        serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "invalid_json"))?;
    let applicant = match application.user_id {
        UserId::Text(text) => text.parse().ok(),
        UserId::Number(number) => Applicant::from_number(number),
    };
    let applicant = applicant.ok_or((StatusCode::UNPROCESSABLE_ENTITY, "invalid_user_id"))?;
    let reply = eval(redis, &apply::call(&campaign, &applicant)).await;
    let reply = reply.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "gate_unavailable"))?;
    let decided = apply::decision(&reply)
        .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "gate_unavailable"))?;
    Ok((decided, campaign, applicant))
}

/// By SHA-1; by source if the server does not have the script.
async fn eval(mut redis: MultiplexedConnection, call: &Call) -> redis::RedisResult<Vec<Value>> {
    match call.command(Eval::BySha).query_async(&mut redis).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            call.command(Eval::BySource).query_async(&mut redis).await
        }
        reply => reply,
    }
}

fn answer(
    decided: &TimedDecision,
    campaign: &CampaignId,
    applicant: &Applicant,
    minimal: bool,
) -> Response {
    let word = decided.decision.as_str();
    let (status, grant) = match &decided.decision {
        Decision::Granted(grant) => (StatusCode::CREATED, grant),
        Decision::AlreadyGranted(grant) => (StatusCode::OK, grant),
        Decision::SoldOut { .. } => {
            let detail = "All coupons of this round have been granted.";
            return problem(StatusCode::GONE, word, detail, Some(word), Some(campaign));
        }
        _ => return problem(StatusCode::CONFLICT, word, "", Some(word), Some(campaign)),
    };
    let body = if minimal {
        vec![]
    } else {
        let grant = Grant {
            decision: word,
            campaign: campaign.as_str(),
            round: grant.round.as_str(),
            serial: grant.serial.get(),
            user_id: applicant.as_str(),
            granted_at: grant.at.to_string(),
        };
        serde_json::to_vec(&grant).unwrap_or_default()
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if minimal {
        let minimal = HeaderValue::from_static("return=minimal");
        headers.insert("preference-applied", minimal);
    } else {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    headers.insert("rushgate-serial", HeaderValue::from(grant.serial.get()));
    headers.insert("rushgate-decision", HeaderValue::from_static(word));
    let location = format!("/v1/campaigns/{campaign}/applications/{applicant}");
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}

fn problem(
    status: StatusCode,
    code: &'static str,
    detail: &str,
    decision: Option<&'static str>,
    campaign: Option<&CampaignId>,
) -> Response {
    let problem = Problem {
        kind: format!("urn:rushgate:problem:{code}"),
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code,
        detail,
        decision,
        campaign: campaign.map(CampaignId::as_str),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(word) = decision {
        headers.insert("rushgate-decision", HeaderValue::from_static(word));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
