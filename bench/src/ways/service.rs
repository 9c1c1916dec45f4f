//! Runs the HTTP server, which is the same for every way.

use super::{Decide, Decision};
use crate::say;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Application<'a> {
    user_id: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    decision: Decision,
    campaign: &'a str,
    user_id: &'a str,
}

/// Serves applications until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    way: impl Decide,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/v1/campaigns/{campaign}/applications", post(apply))
        .route("/readyz", get(async || "ready"))
        .with_state(Arc::new(way));
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            say::note(format_args!("TCP_NODELAY cannot be set: {error}"));
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn apply<W: Decide>(
    State(way): State<Arc<W>>,
    Path(campaign): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(Application { user_id }) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match way.apply(&campaign, user_id).await {
        Ok(decision) => {
            let answer = Body {
                decision,
                campaign: &campaign,
                user_id,
            };
            let json = [(header::CONTENT_TYPE, "application/json")];
            let text = serde_json::to_vec(&answer).unwrap_or_default();
            (status(decision), json, text).into_response()
        }
        Err(error) => {
            say::note(format_args!("an application failed: {error:#}"));
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn status(decision: Decision) -> StatusCode {
    match decision {
        Decision::Granted => StatusCode::CREATED,
        Decision::AlreadyGranted => StatusCode::OK,
        Decision::AlreadyApplied => StatusCode::CONFLICT,
        Decision::SoldOut => StatusCode::GONE,
    }
}
