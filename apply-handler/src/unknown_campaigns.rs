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
pub const TTL: Duration = Duration::from_secs(1);

/// The most names that are remembered.
const CAPACITY: usize = 256;

/// What this instance remembers.
static CACHE: Mutex<Cache> = Mutex::new(Cache(BTreeMap::new()));

/// Each with when that ends.
struct Cache(BTreeMap<CampaignId, Instant>);

/// Whether the gate need not be asked for `campaign`, because it does not know it.
pub fn contains(campaign: &CampaignId) -> bool {
    cache().contains(campaign, Instant::now)
}

/// Remembers that the gate, which has just been asked, does not know `campaign`.
pub fn insert(gate: &Gate<'_>, campaign: &CampaignId) {
    let now = Instant::now();
    if let Some(asked) = now.checked_sub(gate.waited().unwrap_or_default()) {
        cache().insert(campaign, asked, now);
    }
}

fn cache() -> MutexGuard<'static, Cache> {
    // Each of its methods leaves it whole.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    fn contains(&self, campaign: &CampaignId, now: impl Fn() -> Instant) -> bool {
        self.0.get(campaign).is_some_and(|ends| now() < *ends)
    }

    fn insert(&mut self, campaign: &CampaignId, asked: Instant, now: Instant) {
        // Those who ask at once must not make it last longer.
        if self.contains(campaign, || now) {
            return;
        }
        if self.0.len() >= CAPACITY {
            self.0.retain(|_, ends| now < *ends);
        }
        if self.0.len() < CAPACITY {
            self.0.insert(campaign.clone(), asked + TTL);
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
        let (mut cache, start) = (Cache(BTreeMap::new()), Instant::now());
        let answered = start + Duration::from_millis(300);
        cache.insert(&id(0), start, answered);
        assert!(cache.contains(&id(0), || answered));
        assert!(!cache.contains(&id(1), || answered));
        cache.insert(&id(0), answered, answered);
        assert!(!cache.contains(&id(0), || start + TTL));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut cache, start) = (Cache(BTreeMap::new()), Instant::now());
        for number in 0..3 * CAPACITY {
            cache.insert(&id(number), start, start);
        }
        assert_eq!(cache.0.len(), CAPACITY);
        cache.insert(&id(5 * CAPACITY), start + TTL, start + TTL);
        assert_eq!(cache.0.len(), 1);
    }
}
