//! The client of the gate. It calls the gate's Lua scripts over one Redis connection, which all requests of a handler
//! instance share, and returns what the gate says as values of the `gate` crate.
//!
//! Each call has a timeout. A call that gets no reply is repeated once on a new connection. This is safe: if the first
//! call decided the application, the second one gets the same decision. If Redis replies with an error, the caller gets
//! that error and the call is not repeated. The exception is NOSCRIPT: then the source of the script is sent.

mod commands;
mod connection;
mod error;

pub use crate::load_shedding::GateLimits;
pub use error::GateError;

use crate::clock;
use crate::load_shedding::{Admission, LoadShedder};
use futures::future::{Either, select};
use futures::lock::{Mutex, MutexGuard};
use rushgate_gate::{Call, CampaignId, ReplyError, Value, script};
use spin_sdk::redis::{Connection, Error};
use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Where the gate is, and how long a call may take.
#[derive(Clone)]
pub struct GateSettings {
    /// URL of Redis with credentials, so this type has no `Debug`.
    pub address: String,
    /// Time limits of calls, connecting included (1 ms to 60 s).
    pub limits: GateLimits,
}

/// Why the last call failed: the advice, empty if there is none. An outage is logged once, not for each request, and again
/// if its cause changes.
static PROBLEM: RwLock<Option<String>> = RwLock::new(None);

/// Whether a missing right has been logged. It is logged once per instance; other calls may work.
static DENIAL_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether an overload has been logged. It is logged once per instance.
static OVERLOAD_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether a possible loss has been logged. It is logged once per instance.
static LOSS_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether an unreadable campaign has been logged. It is logged once per instance; other campaigns are not affected.
static UNREADABLE_LOGGED: AtomicBool = AtomicBool::new(false);

static LOAD_SHEDDER: LoadShedder = LoadShedder::new();

/// The gate for one request. It measures how long the request waits for the gate.
pub struct Gate<'a> {
    settings: &'a GateSettings,
    waited: Cell<Option<Duration>>,
}

impl<'a> Gate<'a> {
    pub fn new(settings: &'a GateSettings) -> Self {
        Self {
            settings,
            waited: Cell::new(None),
        }
    }

