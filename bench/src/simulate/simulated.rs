//! What came of a run of the system.

use super::agenda::{Nanos, seconds};
use std::fmt;

/// What may be a bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// A core of a handler.
    Handler,
    Gate,
    Bridge,
    /// A core of a broker.
    Broker,
    Consumer,
    /// The database, of which there is one.
    Database,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Simulated {
    /// Microseconds to each answer, from when somebody came.
    latencies: Vec<u32>,
    last_came: Nanos,
    last_answer: Nanos,
    /// Grants that have their rows.
    pub(crate) rows: u64,
    last_row: Nanos,
    /// Applications that gates decided.
    pub(crate) decisions: u64,
    /// Questions about strangers that gates answered.
    pub(crate) questions: u64,
    /// How many seconds each part was at work: of several of a kind, each, or the busiest.
    pub(crate) work: Vec<(Component, f64)>,
}

impl Simulated {
    /// Somebody who came then is answered.
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

    /// Answers a second, from the first who came to the last answer.
    pub(crate) fn answers_per_second(&self) -> f64 {
        self.answers() as f64 / seconds(self.last_answer)
    }

    /// How long after the last who came the last answer was given, in seconds: what does not keep up is behind.
    pub(crate) fn behind(&self) -> f64 {
        seconds(self.last_answer - self.last_came)
    }

    /// Milliseconds within which that share of the answers came.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let mut latencies = self.latencies.clone();
        let place = (latencies.len() as f64 * quantile) as usize;
        if place >= latencies.len() {
            return f64::NAN;
        }
        let (_, latency, _) = latencies.select_nth_unstable(place);
        f64::from(*latency) / 1e3
    }

    /// When the last row stood, in seconds.
    pub(crate) fn last_row(&self) -> f64 {
        seconds(self.last_row)
    }

    /// Seconds that a part was at work.
    pub(crate) fn work_of(&self, component: Component) -> f64 {
        let found = self.work.iter().find(|(other, _)| *other == component);
        found.map_or(0.0, |(_, work)| *work)
    }

    /// The one that was at work for longest, of these.
    pub(crate) fn bottleneck(&self, among: impl Fn(Component) -> bool) -> Option<Component> {
        let among = self.work.iter().filter(|(component, _)| among(*component));
        among
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(component, _)| *component)
    }
}

impl Component {
    /// Whether answers wait for it; rows wait for all.
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
