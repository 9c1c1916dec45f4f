//! Sends more requests than the system can serve. Each request is sent when it is due, whether or not the earlier ones
//! were answered.
//!
//! Real applicants do not wait for the replies to others, and neither does this crowd: when the system slows down, the
//! load stays the same (no coordinated omission).

use crate::application;
use crate::history::{Call, History};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rushgate_testbed::load::{Answer, Ended, Load, Pace, Requests, Until};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

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
    /// The applicants' network addresses, in turn: each opens a connection of their own. Without any, they share
    /// connections.
    pub sources: Vec<IpAddr>,
}

/// The origin of the page from which all apply.
pub const ORIGIN: &str = "https://shop.example";

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
    /// Requests that were sent more than 0.1 s after they were due: the machine is busy, or too many are in flight.
    pub sent_late: u64,
    /// Answers that came within a second after their request was due.
    pub within_a_second: u64,
    /// Answers that a page of [`ORIGIN`] may not read.
    pub unreadable: u64,
    /// Most requests in flight at once.
    pub most_under_way: usize,
    /// From the first request to the last one sent.
    pub sending: Duration,
}

/// The answers to an application of a flood.
const DOCUMENTED: [&str; 5] = [
    "201 granted",
    "200 already_granted",
    "410 sold_out",
    "503 overloaded",
    "503 gate_unavailable",
];

#[derive(Deserialize)]
struct Body {
    code: Option<String>,
    decision: Option<String>,
}

/// The crowd, and what it saw so far.
struct Crowd {
    campaign: String,
    /// What a request says of its connection.
    connection: &'static str,
    under_way: usize,
    started: Instant,
    seen: FloodResult,
}

/// Runs the flood until every request is answered.
///
/// # Errors
/// When a histogram cannot be created. Failures of the system are in the result.
pub async fn run(flood: Flood) -> Result<FloodResult> {
    let address: SocketAddr = flood.address.parse().context("the handler's address")?;
    let crowd = Crowd {
        campaign: flood.campaign,
        connection: if flood.sources.is_empty() {
            "keep-alive"
        } else {
            "close"
        },
        under_way: 0,
        started: Instant::now(),
        seen: FloodResult {
            history: History::default(),
            answers: BTreeMap::new(),
            decided: histogram()?,
            refused: histogram()?,
            without_retry_after: 0,
            sent_late: 0,
            within_a_second: 0,
            unreadable: 0,
            most_under_way: 0,
            sending: Duration::ZERO,
        },
    };
    let (_, crowd) = application::run(Load {
        connections: flood.most_under_way,
        pace: Pace::Open(flood.per_second),
        until: Until::Requests(flood.applicants as u64),
        sources: flood.sources,
        ..Load::new(address, crowd)
    })
    .await?;
    Ok(crowd.seen)
}

impl Requests for Crowd {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        self.under_way += 1;
        self.seen.most_under_way = self.seen.most_under_way.max(self.under_way);
        let body = format!(r#"{{"user_id":"user-{number}"}}"#);
        let (campaign, connection, length) = (&self.campaign, self.connection, body.len());
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "POST /v1/campaigns/{campaign}/applications HTTP/1.1\r\nhost: rushgate\r\norigin: {ORIGIN}\r\n\
             connection: {connection}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
    }

    fn ended(&mut self, ended: Ended<'_>) -> Result<Option<Duration>> {
        self.under_way -= 1;
        let sending = ended.sent.saturating_duration_since(self.started);
        self.seen.sending = self.seen.sending.max(sending);
        let lateness = ended.sent.saturating_duration_since(ended.due);
        self.seen.sent_late += u64::from(lateness > Duration::from_millis(100));
        self.seen.note(&ended);
        Ok(None)
    }
}

impl FloodResult {
    /// What no applicant may see: answers that are not documented, refusals without Retry-After, and answers without CORS
    /// headers where `needs_cors`.
    pub fn undocumented(&self, needs_cors: bool) -> Vec<String> {
        let kinds = self.answers.iter();
        let others = kinds.filter(|(kind, _)| !DOCUMENTED.contains(&kind.as_str()));
        let others = others.map(|(kind, count)| format!("{kind}: {count}"));
        let unreadable = if needs_cors { self.unreadable } else { 0 };
        let without = [
            ("Retry-After", self.without_retry_after),
            ("CORS headers", unreadable),
        ];
        let without = without.iter().filter(|(_, count)| *count > 0);
        others
            .chain(without.map(|(what, count)| format!("{count} without {what}")))
            .collect()
    }

    /// Answers of this kind: a status such as `503`, with or without the code of a problem.
    pub fn of(&self, kind: &str) -> u64 {
        let of_kind = self
            .answers
            .iter()
            .filter(|(what, _)| what.split(' ').any(|word| word == kind));
        of_kind.map(|(_, count)| count).sum()
    }

    fn count(&mut self, kind: &str) {
        *self.answers.entry(kind.to_owned()).or_default() += 1;
    }

    fn note(&mut self, ended: &Ended<'_>) {
        let user_id = format!("user-{}", ended.number);
        // Refused, or without an answer: the gate may still decide later.
        self.history.note_coming(&user_id, ended.due);
        match &ended.answer {
            Err(error) => self.count(&format!("no answer: {error:#}")),
            Ok(answer) => self.note_answer(user_id, ended, *answer),
        }
    }

    fn note_answer(&mut self, user_id: String, ended: &Ended<'_>, answer: Answer<'_>) {
        let took = (ended.at - ended.due).as_micros();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        let body: Option<Body> = serde_json::from_str(answer.text()).ok();
        let word = body.and_then(|body| body.decision.or(body.code));
        self.count(&match word {
            Some(word) => format!("{} {word}", answer.status),
            None => answer.status.to_string(),
        });
        let is_in_time = ended.at - ended.due <= Duration::from_secs(1);
        self.within_a_second += u64::from(is_in_time);
        self.unreadable += u64::from(answer.header("access-control-allow-origin") != Some(ORIGIN));
        if let 503 | 429 = answer.status {
            let seconds = answer.header("retry-after").map(str::parse::<u32>);
            if !matches!(seconds, Some(Ok(1..))) {
                self.without_retry_after += 1;
            }
            self.refused.saturating_record(took);
            return;
        }
        self.decided.saturating_record(took);
        let reply = application::reply(answer.status, answer.text(), &user_id);
        self.history.note(Call {
            user_id,
            began: ended.due,
            ended: ended.at,
            reply,
        });
    }
}

/// From one microsecond to one minute, with an error of at most 0.1 %.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("cannot make a histogram")
}
