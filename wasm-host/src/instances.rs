//! Decides how long an instance of the component lives and how many requests it takes. Wasmtime's `ProxyHandler` asks
//! for these limits; they are applied as in Spin.

use crate::guest::Guest;
use crate::state::State;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, ViewFn, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::p3::WasiHttpView;

/// How instances are reused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reuse {
    /// Requests in the life of an instance.
    pub(crate) requests: usize,
    /// Concurrent requests in an instance.
    pub(crate) concurrent_requests: usize,
    /// How long an idle instance is kept.
    pub(crate) idle_timeout: Duration,
    /// Time limit of a request.
    pub(crate) request_timeout: Option<Duration>,
}

pub(crate) struct Instances {
    guest: Guest,
    reuse: Reuse,
    stop: watch::Receiver<bool>,
}

impl Instances {
    /// After `stop`, the end of an instance is not logged.
    pub(crate) fn new(guest: Guest, reuse: Reuse, stop: watch::Receiver<bool>) -> Self {
        Self { guest, reuse, stop }
    }
}

impl HandlerState for Instances {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Worker>> {
        let (store, service) = self.guest.instantiate().await?;
        tracing::debug!("new instance");
        Ok(Instance {
            store,
            proxy: Proxy::P3(service),
            view: ViewFn::P3(State::http),
            expiration: Expiration {
                reuse: self.reuse,
                sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            },
            state: Worker {
                reuse: self.reuse,
                stop: self.stop.clone(),
            },
        })
    }
}

/// Decides when an instance ends.
pub(crate) struct Expiration {
    reuse: Reuse,
    sleep: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        let limit = match status {
            WorkerStatus::Idle => Some(self.reuse.idle_timeout),
            WorkerStatus::Requests | WorkerStatus::PostReturn => self.reuse.request_timeout,
        };
        let Some(deadline) = limit.and_then(|limit| since.checked_add(limit)) else {
            return Poll::Pending;
        };
        if self.sleep.deadline() != deadline.into() {
            self.sleep.as_mut().reset(deadline.into());
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// Decides which requests an instance takes.
pub(crate) struct Worker {
    reuse: Reuse,
    stop: watch::Receiver<bool>,
}

impl WorkerState for Worker {
    type StoreData = State;
    type RequestId = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse.requests {
            ShouldAccept::Never
        } else if concurrent >= self.reuse.concurrent_requests {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, State>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        match self.reuse.request_timeout {
            Some(timeout) => Box::pin(tokio::time::sleep(timeout)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn drop(&self, store: Store<State>, result: wasmtime::Result<()>) {
        drop(store);
        match result {
            // An instance that is cut off because the host stops has not failed.
            Err(error) if !*self.stop.borrow() => {
                tracing::error!("an instance failed, and its requests with it: {error:?}");
            }
            _ => tracing::debug!("an instance ended"),
        }
    }
}
