//! Sends more requests than the system can serve. Each request is sent when it is due, whether or not the earlier ones
//! were answered.
//!
//! Real applicants do not wait for the replies to others, and neither does this client: when the system slows down,
//! the load stays the same (no coordinated omission). Every request has a separate connection. The client writes HTTP
//! by hand, because it must be far faster than the system.

use crate::history::{Call, History, Place, Reply};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

#[derive(Clone, Debug)]
pub struct Flood {
    /// The handler's address: `127.0.0.1:3000`.
    pub address: String,
    pub campaign: String,
    /// Applicants, each of whom applies once: `user-0`, `user-1` and so on, as in a rush.
    pub applicants: usize,
    /// Arrivals per second.
    pub per_second: f64,
    /// Most requests in flight: beyond this limit the crowd itself waits, and its latencies grow.
    pub most_under_way: usize,
}

/// The result as the applicants saw it. Times are in microseconds from when the request was due.
#[derive(Debug)]
pub struct FloodResult {
    /// The replies with a decision; refused requests are not in it.
    pub history: History,
    /// Answers of each kind: the status, and the code of a problem.
    pub answers: BTreeMap<String, u64>,
    /// Latency of requests with a decision.
    pub decided: Histogram<u64>,
    /// Latency of requests that were refused with 503 or 429.
    pub refused: Histogram<u64>,
    /// Refusals without Retry-After.
    pub without_retry_after: u64,
    /// Most requests in flight at once.
    pub most_under_way: usize,
    /// From the first request to the last one sent.
    pub sending: Duration,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// How long an applicant waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

struct Response {
    status: u16,
    retry_after: Option<String>,
    body: String,
}

#[derive(Deserialize)]
struct Body {
    code: Option<String>,
    decision: Option<String>,
    #[serde(flatten)]
    place: Option<Place>,
    user_id: Option<String>,
}

struct Shared {
    flood: Flood,
    idle: Mutex<Vec<TcpStream>>,
    outcome: Mutex<FloodResult>,
    under_way: AtomicUsize,
}

/// Runs the flood until every request is answered.
///
/// # Errors
/// When a histogram cannot be created. Failures of the system are in the result.
pub async fn run(flood: Flood) -> Result<FloodResult> {
    let shared = Arc::new(Shared {
        idle: Mutex::default(),
        outcome: Mutex::new(FloodResult {
            history: History::default(),
            answers: BTreeMap::new(),
            decided: histogram()?,
            refused: histogram()?,
            without_retry_after: 0,
            most_under_way: 0,
            sending: Duration::ZERO,
            elapsed: Duration::ZERO,
        }),
        under_way: AtomicUsize::new(0),
        flood,
    });
    let flood = &shared.flood;
    let start = Instant::now();
    let mut people = JoinSet::new();
    for person in 0..flood.applicants {
        let due = start + Duration::from_secs_f64(person as f64 / flood.per_second);
        sleep_until(due).await;
        while people.len() >= flood.most_under_way {
            people.join_next().await;
        }
        people.spawn(shared.clone().person(person, due));
        while people.try_join_next().is_some() {}
    }
    let sending = start.elapsed();
    while people.join_next().await.is_some() {}
    let shared = Arc::into_inner(shared).context("a request is still in flight")?;
    let mut outcome = shared
        .outcome
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcome.sending = sending;
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

impl Shared {
    async fn person(self: Arc<Self>, person: usize, due: Instant) {
        let user_id = format!("user-{person}");
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = timeout(PATIENCE, self.ask(&user_id)).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.most_under_way = outcome.most_under_way.max(under_way);
        // Refused, or without an answer: the gate may still decide later.
        outcome.history.note_coming(&user_id, due.into_std());
        match answer {
            Err(_) => outcome.count("no answer"),
            Ok(Err(error)) => outcome.count(&format!("broken: {error:#}")),
            Ok(Ok(answer)) => outcome.note(user_id, due, &answer),
        }
    }

    async fn ask(&self, user_id: &str) -> Result<Response> {
        let flood = &self.flood;
        let body = format!(r#"{{"user_id":"{user_id}"}}"#);
        let request = format!(
            "POST /v1/campaigns/{}/applications HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            flood.campaign,
            flood.address,
            body.len()
        );
        let idle = self.idle().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&flood.address)
                    .await
                    .context("connecting")?;
                stream.set_nodelay(true).context("setting TCP_NODELAY")?;
                stream
            }
        };
        stream
            .write_all(request.as_bytes())
            .await
            .context("sending")?;
        let answer = read(&mut stream).await?;
        self.idle().push(stream);
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FloodResult {
    /// Answers of this kind: a status such as `503`, with or without the code of a problem.
    pub fn of(&self, kind: &str) -> u64 {
        let of_kind = self
            .answers
            .iter()
            .filter(|(what, _)| what.split(' ').any(|word| word == kind));
        of_kind.map(|(_, count)| count).sum()
    }

    /// Decisions per second, over the whole time.
    pub fn decided_per_second(&self) -> f64 {
        self.decided.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn count(&mut self, kind: &str) {
        *self.answers.entry(kind.to_owned()).or_default() += 1;
    }

    fn note(&mut self, user_id: String, due: Instant, answer: &Response) {
        let ended = Instant::now();
        let took = u64::try_from((ended - due).as_micros()).unwrap_or(u64::MAX);
        let body: Option<Body> = serde_json::from_str(&answer.body).ok();
        let word = body
            .as_ref()
            .and_then(|body| body.decision.as_ref().or(body.code.as_ref()));
        self.count(&match word {
            Some(word) => format!("{} {word}", answer.status),
            None => answer.status.to_string(),
        });
        let place = body.and_then(|body| {
            body.place
                .filter(|_| body.user_id.as_ref() == Some(&user_id))
        });
        let reply = match (answer.status, place) {
            (201, Some(place)) => Reply::Granted(place),
            (200, Some(place)) => Reply::AlreadyGranted(place),
            (410, _) if answer.body.contains(r#""decision":"sold_out""#) => Reply::SoldOut,
            (503 | 429, _) => {
                let seconds = answer.retry_after.as_deref().map(str::parse::<u32>);
                if !matches!(seconds, Some(Ok(1..))) {
                    self.without_retry_after += 1;
                }
                self.refused.saturating_record(took);
                return;
            }
            (status, _) => Reply::Unexplained(format!("{status} {}", answer.body)),
        };
        self.decided.saturating_record(took);
        self.history.note(Call {
            user_id,
            began: due.into_std(),
            ended: ended.into_std(),
            reply,
        });
    }
}

/// Reads one response with Content-Length, as all of ours have.
async fn read(stream: &mut TcpStream) -> Result<Response> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = str::from_utf8(&bytes[..head]).context("the response head is not text")?;
            let mut lines = text.split("\r\n");
            let status = lines
                .next()
                .and_then(|line| line.split(' ').nth(1)?.parse().ok())
                .context("no status")?;
            let headers: BTreeMap<String, &str> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
                .collect();
            let length: usize = headers
                .get("content-length")
                .and_then(|length| length.parse().ok())
                .context("no Content-Length")?;
            let retry_after = headers.get("retry-after").map(|value| (*value).to_owned());
            let body_at = head + 4;
            if bytes.len() >= body_at + length {
                let body = String::from_utf8(bytes.split_off(body_at))
                    .context("the response body is not text")?;
                return Ok(Response {
                    status,
                    retry_after,
                    body,
                });
            }
        }
        if stream.read_buf(&mut bytes).await.context("reading")? == 0 {
            bail!("cut off");
        }
    }
}

/// From one microsecond to one minute, with an error of at most 0.1 %.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("cannot make a histogram")
}
