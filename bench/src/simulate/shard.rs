//! A gate that has some of a campaign's places.

use super::agenda::Nanos;
use super::costs::Costs;
use super::station::Gate;

/// One of the gates over which a campaign is split.
pub(crate) struct Shard {
    /// Those who have come, by their numbers.
    pub(crate) gate: Gate<usize>,
    /// Places that it may give.
    pub(crate) left: u64,
    /// Places that it has given.
    pub(crate) granted: u64,
    /// Whether a lease has been asked for.
    asked: bool,
    /// Whether there will be no more leases.
    dry: bool,
    answers: Vec<(usize, bool)>,
}

impl Shard {
    /// With so many places, and more to come from a root or not.
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

    /// Decides those who have come, if no turn is under way; how long it takes. Whoever has to wait for a lease does so in
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

    /// The turn has ended: who is answered, and whether he got a place.
    pub(crate) fn end_turn(&mut self) -> Vec<(usize, bool)> {
        self.gate.end_turn();
        std::mem::take(&mut self.answers)
    }

    /// Whether it asks the root now, with leases of that size.
    pub(crate) fn asks(&mut self, lease: u64) -> bool {
        let asks = !self.dry && !self.asked && self.left <= lease / 2;
        self.asked |= asks;
        asks
    }

    /// A lease comes; an empty one says that there are no more.
    pub(crate) fn lease(&mut self, size: u64) {
        self.asked = false;
        self.left += size;
        self.dry = size == 0;
    }
}
