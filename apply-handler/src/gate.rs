//! The client of the gate. It calls the gate's Lua scripts over one Redis connection, which all requests of a handler
//! instance share.
//!
//! Spin opens a TCP connection for each [`Connection::open`], and neither reconnects nor times out. So the connection
//! is kept in a static variable, and each call has a timeout. A call that gets no reply is repeated once on a new
//! connection. This is safe: if the first call decided the application, the second one gets the same decision. If
//! Redis replies with an error, the caller gets that error and the call is not repeated. The exception is NOSCRIPT:
//! then the source of the script is sent.

use crate::clock;
use crate::load_shedding::{Admission, LoadShedder};
use crate::settings::Settings;
use futures::future::{Either, select};
use futures::lock::{Mutex, MutexGuard};
use rushgate_gate::script::{self, Eval};
use rushgate_gate::{Call, CampaignId, ReplyError, Value, keys};
use spin_sdk::redis::{Connection, Error, RedisParameter, RedisResult};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The gate was not called, because it is overloaded.
    #[error("overloaded: a call takes longer than {} ms", .0.as_millis())]
    Overloaded(Duration),
    #[error("no reply from Redis within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// An error of Redis, or of the host on the way to it.
    #[error("{0}")]
    Redis(#[from] Error),
    /// A reply that no script of the gate sends.
    #[error("{0}")]
    Reply(#[from] ReplyError),
}

impl GateError {
    /// Whether the gate works, and only the data of one campaign is unreadable.
    pub fn concerns_one_campaign(&self) -> bool {
        match self {
            Self::Reply(_) => true,
            Self::Redis(error) => matches!(reply_code(error), Some("WRONGTYPE" | "ResponseError")),
            Self::Overloaded(_) | Self::TimedOut(_) => false,
        }
    }
}

static CONNECTION: Mutex<Option<Arc<Connection>>> = Mutex::new(None);

/// Whether the last call failed. An outage is logged once, not for each request.
static UNREACHABLE: AtomicBool = AtomicBool::new(false);

/// Whether an overload has been logged. It is logged once per instance.
static OVERLOAD_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether a possible loss has been logged. It is logged once per instance.
static LOSS_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether an unreadable campaign has been logged. It is logged once per instance; other campaigns are not affected.
static UNREADABLE_LOGGED: AtomicBool = AtomicBool::new(false);

static LOAD_SHEDDER: LoadShedder = LoadShedder::new();

/// The gate for one request. It measures how long the request waits for the gate.
pub struct Gate<'a> {
    settings: &'a Settings,
    waited: Cell<Option<Duration>>,
}

