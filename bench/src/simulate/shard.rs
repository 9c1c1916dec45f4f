//! Simulates one of the gates over which a campaign is split. It has only a part of the campaign's serials.

use super::agenda::Nanos;
use super::costs::Costs;
use super::station::Gate;

/// One of the gates over which a campaign is split.
pub(crate) struct Shard {
    /// Waiting applications, by the number of their applicant.
    pub(crate) gate: Gate<usize>,
    /// Places left to grant.
    pub(crate) left: u64,
    /// Places that it has given.
    pub(crate) granted: u64,
    /// Whether a lease was requested.
    asked: bool,
    /// Whether no more leases will come.
    dry: bool,
    answers: Vec<(usize, bool)>,
}

impl Shard {
    /// A gate with this many places, with or without further leases.
    pub(crate) fn new(left: u64, has_root: bool, costs: &Costs) -> Self {
        Self {
            gate: Gate::new(costs.sync),
            left,
            granted: 0,
            asked: false,
            dry: !has_root,
            answers: vec![],
        }
    }

    /// Decides the waiting applications, if no turn runs; returns the duration. Applications that need a lease wait in
    /// line.
    pub(crate) fn turn(&mut self, costs: &Costs) -> Option<Nanos> {
        let Self {
            gate,
            left,
            granted,
            dry,
            answers,
            ..
        } = self;
        gate.turn(|who| {
            if *left > 0 {
                *left -= 1;
                *granted += 1;
                answers.push((*who, true));
                return Some((costs.grant, true));
            }
            if !*dry {
                return None;
            }
            answers.push((*who, false));
            Some((costs.refusal, false))
        })
    }

    /// The turn has ended: returns the answered applicants, each with whether they got a place.
    pub(crate) fn end_turn(&mut self) -> Vec<(usize, bool)> {
        self.gate.end_turn();
        std::mem::take(&mut self.answers)
    }

    /// Whether it requests a lease of this size now.
    pub(crate) fn asks(&mut self, lease: u64) -> bool {
        let asks = !self.dry && !self.asked && self.left <= lease / 2;
        self.asked |= asks;
        asks
    }

    /// A lease arrives; an empty one means that there are no more.
    pub(crate) fn lease(&mut self, size: u64) {
        self.asked = false;
        self.left += size;
        self.dry = size == 0;
    }
}
