//! The load generator. It sends raw bytes on keep-alive connections, from one thread, with epoll.
//!
//! It must be much faster than the system on the same machine, so it does almost nothing. A request is a template in
//! which one number is overwritten. Of a response, it reads only the status and the length. Each request costs one
//! `write` and one `read`. The generator's own cost is part of its [`LoadResult`].
//!
//! There are two paces. With [`Pace::Closed`], every connection sends the next request as soon as it has its answer:
//! this finds the capacity. With [`Pace::Open`], each request is due at a fixed time, whether or not the earlier ones
//! were answered, and its latency counts from that time. So a slow system does not get less load (no coordinated
//! omission).

mod generator;
mod response;
mod template;

pub use response::Protocol;
pub use template::{MARK, Template};

use anyhow::{Result, bail};
use generator::Generator;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What to send, where, and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// The requests; they alternate.
    pub templates: Vec<Template>,
    /// The number of the first request; every request has its own number, and so its own user id.
    pub first: u64,
    /// The number of different applicants, if requests are to repeat.
    pub people: Option<u64>,
    /// Connections; with an open pace, the most of them.
    pub connections: usize,
    /// Requests in flight on a connection; 1 for HTTP.
    pub depth: usize,
    pub pace: Pace,
    pub until: Until,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as the previous one is answered.
    Closed,
    /// Requests per second, by a clock.
    Open(f64),
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time; requests in flight are awaited, and with a closed pace not counted.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
}

#[derive(Clone, Debug)]
pub struct LoadResult {
    /// Sent requests: the next free number is `first` plus these.
    pub sent: u64,
    /// Answers of each kind: an HTTP status; 0 for a Redis reply, 1 for a Redis error.
    pub answers: BTreeMap<u16, u64>,
    /// Latency in microseconds, from the send; with an open pace, from when it was due.
    pub latency: Histogram<u64>,
    /// From the first request to the last counted answer.
    pub elapsed: Duration,
    /// CPU time of the generator.
    pub cpu: Duration,
    /// The first answer of the kind that came last, with head and body.
    pub sample: String,
}

impl Load {
    /// Sends the load, and waits for the answers. It blocks: call it outside of a runtime.
    ///
    /// # Errors
    /// When a connection fails, or no answer comes for half a minute: nothing is measured then.
    pub fn run(&self) -> Result<LoadResult> {
        Generator::new(self)?.run()
    }
}

impl LoadResult {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// Answers of all kinds.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// The quantile of the latency, in microseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64
    }

    /// CPU seconds of the generator for 1,000 requests.
    pub fn cpu_per_thousand(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.answered().max(1) as f64
    }

    /// Fails unless every answer is of this kind: a benchmark of errors is worthless.
    ///
    /// # Errors
    /// Names the other answers.
    pub fn all(self, kind: u16) -> Result<Self> {
        if self.answers.keys().any(|answer| *answer != kind) || self.answers.is_empty() {
            bail!(
                "expected only {kind}, got {:?}, the last time {:?}",
                self.answers,
                self.sample
            );
        }
        Ok(self)
    }
}
