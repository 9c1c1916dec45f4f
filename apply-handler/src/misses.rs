//! Campaigns that the gate has just said it does not know, remembered for a second: a link with a typo in it must not be a
//! question to the gate for everybody who follows it.
//!
//! A campaign that is created after that is reached a second later at the latest.

use crate::gate::Gate;
use rushgate_gate::CampaignId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long, counted from before the gate was asked.
pub const LASTS: Duration = Duration::from_secs(1);

/// The most names that are remembered.
const MOST: usize = 256;

/// What this instance remembers.
static REMEMBERED: Mutex<Memory> = Mutex::new(Memory(BTreeMap::new()));

/// Each with when that ends.
struct Memory(BTreeMap<CampaignId, Instant>);

/// Whether the gate need not be asked for `campaign`, because it does not know it.
pub fn recall(campaign: &CampaignId) -> bool {
    memory().recall(campaign, Instant::now)
}

/// Remembers that the gate, which has just been asked, does not know `campaign`.
pub fn learn(gate: &Gate<'_>, campaign: &CampaignId) {
    let now = Instant::now();
    if let Some(asked) = now.checked_sub(gate.waited().unwrap_or_default()) {
        memory().learn(campaign, asked, now);
    }
}

fn memory() -> MutexGuard<'static, Memory> {
    // Each of its methods leaves it whole.
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    fn recall(&self, campaign: &CampaignId, now: impl Fn() -> Instant) -> bool {
        self.0.get(campaign).is_some_and(|ends| now() < *ends)
    }

    fn learn(&mut self, campaign: &CampaignId, asked: Instant, now: Instant) {
        // Those who ask at once must not make it last longer.
        if self.recall(campaign, || now) {
            return;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, ends| now < *ends);
        }
        if self.0.len() < MOST {
            self.0.insert(campaign.clone(), asked + LASTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> CampaignId {
        format!("c{number}").parse().expect("an id")
    }

    #[test]
    fn a_name_is_unknown_for_a_second_from_before_the_question() {
        let (mut memory, start) = (Memory(BTreeMap::new()), Instant::now());
        let answered = start + Duration::from_millis(300);
        memory.learn(&id(0), start, answered);
        assert!(memory.recall(&id(0), || answered));
        assert!(!memory.recall(&id(1), || answered));
        memory.learn(&id(0), answered, answered);
        assert!(!memory.recall(&id(0), || start + LASTS));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, start) = (Memory(BTreeMap::new()), Instant::now());
        for number in 0..3 * MOST {
            memory.learn(&id(number), start, start);
        }
        assert_eq!(memory.0.len(), MOST);
        memory.learn(&id(5 * MOST), start + LASTS, start + LASTS);
        assert_eq!(memory.0.len(), 1);
    }
}
