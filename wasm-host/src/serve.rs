//! Passes requests from the listener to the component, and responses back.
//!
//! Spin accepts every request, starts instances until it reaches its limit, and then fails; in production, a reverse
//! proxy in front of it limits the load. Here the [`Limits`] do the same: they bound the requests in the component and
//! the open connections, and a request that waits too long gets 503 and Retry-After. `TCP_NODELAY` is not set, because
//! Spin does not set it.

use crate::instances::Instances;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use wasmtime_wasi_http::handler::{ErrorCode, ProxyHandler};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as HttpErrorCode;

/// How long requests in flight may take after the host stops.
const GRACE: Duration = Duration::from_secs(5);

/// The body of a 503, with the words of the component.
const OVERLOADED: &str = r#"{"type":"urn:rushgate:problem:overloaded","title":"Service Unavailable","status":503,"code":"overloaded","detail":"The server cannot take more requests at the moment. The request was not queued. Send it again after Retry-After."}"#;

/// Bounds on concurrent work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests in the component, from the first byte of the body to the last byte of the response.
    pub(crate) requests: u32,
    /// Requests that wait for one of these to end; further requests are refused at once.
    pub(crate) waiting: u32,
    pub(crate) queue_timeout: Duration,
    /// Open connections; beyond this limit none is accepted.
    pub(crate) connections: u32,
}

/// Paths that Spin answers itself.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// Serves until `stop` becomes true, and then until the requests in flight are answered, for at most five seconds.
pub(crate) async fn serve(
    listener: TcpListener,
    instances: Instances,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    let server = Arc::new(Server {
        handler: ProxyHandler::new(instances),
        requests: Arc::new(Semaphore::new(limits.requests as usize)),
        waiting: Semaphore::new(limits.waiting as usize),
        queue_timeout: limits.queue_timeout,
    });
    let connections = Arc::new(Semaphore::new(limits.connections as usize));
    // Each connection holds a sender: when the last one is dropped, the receiver ends.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stopped(stop.clone()) => break,
        };
        match accepted {
            Ok((stream, client, place)) => {
                let connection =
                    Arc::clone(&server).connection(stream, client, stop.clone(), open.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                // Most likely no file descriptors are left; only time helps.
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop((listener, open));
    if timeout(GRACE, all_closed.recv()).await.is_err() {
        tracing::warn!("requests in flight did not finish within {GRACE:?} and are cut off");
    }
}

/// Accepts a connection once one is allowed.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(connections).acquire_owned().await;
    let place = place.map_err(io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    Ok((stream, client, place))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // This fails only when the sender is gone, so the host cannot be stopped any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Server {
    handler: ProxyHandler<Instances>,
    requests: Arc<Semaphore>,
    waiting: Semaphore,
    queue_timeout: Duration,
}

impl Server {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        stop: watch::Receiver<bool>,
        _open: mpsc::Sender<Infallible>,
    ) {
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(self.answer(request, client).await.unwrap_or_else(|error| {
                tracing::error!("a request failed: {error:#}");
                status(StatusCode::INTERNAL_SERVER_ERROR)
            }))
        });
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
            tracing::debug!("a connection failed: {error}");
        }
    }

    /// A permit for the component, if one becomes free in time.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let requests = Arc::clone(&self.requests);
        // Tokio's semaphore is fair: a permit goes to the request that has waited longest, so none overtakes.
        if let Ok(place) = Arc::clone(&requests).try_acquire_owned() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        let place = timeout(self.queue_timeout, requests.acquire_owned()).await;
        place.ok()?.ok()
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<ResponseBody>> {
        match request.uri().path().strip_prefix(WELL_KNOWN) {
            Some("health") => return Ok(Response::new(ResponseBody::from_host(Full::from("OK")))),
            Some(_) => return Ok(status(StatusCode::NOT_FOUND)),
            None => {}
        }
        let request = match for_component(request, client) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!("a bad request: {error:#}");
                return Ok(status(StatusCode::BAD_REQUEST));
            }
        };
        let Some(place) = self.place().await else {
            return Ok(overloaded());
        };
        let response = self.handler.handle((), request).await?;
        Ok(response.map(|body| ResponseBody {
            body,
            _place: Some(place),
        }))
    }
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

fn overloaded() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from_host(Full::from(OVERLOADED)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}

fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from_host(Empty::new()));
    *response.status_mut() = status;
    response
}

/// A response body. The request counts as in flight until the body is sent.
struct ResponseBody {
    body: UnsyncBoxBody<Bytes, wasmtime::Error>,
    _place: Option<OwnedSemaphorePermit>,
}

impl ResponseBody {
    fn from_host(body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Self {
        Self {
            body: body.map_err(|never| match never {}).boxed_unsync(),
            _place: None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = wasmtime::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<wasmtime::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
