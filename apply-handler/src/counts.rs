//! How campaigns stand, remembered for a moment: a million people who look at a counter must not be a million
//! questions to the gate.
//!
//! An instance asks the gate at most once in [`FRESH`] for each campaign, while pollers keep coming; those who
//! come while one of them asks are told what was known before, if that is not older than [`STALE`].

use crate::gate::{Gate, GateError};
use rushgate_gate::overview::{self, Overview};
use rushgate_gate::{CampaignId, Millis};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of the gate is passed on without asking again.
pub const FRESH: Duration = Duration::from_millis(200);

/// How old it may be while somebody else asks again.
pub const STALE: Duration = Duration::from_secs(1);

/// The most campaigns that are remembered.
const MOST: usize = 256;

/// What this instance remembers.
static REMEMBERED: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Memory(HashMap<CampaignId, Remembered>);

struct Remembered {
    overview: Overview,
    at: Instant,
    /// Since when somebody asks again.
    asking_since: Option<Instant>,
}

/// How `campaign` stands; `None` if the gate knows no such campaign.
///
/// # Errors
/// When the gate has to be asked, and does not answer.
pub async fn overview(
    gate: &Gate<'_>,
    campaign: &CampaignId,
) -> Result<Option<Overview>, GateError> {
    if let Some(known) = memory(|memory| memory.recall(campaign, Instant::now())) {
        return Ok(Some(known));
    }
    let answer = gate
        .call(&overview::call(campaign), overview::overview)
        .await;
    memory(|memory| match &answer {
        Ok(Some(overview)) => memory.keep(campaign, overview, Instant::now()),
        _ => memory.forget(campaign),
    });
    answer
}

fn memory<T>(work: impl FnOnce(&mut Memory) -> T) -> T {
    // Each of its methods leaves it whole.
    let mut memory = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut memory)
}

impl Memory {
    /// What is known and young enough; `None` makes the caller the one who asks.
    fn recall(&mut self, campaign: &CampaignId, now: Instant) -> Option<Overview> {
        let known = self.0.get_mut(campaign)?;
        let age = now.saturating_duration_since(known.at);
        let overview = later(&known.overview, age);
        let has_opened = overview
            .next
            .as_ref()
            .is_some_and(|(_, opens_at)| *opens_at <= overview.now);
        let asked = known
            .asking_since
            .is_some_and(|since| now.saturating_duration_since(since) < STALE);
        if !has_opened && (age < FRESH || (age < STALE && asked)) {
            return Some(overview);
        }
        known.asking_since = Some(now);
        None
    }

    fn keep(&mut self, campaign: &CampaignId, overview: &Overview, now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(campaign) {
            self.0
                .retain(|_, known| now.saturating_duration_since(known.at) < STALE);
            if self.0.len() >= MOST {
                return;
            }
        }
        let known = Remembered {
            overview: overview.clone(),
            at: now,
            asking_since: None,
        };
        self.0.insert(campaign.clone(), known);
    }

    fn forget(&mut self, campaign: &CampaignId) {
        self.0.remove(campaign);
    }
}

/// The same with the gate's clock moved on.
fn later(overview: &Overview, age: Duration) -> Overview {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let now = Millis::try_from(overview.now.get().saturating_add(age));
    Overview {
        now: now.unwrap_or(Millis::MAX),
        ..overview.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::CampaignState;

    fn seen(now: i64, opens_at: Option<i64>) -> Overview {
        let at = |millis: i64| Millis::try_from(millis).expect("an instant");
        Overview {
            state: CampaignState::Running,
            round: None,
            next: opens_at.map(|millis| ("day".parse().expect("a round"), at(millis))),
            now: at(now),
        }
    }

    fn id(number: usize) -> CampaignId {
        format!("c{number}").parse().expect("an id")
    }

    #[test]
    fn one_asks_and_the_others_are_told_what_is_known() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(memory.recall(&id(0), start), None);
        memory.keep(&id(0), &seen(5_000, None), start);
        assert_eq!(memory.recall(&id(0), after(150)), Some(seen(5_150, None)));
        assert_eq!(
            memory.recall(&id(0), after(250)),
            None,
            "somebody has to ask"
        );
        assert_eq!(memory.recall(&id(0), after(260)), Some(seen(5_260, None)));
        assert_eq!(
            memory.recall(&id(0), after(1_000)),
            None,
            "too old for anybody"
        );
        memory.keep(&id(0), &seen(6_100, None), after(1_100));
        assert_eq!(memory.recall(&id(0), after(1_200)), Some(seen(6_200, None)));
        memory.forget(&id(0));
        assert_eq!(memory.recall(&id(0), after(1_201)), None);
    }

    #[test]
    fn an_opening_is_not_slept_through() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.keep(&id(0), &seen(5_000, Some(5_100)), start);
        let after = |millis| start + Duration::from_millis(millis);
        assert!(memory.recall(&id(0), after(99)).is_some());
        assert_eq!(memory.recall(&id(0), after(100)), None);
        assert_eq!(memory.recall(&id(0), after(101)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        for number in 0..3 * MOST {
            memory.keep(&id(number), &seen(0, None), start);
        }
        assert_eq!(memory.0.len(), MOST);
        memory.keep(&id(5 * MOST), &seen(0, None), start + 2 * STALE);
        assert_eq!(memory.0.len(), 1);
    }
}
