//! The result of a simulated run: latencies, counts, and how busy each component was.

use super::agenda::{Nanos, seconds};
use std::fmt;

/// A component that may be the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// A core of a handler.
    Handler,
    Gate,
    Bridge,
    /// A core of a broker.
    Broker,
    Consumer,
    /// The only database.
    Database,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Simulated {
    /// Latency of each answer in microseconds, from the arrival.
    latencies: Vec<u32>,
    last_came: Nanos,
    last_answer: Nanos,
    /// Grants that have their rows.
    pub(crate) rows: u64,
    last_row: Nanos,
    /// Applications that the gates decided.
    pub(crate) decisions: u64,
    /// Questions to the negative cache that the gates answered.
    pub(crate) questions: u64,
    /// Busy seconds of each component: of several of a kind, each, or the busiest.
    pub(crate) work: Vec<(Component, f64)>,
}

impl Simulated {
    /// An applicant who came at `came` is answered.
    pub(crate) fn answered(&mut self, came: Nanos, now: Nanos) {
        let micros = (now - came) / 1_000;
        self.latencies
            .push(u32::try_from(micros).unwrap_or(u32::MAX));
        self.last_came = self.last_came.max(came);
        self.last_answer = now;
    }

    pub(crate) fn committed(&mut self, now: Nanos) {
        self.rows += 1;
        self.last_row = now;
    }

    pub(crate) fn answers(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Answers per second, from the first arrival to the last answer.
    pub(crate) fn answers_per_second(&self) -> f64 {
        self.answers() as f64 / seconds(self.last_answer)
    }

    /// Seconds from the last arrival to the last answer: a system that does not keep up is behind.
    pub(crate) fn behind(&self) -> f64 {
        seconds(self.last_answer - self.last_came)
    }

    /// The quantile of the latency, in milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let mut latencies = self.latencies.clone();
        let place = (latencies.len() as f64 * quantile) as usize;
        if place >= latencies.len() {
            return f64::NAN;
        }
        let (_, latency, _) = latencies.select_nth_unstable(place);
        f64::from(*latency) / 1e3
    }

    /// When the last row was committed, in seconds.
    pub(crate) fn last_row(&self) -> f64 {
        seconds(self.last_row)
    }

    /// Busy seconds of a component.
    pub(crate) fn work_of(&self, component: Component) -> f64 {
        let found = self.work.iter().find(|(other, _)| *other == component);
        found.map_or(0.0, |(_, work)| *work)
    }

    /// The busiest component among these.
    pub(crate) fn bottleneck(&self, among: impl Fn(Component) -> bool) -> Option<Component> {
        let among = self.work.iter().filter(|(component, _)| among(*component));
        among
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(component, _)| *component)
    }
}

impl Component {
    /// Whether answers wait for it; rows wait for all components.
    pub(crate) fn answers(self) -> bool {
        matches!(self, Self::Handler | Self::Gate)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler core",
            Self::Gate => "gate",
            Self::Bridge => "bridge",
            Self::Broker => "broker core",
            Self::Consumer => "consumer",
            Self::Database => "database",
        })
    }
}
