//! The host's data for one instance of the component: the values that it may read, and what WASI needs.

use crate::allowed_hosts::AllowedHosts;
use crate::variables::ComponentVariables;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{TrappableError, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{RequestOptions, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

/// Open connections to Redis of an instance, as in Spin.
const MAX_CONNECTIONS: usize = 1024;

pub(crate) struct State {
    pub(crate) variables: Arc<ComponentVariables>,
    pub(crate) allowed_hosts: Arc<AllowedHosts>,
    pub(crate) connections: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutgoingHttp,
}

impl State {
    pub(crate) fn new(
        variables: Arc<ComponentVariables>,
        allowed_hosts: Arc<AllowedHosts>,
    ) -> Self {
        let mut connections = ResourceTable::new();
        connections.set_max_capacity(MAX_CONNECTIONS);
        Self {
            variables,
            allowed_hosts,
            connections,
            // The component's output goes to the terminal of the operator.
            wasi: WasiCtx::builder()
                .stdout(tokio::io::stderr())
                .stderr(tokio::io::stderr())
                .build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutgoingHttp,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// Required, and never called: `wasi:http/client` cannot be imported.
struct NoOutgoingHttp;

type Completion = Box<dyn Future<Output = Result<(), ErrorCode>> + Send>;
type Sent = (hyper::Response<UnsyncBoxBody<Bytes, ErrorCode>>, Completion);

impl WasiHttpHooks for NoOutgoingHttp {
    fn send_request(
        &mut self,
        _: hyper::Request<UnsyncBoxBody<Bytes, ErrorCode>>,
        _: Option<RequestOptions>,
        _: Completion,
    ) -> Box<dyn Future<Output = Result<Sent, TrappableError<ErrorCode>>> + Send> {
        Box::new(async { Err(ErrorCode::HttpRequestDenied.into()) })
    }
}
