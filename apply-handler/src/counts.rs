//! How campaigns stand, remembered for a moment: a million people who look at a counter must not be a million
//! questions to the gate.
//!
//! An instance asks the gate for a campaign one question at a time, and at most once in [`FRESH`] while pollers keep
//! coming. Those who come while one of them asks are told what was known before, if that is not older than [`STALE`] and
//! no round has opened since; else they wait for that answer.

use crate::clock::later;
use crate::gate::{Gate, GateError};
use crate::misses;
use futures::lock::Mutex;
use rushgate_gate::CampaignId;
use rushgate_gate::overview::{self, Overview};
use std::collections::HashMap;
use std::sync::{self, Arc, LazyLock, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer of the gate is passed on without asking again.
pub const FRESH: Duration = Duration::from_millis(200);

/// How old it may be in a list, or while somebody else asks again.
pub const STALE: Duration = Duration::from_secs(1);

/// The most campaigns that are remembered.
const MOST: usize = 256;

/// What this instance remembers.
static REMEMBERED: LazyLock<sync::Mutex<Memory>> = LazyLock::new(sync::Mutex::default);

#[derive(Default)]
struct Memory(HashMap<CampaignId, Remembered>);

/// The request that holds it asks.
type Turn = Arc<Mutex<()>>;

struct Remembered {
    overview: Option<Overview>,
    /// When that was told; until then, when it was first asked for.
    at: Instant,
    turn: Turn,
}

/// How `campaign` stands, told by the gate not longer ago than `age`; `None` if the gate knows no such campaign.
///
/// # Errors
/// When the gate has to be asked, and does not answer.
pub async fn overview(
    gate: &Gate<'_>,
    campaign: &CampaignId,
    age: Duration,
) -> Result<Option<Overview>, GateError> {
    if let Some(known) = known(campaign, age) {
        return Ok(Some(known));
    }
    let turn = memory(|memory| memory.turn(campaign, Instant::now()));
    let _turn = match turn.try_lock() {
        Some(turn) => turn,
        None => {
            if let Some(known) = known(campaign, STALE) {
                return Ok(Some(known));
            }
            let turn = gate.turn(&turn).await?;
            // Most likely it is known by now.
            if let Some(known) = known(campaign, age) {
                return Ok(Some(known));
            }
            if misses::recall(campaign) {
                return Ok(None);
            }
            turn
        }
    };
    let answer = gate
        .call(&overview::call(campaign), overview::overview)
        .await?;
    match &answer {
        Some(overview) => memory(|memory| memory.keep(campaign, overview, Instant::now())),
        None => memory(|memory| memory.forget(campaign)),
    }
    Ok(answer)
}

/// What this instance knows of it, if that was told not longer ago than `age`.
pub fn known(campaign: &CampaignId, age: Duration) -> Option<Overview> {
    memory(|memory| memory.known(campaign, age, Instant::now()))
}

fn memory<T>(work: impl FnOnce(&mut Memory) -> T) -> T {
    // Each of its methods leaves it whole.
    let mut memory = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut memory)
}

impl Memory {
    /// What is known and young enough, with the gate's clock moved on. No opening is slept through.
    fn known(&self, campaign: &CampaignId, most: Duration, now: Instant) -> Option<Overview> {
        let known = self.0.get(campaign)?;
        let age = now.saturating_duration_since(known.at);
        let overview = known.overview.as_ref().filter(|_| age < most)?;
        let overview = Overview {
            now: later(overview.now, age),
            ..overview.clone()
        };
        let opens_at = overview.next.as_ref().map(|(_, opens_at)| *opens_at);
        let has_opened = opens_at.is_some_and(|opens_at| opens_at <= overview.now);
        (!has_opened).then_some(overview)
    }

    /// What those who ask for `campaign` have in common.
    fn turn(&mut self, campaign: &CampaignId, now: Instant) -> Turn {
        if let Some(known) = self.0.get(campaign) {
            return known.turn.clone();
        }
        if self.0.len() >= MOST {
            self.make_room();
        }
        let turn = Turn::default();
        if self.0.len() < MOST {
            let asked_for = Remembered {
                overview: None,
                at: now,
                turn: turn.clone(),
            };
            self.0.insert(campaign.clone(), asked_for);
        }
        turn
    }

    /// Forgets what is oldest. Those of which many want to know are never old.
    fn make_room(&mut self) {
        let is_idle = |known: &Remembered| Arc::strong_count(&known.turn) == 1;
        let idle = self.0.iter().filter(|(_, known)| is_idle(known));
        let oldest = idle.min_by_key(|(_, known)| known.at);
        if let Some(oldest) = oldest.map(|(campaign, _)| campaign.clone()) {
            self.0.remove(&oldest);
        }
    }

    fn keep(&mut self, campaign: &CampaignId, overview: &Overview, now: Instant) {
        if let Some(asked_for) = self.0.get_mut(campaign) {
            asked_for.overview = Some(overview.clone());
            asked_for.at = now;
        }
    }

    fn forget(&mut self, campaign: &CampaignId) {
        self.0.remove(campaign);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{CampaignState, Millis};

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

    /// Asks, and is told.
    fn told(memory: &mut Memory, number: usize, overview: &Overview, now: Instant) {
        drop(memory.turn(&id(number), now));
        memory.keep(&id(number), overview, now);
    }

    #[test]
    fn what_is_known_is_passed_on_while_it_is_young_enough() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(memory.known(&id(0), STALE, start), None);
        drop(memory.turn(&id(0), start));
        assert_eq!(
            memory.known(&id(0), STALE, start),
            None,
            "nobody has answered"
        );
        told(&mut memory, 0, &seen(5_000, None), start);
        let known = |age, millis| memory.known(&id(0), age, after(millis));
        assert_eq!(known(FRESH, 150), Some(seen(5_150, None)));
        assert_eq!(known(FRESH, 200), None, "somebody has to ask");
        assert_eq!(known(STALE, 260), Some(seen(5_260, None)));
        assert_eq!(known(STALE, 1_000), None, "too old for anybody");
        memory.forget(&id(0));
        assert_eq!(memory.known(&id(0), STALE, after(1)), None);
    }

    #[test]
    fn one_asks_at_a_time_and_campaigns_do_not_wait_for_each_other() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let turn = memory.turn(&id(0), start);
        let asking = turn.try_lock();
        assert!(asking.is_some());
        assert!(memory.turn(&id(0), start).try_lock().is_none());
        assert!(memory.turn(&id(1), start).try_lock().is_some());
        drop(asking);
        assert!(memory.turn(&id(0), start).try_lock().is_some());
    }

    #[test]
    fn an_opening_is_not_slept_through() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        told(&mut memory, 0, &seen(5_000, Some(5_100)), start);
        let known = |millis| memory.known(&id(0), STALE, start + Duration::from_millis(millis));
        assert!(known(99).is_some());
        assert_eq!(known(100), None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_all_the_time_stays() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let asking = memory.turn(&id(1), start);
        for number in 2..3 * MOST {
            let now = start + Duration::from_millis(u64::try_from(number).expect("small"));
            told(&mut memory, 0, &seen(0, None), now);
            told(&mut memory, number, &seen(0, None), now);
            assert!(memory.0.len() <= MOST);
            assert!(memory.known(&id(0), STALE, now).is_some());
        }
        assert!(Arc::ptr_eq(&asking, &memory.turn(&id(1), start)));
    }
}
