//! A cache of campaign overviews. Clients that poll a counter are answered from it, so they put little load on the
//! gate.
//!
//! For each campaign, a handler instance sends at most one query at a time, and at most one per [`FRESH`]. Requests
//! that arrive during a query get the cached overview if it is younger than [`STALE`] and no round has opened since;
//! otherwise they wait for the result of the query.

use crate::clock::later;
use crate::gate::{Gate, GateError};
use crate::unknown_campaigns;
use futures::lock::Mutex;
use rushgate_gate::CampaignId;
use rushgate_gate::overview::{self, Overview};
use std::collections::HashMap;
use std::sync::{self, Arc, LazyLock, PoisonError};
use std::time::{Duration, Instant};

/// An overview of this age or older is queried again.
pub const FRESH: Duration = Duration::from_millis(200);

/// Maximum age in a list, or while another request queries the gate.
pub const STALE: Duration = Duration::from_secs(1);

/// Maximum number of campaigns.
const CAPACITY: usize = 256;

static CACHE: LazyLock<sync::Mutex<Cache>> = LazyLock::new(sync::Mutex::default);

#[derive(Default)]
struct Cache(HashMap<CampaignId, Entry>);

/// The request that holds it queries the gate.
type QueryLock = Arc<Mutex<()>>;

struct Entry {
    overview: Option<Overview>,
    /// When the overview arrived; before that, when it was first requested.
    at: Instant,
    lock: QueryLock,
}

/// The overview of `campaign`, younger than `max_age`, from the cache or the gate; `None` if the gate does not know the
/// campaign.
///
/// # Errors
/// When the gate is queried and does not answer.
pub async fn overview(
    gate: &Gate<'_>,
    campaign: &CampaignId,
    max_age: Duration,
) -> Result<Option<Overview>, GateError> {
    if let Some(overview) = cached(campaign, max_age) {
        return Ok(Some(overview));
    }
    let lock = with_cache(|cache| cache.query_lock(campaign, Instant::now()));
    let _guard = match lock.try_lock() {
        Some(guard) => guard,
        None => {
            if let Some(overview) = cached(campaign, STALE) {
                return Ok(Some(overview));
            }
            let guard = gate.lock_query(&lock).await?;
            // The request that held the lock has most likely filled the cache.
            if let Some(overview) = cached(campaign, max_age) {
                return Ok(Some(overview));
            }
            if unknown_campaigns::contains(campaign) {
                return Ok(None);
            }
            guard
        }
    };
    let overview = gate
        .call(|| overview::call(campaign), overview::overview)
        .await?;
    match &overview {
        Some(overview) => with_cache(|cache| cache.insert(campaign, overview, Instant::now())),
        None => with_cache(|cache| cache.remove(campaign)),
    }
    Ok(overview)
}

/// The overview from the cache, if it is younger than `max_age`.
pub fn cached(campaign: &CampaignId, max_age: Duration) -> Option<Overview> {
    with_cache(|cache| cache.cached(campaign, max_age, Instant::now()))
}

fn with_cache<T>(work: impl FnOnce(&mut Cache) -> T) -> T {
    // A panic cannot leave it inconsistent.
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut cache)
}

impl Cache {
    /// The overview with its age added to `now`; `None` if it is too old, or if a round has opened since.
    fn cached(&self, campaign: &CampaignId, max_age: Duration, now: Instant) -> Option<Overview> {
        let entry = self.0.get(campaign)?;
        let age = now.saturating_duration_since(entry.at);
        let overview = entry.overview.as_ref().filter(|_| age < max_age)?;
        let overview = Overview {
            now: later(overview.now, age),
            ..overview.clone()
        };
        let opens_at = overview.next.as_ref().map(|(_, opens_at)| *opens_at);
        let has_opened = opens_at.is_some_and(|opens_at| opens_at <= overview.now);
        (!has_opened).then_some(overview)
    }

