//! Describes a simulated run: the number of each component, and the applicants.

use super::costs::Costs;
use super::crowd::Crowd;
use super::memory::Memory;
use super::simulated::Simulated;
use super::system::System;

/// The number of each component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizing {
    /// Processor cores of handlers.
    pub(crate) handler_cores: usize,
    /// Redis primaries; campaigns are spread over them.
    pub(crate) gates: usize,
    /// Bridges, which share the streams.
    pub(crate) bridges: usize,
    /// Cores of the brokers.
    pub(crate) broker_cores: usize,
    /// Partitions of the topic, each of which one consumer reads.
    pub(crate) partitions: usize,
    pub(crate) consumers: usize,
}

impl Sizing {
    pub(crate) const ONE_OF_EACH: Self = Self {
        handler_cores: 1,
        gates: 1,
        bridges: 1,
        broker_cores: 1,
        partitions: 1,
        consumers: 1,
    };
}

/// One simulated run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) sizing: Sizing,
    /// The negative caches, if any.
    pub(crate) memory: Option<Memory>,
    pub(crate) crowd: Crowd,
    /// Places, spread evenly over the gates.
    pub(crate) quota: u64,
    pub(crate) seed: u64,
}

impl Run {
    pub(crate) fn simulate(&self, costs: &Costs) -> Simulated {
        System::new(self, costs).run()
    }
}
