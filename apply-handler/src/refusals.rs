//! What strangers are told, remembered for less than a second: a flood of people who come too late must not be a flood of
//! questions to the gate.
//!
//! A stranger is somebody of whom the gate knows nothing. When it refuses one, the instance asks once what all of them
//! are told, until when, and who is none; `refusal_cache.lua` says why that may be repeated. Whoever is known is always decided
//! by the gate itself, so nobody is denied what he has. Nobody waits for somebody else's question: who comes before its
//! answer is decided by the gate as well.

use crate::clock::later;
use crate::gate::Gate;
use crate::settings::Settings;
use rushgate_gate::apply::TimedDecision;
use rushgate_gate::refusal_cache::{self, CacheableRefusal, GRACE_PERIOD};
use rushgate_gate::{Applicant, CampaignId, Decision, UserIds};
use spin_sdk::wasip3::wit_bindgen;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// The most that is remembered of all campaigns: user ids, and for each campaign as much as [`OF_ONE`] of them take.
const MOST: usize = 65_536;

/// What a campaign takes of [`MOST`] beside its user ids.
const OF_ONE: usize = 64;

/// What this instance remembers.
static REMEMBERED: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Memory(HashMap<CampaignId, Remembered>);

struct Remembered {
    /// `None`: somebody asks, or has learned that there is nothing to remember.
    refused: Option<Refused>,
    ends: Instant,
}

struct Refused {
    answer: TimedDecision,
    /// Which user ids the campaign takes.
    user_ids: UserIds,
    /// When the answer was there.
    at: Instant,
    /// Hashes of the user ids of all who are no refusal_cache, in order. Whoever shares one with them is decided by the gate.
    known: Vec<u64>,
}

/// What `applicant` is told, if that is certain without asking the gate.
pub fn recall(campaign: &CampaignId, applicant: &Applicant) -> Option<TimedDecision> {
    memory(|memory| memory.recall(campaign, applicant, Instant::now()))
}

/// Learns what strangers are told, after the gate has refused somebody, unless that is known or asked for already. The
/// question is a task of its own: the applicant who is refused is answered without waiting for it.
pub fn learn(settings: &'static Settings, campaign: &CampaignId, decision: &Decision) {
    let may_repeat = matches!(
        decision,
        Decision::SoldOut { .. } | Decision::NotOpen { .. } | Decision::Closed
    );
    let asked = Instant::now();
    if !may_repeat || !memory(|memory| memory.begin(campaign, asked)) {
        return;
    }
    let campaign = campaign.clone();
    wit_bindgen::spawn(async move {
        let call = refusal_cache::call(&campaign);
        // If it does not answer, nobody asks again before long.
        if let Ok(Some(refusal)) = Gate::new(settings)
            .call(&call, refusal_cache::refusal)
            .await
        {
            memory(|memory| memory.keep(&campaign, &refusal, asked, Instant::now()));
        }
    });
}

fn memory<T>(work: impl FnOnce(&mut Memory) -> T) -> T {
    // Each of its methods leaves it whole.
    let mut memory = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut memory)
}

impl Memory {
    fn recall(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
        now: Instant,
    ) -> Option<TimedDecision> {
        let remembered = self.0.get(campaign)?;
        let refused = remembered.refused.as_ref()?;
        let is_known = || refused.known.binary_search(&hash(applicant.as_str()));
        if now >= remembered.ends || is_known().is_ok() {
            return None;
        }
        let age = now.saturating_duration_since(refused.at);
        Some(TimedDecision {
            now: later(refused.answer.now, age),
            decision: match refused.user_ids.take(applicant) {
                true => refused.answer.decision.clone(),
                false => Decision::UserIdNotNumeric,
            },
        })
    }

    /// How much of [`MOST`] is taken.
    fn size(&self) -> usize {
        let known = self.0.values().map(|remembered| {
            let refused = remembered.refused.as_ref();
            OF_ONE + refused.map_or(0, |refused| refused.known.len())
        });
        known.sum()
    }

    /// Whether the caller is the one who asks.
    fn begin(&mut self, campaign: &CampaignId, now: Instant) -> bool {
        if self.0.get(campaign).is_some_and(|known| now < known.ends) {
            return false;
        }
        if self.size() >= MOST {
            self.0.retain(|_, known| now < known.ends);
        }
        if self.size() >= MOST {
            return false;
        }
        let asks = Remembered {
            refused: None,
            ends: now + GRACE_PERIOD,
        };
        self.0.insert(campaign.clone(), asks);
        true
    }

    /// The gate's answer to a question that was sent not before `asked`: from then on it counts.
    fn keep(
        &mut self,
        campaign: &CampaignId,
        refusal: &CacheableRefusal,
        asked: Instant,
        now: Instant,
    ) {
        let mut known: Vec<u64> = refusal.excluded().map(hash).collect();
        known.sort_unstable();
        let refused = Refused {
            answer: refusal.decided.clone(),
            user_ids: refusal.user_ids,
            at: now,
            known,
        };
        let remembered = Remembered {
            refused: Some(refused),
            ends: asked + refusal.ttl(),
        };
        self.0.insert(campaign.clone(), remembered);
    }
}

