//! Pages of the list of campaigns. A page is asked for one question at a time, by one request at a time, and remembered for
//! a second: lists of campaigns must not keep the gate from applications.

use crate::gate::{Gate, GateError};
use crate::overview_cache::{self, STALE};
use futures::lock::Mutex;
use rushgate_gate::CampaignId;
use rushgate_gate::overview::Overview;
use std::collections::BTreeMap;
use std::sync::{self, MutexGuard, PoisonError};
use std::time::Instant;

/// The most campaigns of a page.
pub const PAGE: usize = 20;

/// The most pages that are remembered.
const CAPACITY: usize = 64;

/// What this instance remembers.
static CACHE: sync::Mutex<Cache> = sync::Mutex::new(Cache(BTreeMap::new()));

/// Whose turn it is to ask.
static QUERY_LOCK: Mutex<()> = Mutex::new(());

/// How some campaigns stand, in the order of their names.
#[derive(Debug)]
pub struct Page {
    /// At most [`PAGE`].
    pub campaigns: Vec<(CampaignId, Overview)>,
    /// Those in between of which the gate cannot tell how they stand.
    pub unreadable: Vec<CampaignId>,
    /// The name after which the next page begins, if there is one.
    pub next: Option<CampaignId>,
}

/// The names of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    campaigns: Vec<CampaignId>,
    next: Option<CampaignId>,
}

/// The names of pages, each by what stands before it, and when it was asked for.
struct Cache(BTreeMap<Option<CampaignId>, (Names, Instant)>);

/// The page that begins after the name `after`, or with the first one; `None` if Redis knows neither a campaign nor that
/// there is none.
///
/// # Errors
/// When the gate has to be asked, and does not answer.
pub async fn page(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<Page>, GateError> {
    let begun = Instant::now();
    // Taken with the first question, and kept until the last.
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
            Err(error) if error.is_of_one_campaign() => page.unreadable.push(campaign),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(page))
}

async fn query(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<Names>, GateError> {
    let asked = Instant::now();
    // One more, which tells whether there is another page.
    let listed = gate.campaign_names(after, PAGE + 1).await?;
    if listed.is_empty() && gate.is_wiped().await? {
        return Ok(None);
    }
    let names = Names::of(&listed);
    cache().insert(after, &names, asked);
    Ok(Some(names))
}

fn cached(after: Option<&CampaignId>) -> Option<Names> {
    cache().cached(after, Instant::now())
}

fn cache() -> MutexGuard<'static, Cache> {
    // Each of its methods leaves it whole.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// A page of what the index lists; what is no name of a campaign is passed over.
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
    fn cached(&self, after: Option<&CampaignId>, now: Instant) -> Option<Names> {
        let (names, at) = self.0.get(&after.cloned())?;
        (now.saturating_duration_since(*at) < STALE).then(|| names.clone())
    }

    fn insert(&mut self, after: Option<&CampaignId>, names: &Names, now: Instant) {
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
    fn a_page_tells_where_the_next_one_begins() {
        let next = |count| Names::of(&listed(count)).next.map(|id| id.to_string());
        assert_eq!(next(0), None);
        assert_eq!(next(PAGE), None);
        assert_eq!(next(PAGE + 1).as_deref(), Some("c019"));
        let mut odd = listed(PAGE + 1);
        odd[PAGE - 1] = "NO CAMPAIGN".to_owned();
        let page = Names::of(&odd);
        assert_eq!(page.campaigns.len(), PAGE - 1);
        assert_eq!(page.next, page.campaigns.last().cloned());
    }

    #[test]
    fn a_page_is_remembered_for_a_second_and_memory_is_bounded() {
        let (mut cache, start) = (Cache(BTreeMap::new()), Instant::now());
        let names = Names::of(&listed(1));
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
