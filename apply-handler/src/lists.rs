//! Pages of the list of campaigns. A page is asked for one question at a time, by one request at a time, and remembered for
//! a second: lists of campaigns must not keep the gate from applications.

use crate::counts::{self, STALE};
use crate::gate::{Gate, GateError};
use futures::lock::Mutex;
use rushgate_gate::CampaignId;
use rushgate_gate::overview::Overview;
use std::collections::BTreeMap;
use std::sync::{self, MutexGuard, PoisonError};
use std::time::Instant;

/// The most campaigns of a page.
pub const PAGE: usize = 20;

/// The most pages that are remembered.
const MOST: usize = 64;

/// What this instance remembers.
static REMEMBERED: sync::Mutex<Memory> = sync::Mutex::new(Memory(BTreeMap::new()));

/// Whose turn it is to ask.
static TURN: Mutex<()> = Mutex::new(());

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
struct Memory(BTreeMap<Option<CampaignId>, (Names, Instant)>);

/// The page that begins after the name `after`, or with the first one; `None` if Redis knows neither a campaign nor that
/// there is none.
///
/// # Errors
/// When the gate has to be asked, and does not answer.
pub async fn page(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<Page>, GateError> {
    let begun = Instant::now();
    // Taken with the first question, and kept until the last.
    let mut turn = None;
    let names = match recall(after) {
        Some(names) => names,
        None => {
            turn = Some(gate.turn(&TURN).await?);
            match recall(after) {
                Some(names) => names,
                None => match ask(gate, after).await? {
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
        let overview = match counts::known(&campaign, STALE) {
            Some(known) => Ok(Some(known)),
            None => {
                if turn.is_none() {
                    turn = Some(gate.turn(&TURN).await?);
                }
                gate.check(begun)?;
                counts::overview(gate, &campaign, STALE).await
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

async fn ask(gate: &Gate<'_>, after: Option<&CampaignId>) -> Result<Option<Names>, GateError> {
    let asked = Instant::now();
    // One more, which tells whether there is another page.
    let listed = gate.names(after, PAGE + 1).await?;
    if listed.is_empty() && gate.is_wiped().await? {
        return Ok(None);
    }
    let names = Names::of(&listed);
    memory().keep(after, &names, asked);
    Ok(Some(names))
}

fn recall(after: Option<&CampaignId>) -> Option<Names> {
    memory().recall(after, Instant::now())
}

fn memory() -> MutexGuard<'static, Memory> {
    // Each of its methods leaves it whole.
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Memory {
    fn recall(&self, after: Option<&CampaignId>, now: Instant) -> Option<Names> {
        let (names, at) = self.0.get(&after.cloned())?;
        (now.saturating_duration_since(*at) < STALE).then(|| names.clone())
    }

    fn keep(&mut self, after: Option<&CampaignId>, names: &Names, now: Instant) {
        if self.0.len() >= MOST {
            self.0
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < STALE);
        }
        if self.0.len() < MOST {
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
        let (mut memory, start) = (Memory(BTreeMap::new()), Instant::now());
        let names = Names::of(&listed(1));
        memory.keep(None, &names, start);
        assert_eq!(memory.recall(None, start), Some(names.clone()));
        let after = names.campaigns.first();
        assert_eq!(memory.recall(after, start), None);
        assert_eq!(memory.recall(None, start + STALE), None);
        for name in listed(3 * MOST) {
            memory.keep(Some(&name.parse().expect("an id")), &names, start);
        }
        assert_eq!(memory.0.len(), MOST);
        memory.keep(None, &names, start + STALE);
        assert_eq!(memory.0.len(), 1);
    }
}
