//! What the programs of a way and the servers behind them cost.

use std::time::Duration;

/// CPU time and memory of some programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu: Duration,
    /// Peak resident memory so far, in bytes; for several programs the sum.
    pub peak_memory: u64,
}

/// The costs of one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Of the program that answers.
    pub service: Used,
    /// Of the programs between answer and row; none if the service inserts by itself.
    pub consumers: Option<Used>,
    /// CPU time of Redis, Kafka and the database, as far as their processes are known.
    pub servers: Duration,
}

impl Used {
    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            ..self
        }
    }
}

impl Costs {
    /// The CPU time since then, with the peak memory of now.
    #[must_use]
    pub fn since(self, before: &Self) -> Self {
        let consumers = self.consumers.zip(before.consumers);
        Self {
            service: self.service.since(before.service),
            consumers: consumers.map(|(now, before)| now.since(before)),
            servers: self.servers.saturating_sub(before.servers),
        }
    }

    /// CPU time of everything.
    pub fn cpu(&self) -> Duration {
        self.service.cpu + self.consumers.unwrap_or_default().cpu + self.servers
    }
}
