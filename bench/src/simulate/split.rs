//! Simulates a quota that is split over several gates, and measures how far the result is from the order of arrival.
//!
//! A hash of the applicant's id chooses the gate, so each applicant always asks the same one. Arrival is counted at
//! the gates: the effect of network and handlers on the order before that is the same for one gate and for many.

use super::agenda::{Agenda, Nanos, millis, seconds};
use super::costs::Costs;
use super::crowd::Crowd;
use super::order::Order;
use super::random::Random;
use super::shard::Shard;
use super::system::HOP;

/// How places get to the gates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Policy {
    /// Each gate has its share from the start, and keeps it.
    Shares,
    /// The same, and a coordinator balances what is left, at this interval in milliseconds.
    Rebalanced(f64),
    /// A root hands out leases of this many serials. A gate requests the next one when at most half of a lease is left,
    /// lets applicants wait when nothing is left, and refuses when the root has no more.
    Leases(u64),
}

/// A split campaign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// The number of gates.
    pub(crate) gates: usize,
    /// How many more applicants than the mean the first gate gets: 0.2 is a fifth more.
    pub(crate) skew: f64,
    pub(crate) policy: Policy,
    pub(crate) quota: u64,
    pub(crate) crowd: Crowd,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Given {
    /// The winners, compared with the order of arrival.
    pub(crate) order: Order,
    /// 99th percentile of the latency, in milliseconds.
    pub(crate) p99: f64,
    /// When the last place was granted, in seconds.
    pub(crate) sold_out: f64,
    /// Leases that the root handed out, or places that the coordinator moved.
    pub(crate) moved: u64,
}

enum Event {
    Comes,
    TurnEnds(usize),
    /// The root gets a request for a lease.
    Asked(usize),
    Leased(usize, u64),
    /// The coordinator reads what is left.
    Looks,
    /// Gates above the mean give this many places up.
    Debits(Vec<u64>),
    /// Gates below the mean get this many places.
    Credits(Vec<u64>),
}

struct Campaign<'a> {
    split: &'a Split,
    costs: &'a Costs,
    random: Random,
    agenda: Agenda<Event>,
    weights: Vec<f64>,
    shards: Vec<Shard>,
    /// Places at the root.
    root: u64,
    /// Places on their way to a gate.
    on_the_way: u64,
    came: Vec<Nanos>,
    answered: Vec<(Nanos, bool)>,
    moved: u64,
}

impl Split {
    /// Simulates the campaign.
    ///
    /// # Panics
    /// When places, granted and left, are ever more or fewer than the quota: that would be a bug of the policy.
    pub(crate) fn simulate(&self, costs: &Costs) -> Given {
        let mut campaign = Campaign::new(self, costs);
        campaign.await_next();
        while let Some(event) = campaign.agenda.next() {
            campaign.happens(event);
            assert_eq!(campaign.places(), self.quota, "{self:?}");
        }
        campaign.given()
    }

    /// Relative number of applicants of each gate.
    fn weights(&self) -> Vec<f64> {
        let others = self.gates.saturating_sub(1).max(1) as f64;
        let mut weights = vec![1.0 - self.skew / others; self.gates];
        weights[0] = 1.0 + self.skew;
        weights
    }

    /// Places of each gate at the opening.
    fn first_places(&self) -> Vec<u64> {
        let gates = self.gates as u64;
        let mut left = self.quota;
        let places = (0..gates).map(|gate| {
            let place = match self.policy {
                Policy::Leases(size) => size.min(left),
                _ => self.quota / gates + u64::from(gate < self.quota % gates),
            };
            left -= place;
            place
        });
        places.collect()
    }
}

impl<'a> Campaign<'a> {
    fn new(split: &'a Split, costs: &'a Costs) -> Self {
        let first = split.first_places();
        let mut agenda = Agenda::new();
        if let Policy::Rebalanced(every) = split.policy {
            agenda.after(millis(every), Event::Looks);
        }
        let root = split.quota - first.iter().sum::<u64>();
        let has_root = matches!(split.policy, Policy::Leases(_));
        let shards = first.into_iter();
        Self {
            split,
            costs,
            random: Random::new(split.seed),
            agenda,
            weights: split.weights(),
            shards: shards
                .map(|left| Shard::new(left, has_root, costs))
                .collect(),
            root,
            on_the_way: 0,
            came: vec![],
            answered: vec![(0, false); split.crowd.people as usize],
            moved: 0,
        }
    }

