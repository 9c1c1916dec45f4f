//! A negative cache of campaigns that the gate does not know. A popular link with a wrong campaign id is answered from
//! it, so the clicks put little load on the gate.
//!
//! An entry lasts for 1 s, so a new campaign is visible within 1 s.

use crate::gate::{Gate, GateError};
use crate::problem::Problem;
use rushgate_gate::CampaignId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lifetime of an entry, counted from before the gate was asked.
pub const TTL: Duration = Duration::from_secs(1);

/// Maximum number of campaigns.
const CAPACITY: usize = 256;

static CACHE: Mutex<Cache> = Mutex::new(Cache(BTreeMap::new()));

/// Each campaign with the end of its entry.
struct Cache(BTreeMap<CampaignId, Instant>);

/// Whether the gate is known not to know `campaign`.
pub fn contains(campaign: &CampaignId) -> bool {
    cache().contains(campaign, Instant::now)
}

/// Stores that the gate does not know `campaign`. The gate has just been asked, and the request has `waited` for it.
pub fn insert(campaign: &CampaignId, waited: Option<Duration>) {
    let now = Instant::now();
    if let Some(asked) = now.checked_sub(waited.unwrap_or_default()) {
        cache().insert(campaign, asked, now);
    }
}

/// The problem for a campaign that the gate does not know. "Not found" is certain only if Redis has been given all
/// campaigns, and this one is not among them.
///
/// # Errors
/// When the gate does not answer.
pub async fn problem(gate: &Gate<'_>, campaign: &CampaignId) -> Result<Problem, GateError> {
    Ok(match gate.may_have_lost(campaign).await? {
        true => Problem::BooksIncomplete,
        false => {
            insert(campaign, gate.waited());
            Problem::CampaignNotFound
        }
    })
}

fn cache() -> MutexGuard<'static, Cache> {
    // A panic cannot leave it inconsistent.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    fn contains(&self, campaign: &CampaignId, now: impl Fn() -> Instant) -> bool {
        self.0
            .get(campaign)
            .is_some_and(|expires_at| now() < *expires_at)
    }

    fn insert(&mut self, campaign: &CampaignId, asked: Instant, now: Instant) {
        // Concurrent requests must not extend the lifetime.
        if self.contains(campaign, || now) {
            return;
        }
        if self.0.len() >= CAPACITY {
            self.0.retain(|_, expires_at| now < *expires_at);
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
    fn an_entry_lasts_for_a_second_from_before_the_question() {
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