    /// How long the request waited for the gate; `None` if it made no call.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.get()
    }

    /// Runs a script and decodes its reply with `read`.
    ///
    /// # Errors
    /// When the gate is overloaded, Redis does not reply in time or replies with an error, or the reply is invalid. The
    /// error is already logged.
    pub async fn call<T>(
        &self,
        call: &Call,
        read: impl FnOnce(&[Value]) -> Result<T, ReplyError>,
    ) -> Result<T, GateError> {
        let result = async {
            let _admission = self.admit()?;
            let reply = self
                .within(async |connection| commands::eval(connection, call).await)
                .await?;
            if let Some(now) = script::clock(&reply) {
                clock::record(now);
            }
            Ok(read(&reply)?)
        };
        let result = result.await;
        log_change(&result);
        result
    }

    /// At most `most` ids of campaigns in alphabetical order, starting after `after` or with the first.
    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn campaign_names(
        &self,
        after: Option<&CampaignId>,
        most: usize,
    ) -> Result<Vec<String>, GateError> {
        let result = async {
            let _admission = self.admit()?;
            self.within(async |connection| commands::campaign_names(connection, after, most).await)
                .await
        };
        let result = result.await;
        log_change(&result);
        result
    }

    /// Waits for a lock that lets one request at a time ask the same question; at most for the timeout of a call.
    ///
    /// # Errors
    /// When the timeout passes, because the gate does not answer the requests that hold the lock.
    pub async fn lock_query<'t>(
        &self,
        lock: &'t Mutex<()>,
    ) -> Result<MutexGuard<'t, ()>, GateError> {
        let begun = Instant::now();
        let timeout = self.settings.limits.timeout;
        let guard = match select(lock.lock(), pin!(spin_sdk::time::sleep(timeout))).await {
            Either::Left((guard, _)) => Ok(guard),
            Either::Right(((), _)) => Err(GateError::TimedOut(timeout)),
        };
        self.note_waiting(begun);
        guard
    }

    /// Checks that a request with several calls, `begun` at that time, is still within the timeout of one call.
    ///
    /// # Errors
    /// When the timeout has passed.
    pub fn check_deadline(&self, begun: Instant) -> Result<(), GateError> {
        let timeout = self.settings.limits.timeout;
        if begun.elapsed() < timeout {
            Ok(())
        } else {
            Err(GateError::TimedOut(timeout))
        }
    }

    /// Whether Redis may have lost `campaign`, which it does not know: the campaign is listed, or Redis was wiped.
    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn may_have_lost(&self, campaign: &CampaignId) -> Result<bool, GateError> {
        let answers = self.within(async |connection| {
            Ok(commands::is_listed(connection, campaign).await?
                || commands::is_wiped(connection).await?)
        });
        let result = answers.await;
        log_change(&result);
        if let Ok(true) = result
            && !LOSS_LOGGED.swap(true, Ordering::Relaxed)
        {
            eprintln!(
                "gate: Redis does not know campaign {campaign} and may have lost it: run `rushgate audit`, or `rushgate setup` \
                 if this Redis is new"
            );
        }
        result
    }

    /// Whether Redis has neither a list of campaigns nor the mark of `rushgate setup`: it was wiped, or never set up.
    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn is_wiped(&self) -> Result<bool, GateError> {
        let result = self.within(commands::is_wiped).await;
        log_change(&result);
        result
    }

    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn ping(&self) -> Result<(), GateError> {
        let pong = self.within(async |connection| connection.execute("PING", []).await.map(|_| ()));
        let result = pong.await;
        log_change(&result);
        result
    }

    /// Fails if the gate is overloaded.
    fn admit(&self) -> Result<Option<Admission<'static>>, GateError> {
        let limits = self.settings.limits;
        match (LOAD_SHEDDER.admit(limits, Instant::now()), limits.budget) {
            (None, Some(budget)) => Err(GateError::Overloaded(budget)),
            (admission, _) => Ok(admission),
        }
    }

    fn note_waiting(&self, begun: Instant) {
        let waited = self.waited.get().unwrap_or_default().max(begun.elapsed());
        self.waited.set(Some(waited));
    }

    /// Does `work` on the connection; a second time on a new one if the first gets no reply.
    async fn within<T>(
        &self,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> Result<T, GateError> {
        let begun = Instant::now();
        let timeout = self.settings.limits.timeout;
        let finished = connection::within(&self.settings.address, timeout, work).await;
        self.note_waiting(begun);
        Ok(finished.ok_or(GateError::TimedOut(timeout))??)
    }
}

fn log_change<T>(result: &Result<T, GateError>) {
    if let Err(error @ GateError::Overloaded(_)) = result {
        if !OVERLOAD_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!("gate: {error}; other requests get 503 until calls are faster");
        }
        return;
    }
    if let Err(error) = result
        && error.concerns_one_campaign()
    {
        if !UNREADABLE_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!("gate: reading a campaign failed, run `rushgate audit`: {error}");
        }
        return;
    }
    let advice = match result {
        Ok(_) => None,
        Err(error) => Some(error.advice().unwrap_or_default()),
    };
    if let Err(error) = result
        && error.is_missing_right()
    {
        if !DENIAL_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!(
                "gate: a call was refused: {error}: {}",
                advice.unwrap_or_default()
            );
        }
        return;
    }
    if *PROBLEM.read().unwrap_or_else(PoisonError::into_inner) == advice {
        return;
    }
    match (result, &advice) {
        (Err(error), Some(advice)) if !advice.is_empty() => {
            eprintln!("gate: a call failed: {error}: {advice}");
        }
        (Err(error), _) => eprintln!("gate: a call failed: {error}"),
        (Ok(_), _) => eprintln!("gate: Redis replies again"),
    }
    *PROBLEM.write().unwrap_or_else(PoisonError::into_inner) = advice;
}
