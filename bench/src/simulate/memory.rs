//! Simulates the refusal cache of the handlers (`apply-handler`): after a refusal, an instance asks the gate one
//! question, and repeats the answer for a limited time.

use super::agenda::{Nanos, millis};
use super::random::Random;

/// How long an answer may be repeated, in milliseconds from the question: CACHE_TTL in `grace_period.lua`.
const CACHE_TTL: f64 = 900.0;

/// How long an instance does not ask again after a question that taught nothing, in milliseconds:
/// `refusal_cache::GRACE_PERIOD`.
const GRACE_PERIOD: f64 = 1_000.0;

/// Grants of a campaign above which `refusal_cache.lua` teaches nothing, because it would have to list all winners.
pub(crate) const MOST_KNOWN: u64 = 2_048;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Number of caches, each for itself: instances of the component, or machines.
    pub(crate) askers: usize,
    /// After this many applications a cache is emptied, as when an instance is replaced.
    pub(crate) applications: u64,
    /// Concurrent applications of each at the gate; others wait.
    pub(crate) at_once: usize,
    /// Most grants at a gate with which a question can teach anything.
    pub(crate) most_known: u64,
}

/// One cache, in one of its lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) place: usize,
    life: u64,
}

/// What all caches know of each gate.
#[derive(Clone, Debug)]
pub(crate) struct Memories {
    memory: Option<Memory>,
    gates: usize,
    served: Vec<u64>,
    known: Vec<Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    life: u64,
    until: Nanos,
    learned: bool,
}

impl Memories {
    /// Nothing is known yet.
    pub(crate) fn new(memory: Option<Memory>, gates: usize) -> Self {
        let askers = memory.map_or(0, |memory| memory.askers);
        Self {
            memory,
            gates,
            served: vec![0; askers],
            known: vec![Known::default(); askers * gates],
        }
    }

    /// The cache that serves the next application.
    pub(crate) fn serve(&mut self, random: &mut Random) -> Option<Asker> {
        let memory = self.memory?;
        let place = random.below(memory.askers);
        let life = self.served[place] / memory.applications;
        self.served[place] += 1;
        Some(Asker { place, life })
    }

    /// Whether it has a valid answer of this gate.
    pub(crate) fn knows(&self, asker: Asker, gate: usize, now: Nanos) -> bool {
        let known = self.known[asker.place * self.gates + gate];
        known.life == asker.life && known.learned && now < known.until
    }

    /// Whether it asks now, after a refusal: not if it has an answer, or has asked.
    pub(crate) fn begin(&mut self, asker: Asker, gate: usize, now: Nanos) -> bool {
        let known = &mut self.known[asker.place * self.gates + gate];
        if known.life > asker.life || (known.life == asker.life && now < known.until) {
            return false;
        }
        *known = Known {
            life: asker.life,
            until: now + millis(GRACE_PERIOD),
            learned: false,
        };
        true
    }

    /// Whether a gate with this many grants can teach anything.
    pub(crate) fn can_learn(&self, granted: u64) -> bool {
        self.memory
            .is_some_and(|memory| granted <= memory.most_known)
    }

    /// Stores the answer to an earlier question.
    pub(crate) fn keep(&mut self, asker: Asker, gate: usize, asked: Nanos) {
        let known = &mut self.known[asker.place * self.gates + gate];
        if known.life == asker.life {
            known.until = asked + millis(CACHE_TTL);
            known.learned = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_those_of_the_script() {
        let script = rushgate_gate::refusal_cache::SCRIPT.source();
        for (name, value) in [
            ("CACHE_TTL", CACHE_TTL),
            ("GRACE_PERIOD", GRACE_PERIOD),
            ("MAX_EXCLUDED", MOST_KNOWN as f64),
        ] {
            let line = format!("local {name} = {value}\n");
            assert!(script.contains(&line), "{line}");
        }
    }

    #[test]
    fn a_cache_asks_once_keeps_the_answer_for_a_while_and_is_lost_with_its_instance() {
        let memory = Memory {
            askers: 1,
            applications: 3,
            at_once: 16,
            most_known: 10,
        };
        let mut memories = Memories::new(Some(memory), 2);
        let mut random = Random::new(1);
        let first = memories.serve(&mut random).unwrap();
        assert!(memories.begin(first, 0, 5) && !memories.begin(first, 0, 6));
        assert!(!memories.knows(first, 0, 7));
        memories.keep(first, 0, 5);
        assert!(memories.knows(first, 0, 7) && !memories.knows(first, 1, 7));
        assert!(!memories.knows(first, 0, 5 + millis(CACHE_TTL)));
        let others: Vec<_> = (0..3).filter_map(|_| memories.serve(&mut random)).collect();
        assert!(memories.knows(others[1], 0, 7) && !memories.knows(others[2], 0, 7));
        assert!(memories.can_learn(10) && !memories.can_learn(11));
    }
}
