//! The gate, seen from the component: calls its scripts on one Redis connection an instance.
//!
//! Spin opens a TCP connection for every [`Connection::open`] and neither reconnects nor times out by itself.
//! So the connection is kept in a static, shared by the requests that the instance serves at once, reopened
//! once when a call gets no reply, and every call is raced against a timer. Calling a script again is always safe:
//! an application that was decided is answered with the same decision. An error that Redis replies with is an answer:
//! it is handed on, and nothing is called again for it.

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

/// Why the gate did not answer.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It was not asked, because it does not keep up with those who ask already.
    #[error("more than {} ms behind", .0.as_millis())]
    Behind(Duration),
    /// Nothing came back in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Redis, or the host on the way to it, refused.
    #[error("{0}")]
    Redis(#[from] Error),
    /// Something that no script of ours answers.
    #[error("{0}")]
    Reply(#[from] ReplyError),
}

impl GateError {
    /// Whether the gate answers, and only what it keeps of one campaign makes no sense to it or to us.
    pub fn is_of_one_campaign(&self) -> bool {
        match self {
            Self::Reply(_) => true,
            Self::Redis(error) => matches!(reply_code(error), Some("WRONGTYPE" | "ResponseError")),
            Self::Behind(_) | Self::TimedOut(_) => false,
        }
    }
}

/// The connection of this instance, while it has one.
static CONNECTION: Mutex<Option<Arc<Connection>>> = Mutex::new(None);

/// Whether the last call failed, so that an outage is one line in the log and not one a request.
static UNREACHABLE: AtomicBool = AtomicBool::new(false);

/// Whether this instance has refused somebody because of that: once is enough for the log.
static OVERLOAD_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether this instance has met something that Redis may have lost: once is enough for the log.
static LOSS_LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether this instance has met a campaign that the gate cannot read: once is enough for the log, and others are answered.
static UNREADABLE_LOGGED: AtomicBool = AtomicBool::new(false);

/// How the gate keeps up with this instance.
static LOAD_SHEDDER: LoadShedder = LoadShedder::new();

/// The gate, for one request: notes how long the request waited for it.
pub struct Gate<'a> {
    settings: &'a Settings,
    waited: Cell<Option<Duration>>,
}

impl<'a> Gate<'a> {
    /// The gate that `settings` name.
    pub fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            waited: Cell::new(None),
        }
    }

    /// How long the request waited for the gate; `None` if it did not ask.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.get()
    }

    /// Runs a script and hands its flat reply to `read`, if the gate keeps up.
    ///
    /// # Errors
    /// When it does not, or Redis does not answer in time, refuses, or answers something else. Already logged.
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

    /// Names of campaigns in their order, so many at most; the first ones, or those that come after one.
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

    /// Waits until it is this request's turn to ask what others ask, too; as long as for an answer at most.
    ///
    /// # Errors
    /// When that takes too long, because the gate does not answer those whose turn it is.
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

    /// That what was `begun` then, and takes several questions, does not take longer than one may.
    ///
    /// # Errors
    /// When it does.
    pub fn check_deadline(&self, begun: Instant) -> Result<(), GateError> {
        let timeout = self.settings.limits.timeout;
        if begun.elapsed() < timeout {
            Ok(())
        } else {
            Err(GateError::TimedOut(timeout))
        }
    }

    /// Whether Redis, which does not know `campaign`, may have lost it: it was told of it, or it was wiped.
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
                "gate: Redis does not know campaign {campaign}, and may have lost it: see `rushgate audit`; a Redis that was \
                 never set up needs `rushgate setup`"
            );
        }
        result
    }

    /// Whether Redis knows neither a campaign nor that there is none: it was wiped, or was never set up.
    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn is_wiped(&self) -> Result<bool, GateError> {
        let result = self.within(is_wiped).await;
        log_change(&result);
        result
    }

    /// Asks Redis whether it is there.
    ///
    /// # Errors
    /// As for [`Gate::call`].
    pub async fn ping(&self) -> Result<(), GateError> {
        let pong = self.within(async |connection| connection.execute("PING", []).await.map(|_| ()));
        let result = pong.await;
        log_change(&result);
        result
    }

    /// Lets a question through, if the gate keeps up.
    fn admit(&self) -> Result<Option<Admission<'static>>, GateError> {
        let limits = self.settings.limits;
        match (LOAD_SHEDDER.admit(limits, Instant::now()), limits.budget) {
            (None, Some(budget)) => Err(GateError::Behind(budget)),
            (admission, _) => Ok(admission),
        }
    }

    fn note_waiting(&self, begun: Instant) {
        let waited = self.waited.get().unwrap_or_default().max(begun.elapsed());
        self.waited.set(Some(waited));
    }

    /// Does `work` on the connection, a second time on a new one if the first gets no reply, all within the timeout.
    async fn within<T>(
        &self,
        work: impl AsyncFn(&Connection) -> Result<T, Error>,
    ) -> Result<T, GateError> {
        let begun = Instant::now();
        let used = RefCell::new(None);
        let attempts = async {
            let first = connection(self.settings, None, &used).await?;
            match work(&first).await {
                // A replica that was the master: the next request finds out who is.
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
        // The loser is dropped with this statement, and with it the lock it may hold.
        let finished = match select(pin!(attempts), pin!(timer)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(((), _)) => None,
        };
        self.note_waiting(begun);
        match finished {
            Some(result) => Ok(result?),
            None => {
                // It may be half open: the next request had better not wait on it too.
                discard(used.take().as_ref()).await;
                Err(GateError::TimedOut(self.settings.limits.timeout))
            }
        }
    }
}

/// The connection of this instance, opened if there is none, or only the one that `failed`.
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

/// Leaves `connection` to its fate, unless another request has already replaced it.
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
    // The index is made of that set: where there is one, the set has been lost.
    Ok(
        number(connection, "EXISTS", &[keys::CAMPAIGN_INDEX]).await? > 0
            || number(connection, "EXISTS", &[keys::SET_UP]).await? == 0,
    )
}

/// What Redis replies to a command that counts.
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

/// By SHA-1; by source where the server has not seen the script since it started.
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

/// A page of the index of campaigns; of the set that it is made of, while nobody has made it.
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

/// The code of an error that Redis has replied with; nothing if no reply came. Spin hands errors over as the text that
/// redis-rs has for them: `… signalled by the server - NoScriptError: …` for the codes that it knows, else the code as
/// Redis writes it. Those of connections begin with a word of a sentence.
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
    if let Err(error @ GateError::Behind(_)) = result {
        if !OVERLOAD_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!("gate: {error}, requests are refused");
        }
        return;
    }
    if let Err(error) = result
        && error.is_of_one_campaign()
    {
        if !UNREADABLE_LOGGED.swap(true, Ordering::Relaxed) {
            eprintln!("gate: a campaign cannot be read, see `rushgate audit`: {error}");
        }
        return;
    }
    let unreachable = result.is_err();
    if UNREACHABLE.swap(unreachable, Ordering::Relaxed) == unreachable {
        return;
    }
    match result {
        Ok(_) => eprintln!("gate: answers again"),
        Err(error) => eprintln!("gate: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_redis_replied_with_is_told_from_a_reply_that_did_not_come() {
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
