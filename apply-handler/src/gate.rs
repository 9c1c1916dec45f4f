//! The client of the gate. It calls the gate's Lua scripts over one Redis connection, which all requests of a handler
//! instance share, and returns what the gate says as values of the `gate` crate.
//!
//! Each call has a timeout. A call that gets no reply is repeated once on a new connection. This is safe: if the first
//! call decided the application, the second one gets the same decision. If Redis replies with an error, the caller gets
//! that error and the call is not repeated. The exception is NOSCRIPT: then the source of the script is sent.

mod commands;
mod connection;
mod error;
mod problems;

pub use crate::load_shedding::GateLimits;
pub use error::GateError;

use crate::clock;
use crate::deadline;
use crate::load_shedding::{Admission, LoadShedder};
use futures::lock::{Mutex, MutexGuard};
use problems::Problems;
use rushgate_gate::{Call, CampaignId, Millis, ReplyError, Value, script};
use spin_sdk::redis::{Connection, Error};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the gate is, and how long a call may take.
#[derive(Clone)]
pub struct GateSettings {
    /// URL of Redis with credentials, so this type has no `Debug`.
    pub address: String,
    /// Time limits of calls, connecting included (1 ms to 60 s).
    pub limits: GateLimits,
}

static PROBLEMS: Problems = Problems::none();

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
///
/// Each reading of the clock is a call to the host, so a call to the gate takes two, and all that need a time share them.
pub struct Gate<'a> {
    settings: &'a GateSettings,
    waited: Cell<Option<Duration>>,
    time: Cell<Option<Millis>>,
}

impl<'a> Gate<'a> {
    pub fn new(settings: &'a GateSettings) -> Self {
        Self {
            settings,
            waited: Cell::new(None),
            time: Cell::new(None),
        }
    }

    /// The time of Redis that this request has learned, unless it has waited since.
    pub fn time(&self) -> Option<Millis> {
        self.time.get()
    }

    /// Notes the time of Redis in what a cache of the gate's answers has.
    pub fn note_time(&self, now: Millis) {
        self.time.set(Some(now));
    }

    /// How long the request waited for the gate; `None` if it made no call.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.get()
    }

    /// Runs the script of `call` and decodes its reply with `read`.
    ///
    /// # Errors
    /// When the gate is overloaded, Redis does not reply in time or replies with an error, or the reply is invalid. The
    /// error is already logged.
    pub async fn call<T>(
        &self,
        call: impl Fn() -> Call,
        read: impl FnOnce(&[Value]) -> Result<T, ReplyError>,
    ) -> Result<T, GateError> {
        let result = async {
            let (reply, ended) = self
                .admitted(async |connection| commands::eval(connection, &call).await)
                .await?;
            if let Some(now) = script::clock(&reply) {
                clock::record(now, ended);
                self.note_time(now);
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
            let (names, _) = self
                .admitted(async |connection| {
                    commands::campaign_names(connection, after, most).await
                })
                .await?;
            Ok(names)
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
        let guard = deadline::within_since(begun, timeout, lock.lock()).await;
        self.note_waiting(begun);
        guard.ok_or(GateError::TimedOut(timeout))
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

    /// Does `work` as [`Gate::within`] does, unless the gate is overloaded; and when the work ended.
    async fn admitted<T>(
        &self,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> Result<(T, Instant), GateError> {
        let begun = Instant::now();
        let admission = self.admit(begun)?;
        let (result, ended) = self.within_since(begun, work).await;
        if let Some(admission) = admission {
            admission.end(ended);
        }
        Ok((result?, ended))
    }

    /// Fails if the gate is overloaded.
    fn admit(&self, now: Instant) -> Result<Option<Admission<'static>>, GateError> {
        let limits = self.settings.limits;
        match (LOAD_SHEDDER.admit(limits, now), limits.budget) {
            (None, Some(budget)) => Err(GateError::Overloaded(budget)),
            (admission, _) => Ok(admission),
        }
    }

    /// Notes that the request has waited since `begun`, and returns the present.
    fn note_waiting(&self, begun: Instant) -> Instant {
        let ended = Instant::now();
        let took = ended.saturating_duration_since(begun);
        let waited = self.waited.get().unwrap_or_default().max(took);
        self.waited.set(Some(waited));
        self.time.set(None);
        ended
    }

    /// Does `work` on the connection; a second time on a new one if the first gets no reply.
    async fn within<T>(
        &self,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> Result<T, GateError> {
        let (result, _) = self.within_since(Instant::now(), work).await;
        result
    }

    async fn within_since<T>(
        &self,
        begun: Instant,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> (Result<T, GateError>, Instant) {
        let timeout = self.settings.limits.timeout;
        let finished = connection::within(&self.settings.address, begun, timeout, work).await;
        let ended = self.note_waiting(begun);
        let result = match finished {
            Some(result) => result.map_err(GateError::from),
            None => Err(GateError::TimedOut(timeout)),
        };
        (result, ended)
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
    let error = match result {
        Err(error) => error,
        Ok(_) => {
            if PROBLEMS.end() {
                eprintln!("gate: Redis replies again");
            }
            return;
        }
    };
    let advice = error.advice().unwrap_or_default();
    if error.is_missing_right() {
        if !DENIAL_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!("gate: a call was refused: {error}: {advice}");
        }
        return;
    }
    if !PROBLEMS.is_news(&advice) {
        return;
    }
    if advice.is_empty() {
        eprintln!("gate: a call failed: {error}");
    } else {
        eprintln!("gate: a call failed: {error}: {advice}");
    }
}
