//! What a load found: answers, latencies, and its own cost.

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct LoadResult {
    /// Sent requests: the next free number is the first plus these.
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

/// The answers so far.
pub(super) struct Tally {
    counts: [u64; 600],
    latency: Histogram<u64>,
    sample: Vec<u8>,
    begun: Instant,
    last_answer: Instant,
}

impl Tally {
    pub(super) fn since(begun: Instant) -> Result<Self> {
        Ok(Self {
            counts: [0; 600],
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).context("a histogram")?,
            sample: vec![],
            begun,
            last_answer: begun,
        })
    }

    /// Counts an answer.
    pub(super) fn note(&mut self, kind: u16, due: Instant, at: Instant, answer: &[u8]) {
        self.last_answer = at;
        let took = at.saturating_duration_since(due).as_micros();
        self.latency.saturating_record(took as u64);
        let count = &mut self.counts[usize::from(kind).min(599)];
        *count += 1;
        if *count == 1 {
            self.sample = answer.to_vec();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.latency.is_empty()
    }

    pub(super) fn result(self, sent: u64, cpu: Duration) -> LoadResult {
        let counts = self.counts.iter().enumerate();
        let counts = counts.filter(|(_, count)| **count > 0);
        LoadResult {
            sent,
            answers: counts.map(|(kind, count)| (kind as u16, *count)).collect(),
            latency: self.latency,
            elapsed: self.last_answer - self.begun,
            cpu,
            sample: String::from_utf8_lossy(&self.sample).into_owned(),
        }
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