fn hash(user_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    user_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::Value;
    use std::time::Duration;

    fn id(number: usize) -> CampaignId {
        format!("c{number}").parse().expect("an id")
    }

    fn applicant(user_id: &str) -> Applicant {
        user_id.parse().expect("a user id")
    }

    /// What the gate says at 5,000 by its clock.
    fn refusal(word: &str, opens_at: i64, ends: i64, known: &str) -> CacheableRefusal {
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let [at, now, ends] = [opens_at, 5_000, ends].map(Value::Integer);
        let reply = [
            text(word),
            text("once"),
            at,
            now,
            ends,
            text("any"),
            text(known),
        ];
        let read = refusal_cache::refusal(&reply).expect("a reply");
        read.expect("a refusal")
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn strangers_are_answered_and_the_known_are_not() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert_eq!(memory.recall(&id(0), &applicant("x"), start), None);
        assert!(memory.begin(&id(0), start));
        assert_eq!(memory.recall(&id(0), &applicant("x"), start), None);
        let sold_out = refusal("sold_out", 0, 5_900, "7 once/8");
        memory.keep(&id(0), &sold_out, start, after(start, 10));
        let told = |user_id| memory.recall(&id(0), &applicant(user_id), after(start, 20));
        assert_eq!(
            told("x").expect("an answer").decision,
            sold_out.decided.decision
        );
        for known in ["7", "8"] {
            assert_eq!(told(known), None, "{known}");
        }
        assert_eq!(
            memory.recall(&id(1), &applicant("x"), after(start, 20)),
            None
        );
    }

    #[test]
    fn an_unknown_applicant_whom_the_campaign_does_not_take_is_told_that() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let mut sold_out = refusal("sold_out", 0, 5_900, "7");
        sold_out.user_ids = UserIds::Numeric;
        memory.keep(&id(0), &sold_out, start, start);
        for (user_id, decision) in [
            ("8", sold_out.decided.decision.clone()),
            ("anna", Decision::UserIdNotNumeric),
        ] {
            let told = memory.recall(&id(0), &applicant(user_id), start);
            assert_eq!(told.expect("an answer").decision, decision);
        }
    }

    #[test]
    fn it_ends_by_the_time_before_the_question_was_sent() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert!(memory.begin(&id(0), start));
        // The answer was long under way.
        let closed = refusal("closed", 0, 5_900, "");
        memory.keep(&id(0), &closed, start, after(start, 500));
        let told = |at| memory.recall(&id(0), &applicant("x"), after(start, at));
        assert!(told(899).is_some());
        assert_eq!(told(900), None);
        let late = refusal("closed", 0, 5_900, "");
        memory.keep(&id(0), &late, start, after(start, 950));
        let told = memory.recall(&id(0), &applicant("x"), after(start, 950));
        assert_eq!(told, None, "too late to be repeated");
    }

    #[test]
    fn no_opening_is_slept_through() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let not_open = refusal("not_open", 5_200, 5_200, "");
        memory.keep(&id(0), &not_open, start, after(start, 50));
        let told = |at| memory.recall(&id(0), &applicant("x"), after(start, at));
        let told_at = |at| told(at).map(|answer| answer.now.get());
        assert_eq!(told_at(60), Some(5_010));
        assert_eq!(told_at(199), Some(5_149));
        assert_eq!(told_at(200), None);
    }

    #[test]
    fn one_asks_and_again_when_that_is_over() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert!(memory.begin(&id(0), start));
        assert!(!memory.begin(&id(0), start), "somebody asks");
        assert!(!memory.begin(&id(0), after(start, 999)), "it was in vain");
        assert!(memory.begin(&id(0), after(start, 1_000)));
        let closed = refusal("closed", 0, 5_300, "");
        memory.keep(&id(0), &closed, after(start, 1_000), after(start, 1_010));
        assert!(!memory.begin(&id(0), after(start, 1_299)));
        assert!(memory.begin(&id(0), after(start, 1_300)));
    }

    #[test]
    fn it_lasts_for_less_than_it_takes_to_settle_whatever_the_gate_says() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.keep(&id(0), &refusal("closed", 0, 99_000, ""), start, start);
        let told = memory.recall(&id(0), &applicant("x"), start + GRACE_PERIOD);
        assert_eq!(told, None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let most = MOST / OF_ONE;
        let begun = (0..3 * most).filter(|number| memory.begin(&id(*number), start));
        assert_eq!(begun.count(), most);
        assert_eq!(memory.0.len(), most);
        assert!(memory.begin(&id(5 * most), start + GRACE_PERIOD));
        assert_eq!(memory.0.len(), 1);
        // As many as the gate tells of one campaign, of one campaign after the other.
        let known = vec!["u"; 2_048].join(" ");
        let closed = refusal("closed", 0, 5_900, &known);
        for number in 0..most {
            if memory.begin(&id(number), after(start, 5_000)) {
                memory.keep(
                    &id(number),
                    &closed,
                    after(start, 5_000),
                    after(start, 5_000),
                );
            }
        }
        assert!(memory.size() < MOST + OF_ONE + 2_048);
        assert_eq!(memory.0.len(), 32);
    }
}