impl<'a> Gate<'a> {
    pub fn new(settings: &'a Settings) -> Self {
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
                .within(async |connection| eval(connection, call).await)
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
            self.within(async |connection| campaign_names(connection, after, most).await)
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
            let name = [keys::CAMPAIGNS, campaign.as_str()];
            let listed = number(connection, "SISMEMBER", &name).await?;
            Ok(listed > 0 || is_wiped(connection).await?)
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
        let result = self.within(is_wiped).await;
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

    /// Does `work` on the connection, and a second time on a new one if the first gets no reply, within one timeout.
    async fn within<T>(
        &self,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> Result<T, GateError> {
        let begun = Instant::now();
        let used = RefCell::new(None);
        let attempts = async {
            let first = connection(self.settings, None, &used).await?;
            match work(&first).await {
                // The server has become a replica. The next request opens a connection, to the new master.
                Err(error) if reply_code(&error) == Some("READONLY") => {
                    discard(Some(&first)).await;
                    Err(error)
                }
                Err(error) if reply_code(&error).is_none() => {
                    let second = connection(self.settings, Some(&first), &used).await?;
                    work(&second).await
                }
                done => done,
            }
        };
        let timer = spin_sdk::time::sleep(self.settings.limits.timeout);
        // The unfinished future is dropped here, and with it a lock that it may hold.
        let finished = match select(pin!(attempts), pin!(timer)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(((), _)) => None,
        };
        self.note_waiting(begun);
        match finished {
            Some(result) => Ok(result?),
            None => {
                // The connection may be half open. The next request must not wait for it as well.
                discard(used.take().as_ref()).await;
                Err(GateError::TimedOut(self.settings.limits.timeout))
            }
        }
    }
}

/// The shared connection. Opens a new one if there is none, or if it is the one that `failed`.
async fn connection(
    settings: &Settings,
    failed: Option<&Arc<Connection>>,
    used: &RefCell<Option<Arc<Connection>>>,
) -> Result<Arc<Connection>, Error> {
    let mut shared = CONNECTION.lock().await;
    let usable = shared
        .as_ref()
        .filter(|shared| failed.is_none_or(|failed| !Arc::ptr_eq(shared, failed)));
    let connection = match usable {
        Some(connection) => connection.clone(),
        None => {
            *shared = None;
            let opened = Arc::new(Connection::open(&settings.redis_address).await?);
            shared.insert(opened).clone()
        }
    };
    used.replace(Some(connection.clone()));
    Ok(connection)
}

/// Removes `connection` from the static, unless another request has replaced it already.
async fn discard(connection: Option<&Arc<Connection>>) {
    let mut shared = CONNECTION.lock().await;
    if let (Some(current), Some(connection)) = (shared.as_ref(), connection)
        && Arc::ptr_eq(current, connection)
    {
        *shared = None;
    }
}

async fn is_wiped(connection: &Connection) -> Result<bool, Error> {
    if number(connection, "EXISTS", &[keys::CAMPAIGNS]).await? > 0 {
        return Ok(false);
    }
    // The index is built from the set. If only the index exists, the set has been lost.
    Ok(
        number(connection, "EXISTS", &[keys::CAMPAIGN_INDEX]).await? > 0
            || number(connection, "EXISTS", &[keys::SET_UP]).await? == 0,
    )
}

/// Runs a command whose reply is a number.
async fn number(connection: &Connection, command: &str, words: &[&str]) -> Result<i64, Error> {
    let words = words.iter();
    let words: Vec<_> = words
        .map(|word| RedisParameter::Binary(word.as_bytes().to_vec()))
        .collect();
    let reply = connection.execute(command, words).await?;
    match reply.as_slice() {
        [RedisResult::Int64(number)] => Ok(*number),
        _ => Err(Error::TypeError),
    }
}

/// Runs a script by SHA-1, and by source if the server does not have it.
async fn eval(connection: &Connection, call: &Call) -> Result<Vec<Value>, Error> {
    let execute = |eval: Eval| {
        let arguments: Vec<_> = call
            .arguments(eval)
            .map(|argument| RedisParameter::Binary(argument.as_bytes().to_vec()))
            .collect();
        connection.execute(eval.command(), arguments)
    };
    let reply = match execute(Eval::BySha).await {
        Err(error) if reply_code(&error) == Some("NOSCRIPT") => execute(Eval::BySource).await,
        reply => reply,
    }?;
    Ok(reply
        .into_iter()
        .map(|value| match value {
            RedisResult::Int64(number) => Value::Integer(number),
            RedisResult::Binary(bytes) => Value::Bytes(bytes),
            RedisResult::Nil | RedisResult::Status(_) => Value::Other,
        })
        .collect())
}

/// A page of the index of campaigns. Before the index exists, the set of campaigns is sorted instead.
async fn campaign_names(
    connection: &Connection,
    after: Option<&CampaignId>,
    most: usize,
) -> Result<Vec<String>, Error> {
    let execute = async |command: &str, arguments: &[&str]| {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| RedisParameter::Binary(argument.as_bytes().to_vec()))
            .collect();
        connection.execute(command, arguments).await
    };
    let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
    let count = most.to_string();
    let range = [keys::CAMPAIGN_INDEX, &from, "+", "LIMIT", "0", &count];
    let names: Vec<String> = execute("ZRANGEBYLEX", &range)
        .await?
        .into_iter()
        .filter_map(|name| match name {
            RedisResult::Binary(name) => String::from_utf8(name).ok(),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let is_indexed = execute("EXISTS", &[keys::CAMPAIGN_INDEX]).await?;
    if let [RedisResult::Int64(1)] = is_indexed[..] {
        return Ok(names);
    }
    let mut names = connection.smembers(keys::CAMPAIGNS).await?;
    names.retain(|name| after.is_none_or(|after| name.as_str() > after.as_str()));
    names.sort_unstable();
    names.truncate(most);
    Ok(names)
}

/// The code of an error reply of Redis; `None` for an error without a reply, such as a broken connection.
///
/// Spin returns errors as the text of redis-rs. It is `… signalled by the server - NoScriptError: …` for the codes that
/// redis-rs knows; otherwise it begins with the code as Redis sends it. The text of a connection error begins with a
/// word.
fn reply_code(error: &Error) -> Option<&str> {
    let Error::Other(text) = error else {
        return None;
    };
    let code = match text.split_once("signalled by the server - ") {
        Some((_, known)) => known.split(':').next()?,
        None => text.split([':', ' ']).next()?,
    };
    match code {
        "ReadOnly" => Some("READONLY"),
        "NoScriptError" => Some("NOSCRIPT"),
        code if code.len() < text.len() && (text.contains("signalled by") || is_code(code)) => {
            Some(code)
        }
        _ => None,
    }
}

fn is_code(word: &str) -> bool {
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
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
    let unreachable = result.is_err();
    if UNREACHABLE.swap(unreachable, Ordering::Relaxed) == unreachable {
        return;
    }
    match result {
        Ok(_) => eprintln!("gate: Redis replies again"),
        Err(error) => eprintln!("gate: a call failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reply_is_not_a_missing_reply() {
        for (text, code) in [
            (
                "An error was signalled by the server - NoScriptError: No matching script. Please use EVAL.",
                Some("NOSCRIPT"),
            ),
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                Some("NOSCRIPT"),
            ),
            (
                "An error was signalled by the server - ReadOnly: You can't write against a read only replica.",
                Some("READONLY"),
            ),
            (
                "An error was signalled by the server - ResponseError: Error running script",
                Some("ResponseError"),
            ),
            (
                "OOM: command not allowed when used memory > 'maxmemory'.",
                Some("OOM"),
            ),
            (
                "WRONGTYPE: Operation against a key holding the wrong kind of value",
                Some("WRONGTYPE"),
            ),
            ("BUSY: Redis is busy running a script.", Some("BUSY")),
            ("broken pipe", None),
            ("Connection refused (os error 111)", None),
            (
                "Multiplexed connection driver unexpectedly terminated- IoError",
                None,
            ),
            ("timed out", None),
            ("", None),
        ] {
            assert_eq!(reply_code(&Error::Other(text.to_owned())), code, "{text}");
        }
        assert_eq!(reply_code(&Error::InvalidAddress), None);
    }
}
