//! Passes requests from the listener to the component, and responses back, as Spin does: without a limit of its own.
//!
//! Every connection is accepted, and every request goes to the component. When no more instances can start, the
//! response is 500. A request without a valid Host closes its connection, and a connection that cannot be accepted ends
//! the host. `TCP_NODELAY` is not set, because Spin does not set it.

use crate::instances::Instances;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wasmtime_wasi_http::handler::{ErrorCode, ProxyHandler};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as HttpErrorCode;

/// How long requests in flight may take after the host stops.
const GRACE: Duration = Duration::from_secs(5);

/// Paths that Spin answers itself.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// Serves until `stop` becomes true, and then until the requests in flight are answered, for at most five seconds.
///
/// # Errors
/// When a connection cannot be accepted, for example because no file descriptor is left.
pub(crate) async fn serve(
    listener: TcpListener,
    instances: Instances,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let handler = ProxyHandler::new(instances);
    // Each connection holds a sender: when the last one is dropped, the receiver ends.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(stop.clone()) => break,
        };
        let (stream, client) = accepted.context("accepting a connection")?;
        let open = open.clone();
        let connection = connection(handler.clone(), stream, client, stop.clone());
        tokio::spawn(async move {
            connection.await;
            drop(open);
        });
    }
    drop((listener, open));
    if timeout(GRACE, all_closed.recv()).await.is_err() {
        tracing::warn!("requests in flight did not finish within {GRACE:?} and are cut off");
    }
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // This fails only when the sender is gone, so the host cannot be stopped any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    handler: ProxyHandler<Instances>,
    stream: TcpStream,
    client: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    let service = service_fn(|request| answer(&handler, request, client));
    let mut connection =
        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("a connection failed: {error:?}");
    }
}

/// # Errors
/// When the request has no valid Host. The connection is closed then.
async fn answer(
    handler: &ProxyHandler<Instances>,
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Response<ResponseBody>> {
    match request.uri().path().strip_prefix(WELL_KNOWN) {
        Some("health") => return Ok(response(StatusCode::OK, "OK")),
        Some(_) => return Ok(response(StatusCode::NOT_FOUND, "")),
        None => {}
    }
    let request = for_component(request, client)?;
    Ok(handler.handle((), request).await.unwrap_or_else(|error| {
        tracing::error!("a request failed: {error:#}");
        response(StatusCode::INTERNAL_SERVER_ERROR, "")
    }))
}

/// A request as Spin passes it on: with an absolute URI, and headers about its origin.
fn for_component(
    request: Request<Incoming>,
    client: SocketAddr,
) -> Result<Request<UnsyncBoxBody<Bytes, ErrorCode>>> {
    const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
    const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");
    const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
    const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
    const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
    const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
    const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
    const ROUTE: HeaderValue = HeaderValue::from_static(crate::manifest::ROUTE);

    let (mut head, body) = request.into_parts();
    let authority: Authority = match (head.headers.get(HOST), head.uri.authority()) {
        (Some(host), _) => host
            .as_bytes()
            .try_into()
            .context("the header Host is not host[:port]")?,
        (None, Some(authority)) => authority.clone(),
        (None, None) => anyhow::bail!("the header Host is missing"),
    };
    let path = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    head.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path)
        .build()
        .context("the URI is not valid")?;

    head.headers.remove(CONNECTION);
    head.headers
        .insert(BASE_PATH, HeaderValue::from_static("/"));
    head.headers
        .insert(CLIENT_ADDR, HeaderValue::try_from(client.to_string())?);
    head.headers
        .insert(COMPONENT_ROUTE, HeaderValue::from_static(""));
    head.headers
        .insert(FULL_URL, HeaderValue::try_from(head.uri.to_string())?);
    head.headers.insert(MATCHED_ROUTE, ROUTE);
    head.headers
        .insert(PATH_INFO, HeaderValue::try_from(head.uri.path())?);
    head.headers.insert(RAW_COMPONENT_ROUTE, ROUTE);

    let body = body.map_err(|_| ErrorCode::P3(HttpErrorCode::HttpProtocolError));
    Ok(Request::from_parts(head, body.boxed_unsync()))
}

type ResponseBody = UnsyncBoxBody<Bytes, wasmtime::Error>;

/// A response of the host itself.
fn response(status: StatusCode, body: &'static str) -> Response<ResponseBody> {
    let body = Full::from(body).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
