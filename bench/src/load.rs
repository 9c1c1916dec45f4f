//! The load generator: raw bytes on keep-alive connections, one thread, epoll.
//!
//! It has to have far more to give than what it measures, on the same machine, so it does next to nothing: a request is a
//! template in which one number is overwritten, an answer is looked at for its status and its end, and each costs one
//! `write` and one `read`. What it costs itself is part of its [`LoadResult`].
//!
//! Two paces. [`Pace::Closed`]: every connection sends again as soon as it is answered, which finds out what the other side
//! can do. [`Pace::Open`]: requests are due by a clock, whatever became of those before, and latency counts from when a
//! request was due: what the other side delays, it is not asked for less of (no coordinated omission).

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

/// What to send where, and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub protocol: Protocol,
    /// The requests, which take turns.
    pub templates: Vec<Template>,
    /// The number of the first request; every one has its own, and so its own user id.
    pub first: u64,
    /// After how many people the first one comes again, if not all are to be different.
    pub people: Option<u64>,
    /// Connections; with an open pace, the most of them.
    pub connections: usize,
    /// Requests that a connection sends at once before it waits for their answers. 1 for HTTP.
    pub depth: usize,
    pub pace: Pace,
    pub until: Until,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When the one before is answered.
    Closed,
    /// When they are due: so many a second.
    Open(f64),
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After that time; what is under way then is waited for, and not counted with a closed pace.
    Elapsed(Duration),
    /// After so many requests.
    Requests(u64),
}

#[derive(Clone, Debug)]
pub struct LoadResult {
    /// Requests that were sent: the next free number is `first` and these.
    pub sent: u64,
    /// How many answers there were of each kind: an HTTP status; 0 for a reply of Redis, 1 for an error of it.
    pub answers: BTreeMap<u16, u64>,
    /// Microseconds to the answer: from when it was sent, with an open pace from when it was due.
    pub latency: Histogram<u64>,
    /// From the first request to the last answer counted.
    pub elapsed: Duration,
    /// The CPU time of the generator.
    pub cpu: Duration,
    /// The first answer of the kind that was met last, head and body.
    pub sample: String,
}

impl Load {
    /// Sends it all, and waits for the answers. It blocks: call it outside of a runtime.
    ///
    /// # Errors
    /// When a connection cannot be made or breaks, or nobody answers for half a minute: nothing is measured then.
    pub fn run(&self) -> Result<LoadResult> {
        Generator::new(self)?.run()
    }
}

impl LoadResult {
    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// Answers of whatever kind.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Microseconds within which that share of the answers came.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64
    }

    /// The generator's CPU seconds for 1,000 requests.
    pub fn cpu_per_thousand(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.answered().max(1) as f64
    }

    /// Fails unless every answer is of this kind: a benchmark of errors is none.
    ///
    /// # Errors
    /// With what was answered instead.
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