    fn query_lock(&mut self, campaign: &CampaignId, now: Instant) -> QueryLock {
        if let Some(entry) = self.0.get(campaign) {
            return entry.lock.clone();
        }
        if self.0.len() >= CAPACITY {
            self.make_room();
        }
        let lock = QueryLock::default();
        if self.0.len() < CAPACITY {
            let pending = Entry {
                overview: None,
                at: now,
                lock: lock.clone(),
            };
            self.0.insert(campaign.clone(), pending);
        }
        lock
    }

    /// Removes the oldest campaign that no request is using. A campaign that is polled is never the oldest.
    fn make_room(&mut self) {
        let is_idle = |entry: &Entry| Arc::strong_count(&entry.lock) == 1;
        let idle = self.0.iter().filter(|(_, entry)| is_idle(entry));
        let oldest = idle.min_by_key(|(_, entry)| entry.at);
        if let Some(oldest) = oldest.map(|(campaign, _)| campaign.clone()) {
            self.0.remove(&oldest);
        }
    }

    fn insert(&mut self, campaign: &CampaignId, overview: &Overview, now: Instant) {
        if let Some(entry) = self.0.get_mut(campaign) {
            entry.overview = Some(overview.clone());
            entry.at = now;
        }
    }

    fn remove(&mut self, campaign: &CampaignId) {
        self.0.remove(campaign);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::overview::Rules;
    use rushgate_gate::{CampaignState, Millis};

    fn seen(now: i64, opens_at: Option<i64>) -> Overview {
        let at = |millis: i64| Millis::try_from(millis).expect("an instant");
        Overview {
            state: CampaignState::Running,
            round: None,
            next: opens_at.map(|millis| ("day".parse().expect("a round"), at(millis))),
            rules: Rules::default(),
            now: at(now),
        }
    }

    fn id(number: usize) -> CampaignId {
        format!("c{number}").parse().expect("an id")
    }

    /// Queries and stores the result.
    fn store(cache: &mut Cache, number: usize, overview: &Overview, now: Instant) {
        drop(cache.query_lock(&id(number), now));
        cache.insert(&id(number), overview, now);
    }

    #[test]
    fn an_overview_is_cached_while_it_is_young_enough() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(cache.cached(&id(0), STALE, start), None);
        drop(cache.query_lock(&id(0), start));
        assert_eq!(cache.cached(&id(0), STALE, start), None, "no result yet");
        store(&mut cache, 0, &seen(5_000, None), start);
        let known = |age, millis| cache.cached(&id(0), age, after(millis));
        assert_eq!(known(FRESH, 150), Some(seen(5_150, None)));
        assert_eq!(known(FRESH, 200), None, "a query is due");
        assert_eq!(known(STALE, 260), Some(seen(5_260, None)));
        assert_eq!(known(STALE, 1_000), None, "too old");
        cache.remove(&id(0));
        assert_eq!(cache.cached(&id(0), STALE, after(1)), None);
    }

    #[test]
    fn one_query_at_a_time_per_campaign() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let turn = cache.query_lock(&id(0), start);
        let asking = turn.try_lock();
        assert!(asking.is_some());
        assert!(cache.query_lock(&id(0), start).try_lock().is_none());
        assert!(cache.query_lock(&id(1), start).try_lock().is_some());
        drop(asking);
        assert!(cache.query_lock(&id(0), start).try_lock().is_some());
    }

    #[test]
    fn a_cached_overview_ends_at_the_next_opening() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        store(&mut cache, 0, &seen(5_000, Some(5_100)), start);
        let known = |millis| cache.cached(&id(0), STALE, start + Duration::from_millis(millis));
        assert!(known(99).is_some());
        assert_eq!(known(100), None);
    }

    #[test]
    fn memory_is_bounded_and_polled_campaigns_stay() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let asking = cache.query_lock(&id(1), start);
        for number in 2..3 * CAPACITY {
            let now = start + Duration::from_millis(u64::try_from(number).expect("small"));
            store(&mut cache, 0, &seen(0, None), now);
            store(&mut cache, number, &seen(0, None), now);
            assert!(cache.0.len() <= CAPACITY);
            assert!(cache.cached(&id(0), STALE, now).is_some());
        }
        assert!(Arc::ptr_eq(&asking, &cache.query_lock(&id(1), start)));
    }
}
