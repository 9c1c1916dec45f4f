//! How long instances live and how much they take on: Wasmtime's `ProxyHandler` asks, this answers as Spin does.

use crate::guest::{Guest, State};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, ViewFn, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::p3::WasiHttpView;

/// How instances are used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reuse {
    /// How many requests an instance gets in its life.
    pub(crate) requests: usize,
    /// How many of them at a time.
    pub(crate) concurrent_requests: usize,
    /// How long it is kept without a request.
    pub(crate) idle_timeout: Duration,
    /// How long a request may take, if there is a limit.
    pub(crate) request_timeout: Option<Duration>,
}

pub(crate) struct Instances {
    guest: Guest,
    reuse: Reuse,
    room: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Instances {
    /// Instances of a component, not more than `limit` at a time. From `stop` on their ends are no longer news.
    pub(crate) fn new(guest: Guest, reuse: Reuse, limit: u32, stop: watch::Receiver<bool>) -> Self {
        let room = Arc::new(Semaphore::new(limit as usize));
        Self {
            guest,
            reuse,
            room,
            stop,
        }
    }
}

impl HandlerState for Instances {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Worker>> {
        let room = Arc::clone(&self.room).acquire_owned().await?;
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
                _room: room,
            },
        })
    }
}

/// When an instance has lived long enough.
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

/// What an instance takes on.
pub(crate) struct Worker {
    reuse: Reuse,
    stop: watch::Receiver<bool>,
    // Given back when this is dropped, which is after the store is.
    _room: OwnedSemaphorePermit,
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
            // Instances that are still there when the host stops are cut off, which is not their fault.
            Err(error) if !*self.stop.borrow() => {
                tracing::error!("an instance failed, and with it the requests it had: {error:?}");
            }
            _ => tracing::debug!("end of an instance"),
        }
    }
}
