//! Serves the list of campaigns, page by page (`GET /v1/campaigns`). The campaign ids of a page are cached for one
//! second. In an instance, only one list request at a time queries the gate, and it queries one campaign after the
//! other. So lists hardly delay applications.

use crate::gate::{Gate, GateError};
use crate::overview_cache::{self, STALE};
use futures::lock::Mutex;
use rushgate_gate::CampaignId;
use rushgate_gate::overview::Overview;
use std::collections::BTreeMap;
use std::sync::{self, MutexGuard, PoisonError};
use std::time::Instant;

/// Maximum number of campaigns on a page.
pub const PAGE: usize = 20;

/// Maximum number of cached pages.
const CAPACITY: usize = 64;

static CACHE: sync::Mutex<Cache> = sync::Mutex::new(Cache(BTreeMap::new()));

/// The request that holds it queries the gate.
static QUERY_LOCK: Mutex<()> = Mutex::new(());

/// Overviews of campaigns in alphabetical order.
#[derive(Debug)]
pub struct Page {
    pub campaigns: Vec<(CampaignId, Overview)>,
    /// Campaigns of this page whose data in the gate is unreadable.
    pub unreadable: Vec<CampaignId>,
    /// The id after which the next page begins; `None` on the last page.
    pub next: Option<CampaignId>,
}

/// The ids of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PageIds {
    campaigns: Vec<CampaignId>,
    next: Option<CampaignId>,
}

/// Key: the id after which the page begins. Value: the ids of the page, and when they were queried.
struct Cache(BTreeMap<Option<CampaignId>, (PageIds, Instant)>);

/// The page that begins after the id `after`, or the first page; `None` if Redis was wiped or never set up.
///
/// # Errors
/// When the gate is queried and does not answer.
pub async fn page(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<Page>, GateError> {
    let begun = Instant::now();
    // Locked before the first query, and held until the last.
    let mut guard = None;
    let names = match cached(after) {
        Some(names) => names,
        None => {
            guard = Some(gate.lock_query(&QUERY_LOCK).await?);
            match cached(after) {
                Some(names) => names,
                None => match query(gate, after).await? {
                    Some(names) => names,
                    None => return Ok(None),
                },
            }
        }
    };
    let mut page = Page {
        campaigns: Vec::with_capacity(names.campaigns.len()),
        unreadable: vec![],
        next: names.next,
    };
    for campaign in names.campaigns {
        let overview = match overview_cache::cached(&campaign, STALE) {
            Some(known) => Ok(Some(known)),
            None => {
                if guard.is_none() {
                    guard = Some(gate.lock_query(&QUERY_LOCK).await?);
                }
                gate.check_deadline(begun)?;
                overview_cache::overview(gate, &campaign, STALE).await
            }
        };
        match overview {
            Ok(Some(overview)) => page.campaigns.push((campaign, overview)),
            Ok(None) => {}
            Err(error) if error.concerns_one_campaign() => page.unreadable.push(campaign),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(page))
}

async fn query(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<PageIds>, GateError> {
    let asked = Instant::now();
    // One more id, which shows whether there is another page.
    let listed = gate.campaign_names(after, PAGE + 1).await?;
    if listed.is_empty() && gate.is_wiped().await? {
        return Ok(None);
    }
    let names = PageIds::of(&listed);
    cache().insert(after, &names, asked);
    Ok(Some(names))
}

fn cached(after: Option<&CampaignId>) -> Option<PageIds> {
    cache().cached(after, Instant::now())
}

fn cache() -> MutexGuard<'static, Cache> {
    // A panic cannot leave it inconsistent.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageIds {
    /// Ignores members of the index that are not valid campaign ids.
    fn of(listed: &[String]) -> Self {
        let campaigns: Vec<CampaignId> = listed
            .iter()
            .take(PAGE)
            .filter_map(|name| name.parse().ok())
            .collect();
        let is_last = listed.len() <= PAGE;
        Self {
            next: campaigns.last().filter(|_| !is_last).cloned(),
            campaigns,
        }
    }
}

impl Cache {
    fn cached(&self, after: Option<&CampaignId>, now: Instant) -> Option<PageIds> {
        let (names, at) = self.0.get(&after.cloned())?;
        (now.saturating_duration_since(*at) < STALE).then(|| names.clone())
    }

    fn insert(&mut self, after: Option<&CampaignId>, names: &PageIds, now: Instant) {
        if self.0.len() >= CAPACITY {
            self.0
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < STALE);
        }
        if self.0.len() < CAPACITY {
            self.0.insert(after.cloned(), (names.clone(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("c{number:03}")).collect()
    }

    #[test]
    fn a_page_names_the_start_of_the_next() {
        let next = |count| PageIds::of(&listed(count)).next.map(|id| id.to_string());
        assert_eq!(next(0), None);
        assert_eq!(next(PAGE), None);
        assert_eq!(next(PAGE + 1).as_deref(), Some("c019"));
        let mut odd = listed(PAGE + 1);
        odd[PAGE - 1] = "NO CAMPAIGN".to_owned();
        let page = PageIds::of(&odd);
        assert_eq!(page.campaigns.len(), PAGE - 1);
        assert_eq!(page.next, page.campaigns.last().cloned());
    }

    #[test]
    fn a_page_is_cached_for_a_second_and_memory_is_bounded() {
        let (mut cache, start) = (Cache(BTreeMap::new()), Instant::now());
        let names = PageIds::of(&listed(1));
        cache.insert(None, &names, start);
        assert_eq!(cache.cached(None, start), Some(names.clone()));
        let after = names.campaigns.first();
        assert_eq!(cache.cached(after, start), None);
        assert_eq!(cache.cached(None, start + STALE), None);
        for name in listed(3 * CAPACITY) {
            cache.insert(Some(&name.parse().expect("an id")), &names, start);
        }
        assert_eq!(cache.0.len(), CAPACITY);
        cache.insert(None, &names, start + STALE);
        assert_eq!(cache.0.len(), 1);
    }
}