    /// All places: at the root, on their way, at the gates, granted.
    fn places(&self) -> u64 {
        let at_gates = self.shards.iter().map(|shard| shard.left + shard.granted);
        at_gates.sum::<u64>() + self.root + self.on_the_way
    }

    fn await_next(&mut self) {
        let come = self.came.len() as u64;
        if let Some(gap) = self.split.crowd.next(come, &mut self.random) {
            self.agenda.after(gap, Event::Comes);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Comes => {
                let who = self.came.len();
                self.came.push(self.agenda.now());
                let shard = self.random.among(&self.weights);
                self.shards[shard].gate.arrive(who);
                self.turn(shard);
                self.await_next();
            }
            Event::TurnEnds(shard) => {
                for (who, granted) in self.shards[shard].end_turn() {
                    self.answered[who] = (self.agenda.now(), granted);
                }
                self.turn(shard);
            }
            Event::Asked(shard) => {
                let size = self.lease().min(self.root);
                self.root -= size;
                self.on_the_way += size;
                self.moved += 1;
                self.agenda.after(millis(HOP), Event::Leased(shard, size));
            }
            Event::Leased(shard, size) => {
                self.on_the_way -= size;
                self.shards[shard].lease(size);
                self.turn(shard);
            }
            Event::Looks => self.look(),
            Event::Debits(seen) => self.debit(&seen),
            Event::Credits(seen) => self.credit(&seen),
        }
    }

    fn turn(&mut self, shard: usize) {
        let lease = self.lease();
        let shard_ = &mut self.shards[shard];
        if let Some(takes) = shard_.turn(self.costs) {
            self.agenda.after(takes, Event::TurnEnds(shard));
        }
        if shard_.asks(lease) {
            self.agenda.after(millis(HOP), Event::Asked(shard));
        }
    }

    /// The size of a lease; 0 without leases.
    fn lease(&self) -> u64 {
        match self.split.policy {
            Policy::Leases(size) => size,
            _ => 0,
        }
    }

    fn look(&mut self) {
        let Policy::Rebalanced(every) = self.split.policy else {
            return;
        };
        let left: Vec<u64> = self.shards.iter().map(|shard| shard.left).collect();
        let all_have_come = self.came.len() as u64 == self.split.crowd.people;
        if !all_have_come && left.iter().any(|left| *left > 0) {
            self.agenda.after(millis(every), Event::Looks);
        }
        // The numbers travel to the coordinator, and its answer to the gates.
        self.agenda.after(2 * millis(HOP), Event::Debits(left));
    }

    fn debit(&mut self, seen: &[u64]) {
        let mean = mean(seen);
        for (shard, seen) in self.shards.iter_mut().zip(seen) {
            // Some of them may have been granted meanwhile.
            let more = seen.saturating_sub(mean).min(shard.left);
            shard.left -= more;
            self.on_the_way += more;
            self.moved += more;
        }
        let credit = Event::Credits(seen.to_vec());
        self.agenda.after(2 * millis(HOP), credit);
    }

    fn credit(&mut self, seen: &[u64]) {
        let mean = mean(seen);
        let last = seen.len() - 1;
        for (place, (shard, seen)) in self.shards.iter_mut().zip(seen).enumerate() {
            let wanted = mean.saturating_sub(*seen);
            // The remainder of the division goes to the last gate.
            let given = if place == last {
                self.on_the_way
            } else {
                wanted.min(self.on_the_way)
            };
            shard.left += given;
            self.on_the_way -= given;
        }
    }

    fn given(self) -> Given {
        let people = self.came.iter().zip(&self.answered);
        let granted = people.clone().map(|(came, (_, granted))| (*came, *granted));
        let mut latencies: Vec<Nanos> = people.map(|(came, (at, _))| at - came).collect();
        let place = latencies.len() * 99 / 100;
        let (_, p99, _) = latencies.select_nth_unstable(place);
        let grants = self.answered.iter().filter(|(_, granted)| *granted);
        Given {
            order: Order::of(granted, self.split.quota),
            p99: seconds(*p99) * 1e3,
            sold_out: seconds(grants.map(|(at, _)| *at).max().unwrap_or(0)),
            moved: self.moved,
        }
    }
}

fn mean(numbers: &[u64]) -> u64 {
    numbers.iter().sum::<u64>().div_ceil(numbers.len() as u64)
}
