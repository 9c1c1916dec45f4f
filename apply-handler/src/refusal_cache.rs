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

/// The most that is remembered of all campaigns: user ids, and for each campaign as much as [`COST_PER_CAMPAIGN`] of them take.
const CAPACITY: usize = 65_536;

/// What a campaign takes of [`CAPACITY`] beside its user ids.
const COST_PER_CAMPAIGN: usize = 64;

/// What this instance remembers.
static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Cache(HashMap<CampaignId, Entry>);

struct Entry {
    /// `None`: somebody asks, or has learned that there is nothing to remember.
    refusal: Option<CachedRefusal>,
    expires_at: Instant,
}

struct CachedRefusal {
    decided: TimedDecision,
    /// Which user ids the campaign takes.
    user_ids: UserIds,
    /// When the answer was there.
    at: Instant,
    /// Hashes of the user ids of all who are no strangers, in order. Whoever shares one with them is decided by the gate.
    excluded: Vec<u64>,
}

/// What `applicant` is told, if that is certain without asking the gate.
pub fn get(campaign: &CampaignId, applicant: &Applicant) -> Option<TimedDecision> {
    with_cache(|cache| cache.get(campaign, applicant, Instant::now()))
}

/// Learns what strangers are told, after the gate has refused somebody, unless that is known or asked for already. The
/// question is a task of its own: the applicant who is refused is answered without waiting for it.
pub fn fill(settings: &'static Settings, campaign: &CampaignId, decision: &Decision) {
    let may_repeat = matches!(
        decision,
        Decision::SoldOut { .. } | Decision::NotOpen { .. } | Decision::Closed
    );
    let asked = Instant::now();
    if !may_repeat || !with_cache(|cache| cache.start_fill(campaign, asked)) {
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
            with_cache(|cache| cache.insert(&campaign, &refusal, asked, Instant::now()));
        }
    });
}

fn with_cache<T>(work: impl FnOnce(&mut Cache) -> T) -> T {
    // Each of its methods leaves it whole.
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut cache)
}

impl Cache {
    fn get(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
        now: Instant,
    ) -> Option<TimedDecision> {
        let entry = self.0.get(campaign)?;
        let cached = entry.refusal.as_ref()?;
        let is_excluded = || cached.excluded.binary_search(&hash(applicant.as_str()));
        if now >= entry.expires_at || is_excluded().is_ok() {
            return None;
        }
        let age = now.saturating_duration_since(cached.at);
        Some(TimedDecision {
            now: later(cached.decided.now, age),
            decision: match cached.user_ids.take(applicant) {
                true => cached.decided.decision.clone(),
                false => Decision::UserIdNotNumeric,
            },
        })
    }

    /// How much of [`CAPACITY`] is taken.
    fn size(&self) -> usize {
        let sizes = self.0.values().map(|entry| {
            let cached = entry.refusal.as_ref();
            COST_PER_CAMPAIGN + cached.map_or(0, |cached| cached.excluded.len())
        });
        sizes.sum()
    }

    /// Whether the caller is the one who asks.
    fn start_fill(&mut self, campaign: &CampaignId, now: Instant) -> bool {
        if self
            .0
            .get(campaign)
            .is_some_and(|entry| now < entry.expires_at)
        {
            return false;
        }
        if self.size() >= CAPACITY {
            self.0.retain(|_, entry| now < entry.expires_at);
        }
        if self.size() >= CAPACITY {
            return false;
        }
        let pending = Entry {
            refusal: None,
            expires_at: now + GRACE_PERIOD,
        };
        self.0.insert(campaign.clone(), pending);
        true
    }

    /// The gate's answer to a question that was sent not before `asked`: from then on it counts.
    fn insert(
        &mut self,
        campaign: &CampaignId,
        refusal: &CacheableRefusal,
        asked: Instant,
        now: Instant,
    ) {
        let mut excluded: Vec<u64> = refusal.excluded().map(hash).collect();
        excluded.sort_unstable();
        let cached = CachedRefusal {
            decided: refusal.decided.clone(),
            user_ids: refusal.user_ids,
            at: now,
            known,
        };
        let entry = Entry {
            refusal: Some(cached),
            expires_at: asked + refusal.ttl(),
        };
        self.0.insert(campaign.clone(), entry);
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
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert_eq!(cache.get(&id(0), &applicant("x"), start), None);
        assert!(cache.start_fill(&id(0), start));
        assert_eq!(cache.get(&id(0), &applicant("x"), start), None);
        let sold_out = refusal("sold_out", 0, 5_900, "7 once/8");
        cache.insert(&id(0), &sold_out, start, after(start, 10));
        let told = |user_id| cache.get(&id(0), &applicant(user_id), after(start, 20));
        assert_eq!(
            told("x").expect("an answer").decision,
            sold_out.decided.decision
        );
        for known in ["7", "8"] {
            assert_eq!(told(known), None, "{known}");
        }
        assert_eq!(cache.get(&id(1), &applicant("x"), after(start, 20)), None);
    }

    #[test]
    fn an_unknown_applicant_whom_the_campaign_does_not_take_is_told_that() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let mut sold_out = refusal("sold_out", 0, 5_900, "7");
        sold_out.user_ids = UserIds::Numeric;
        cache.insert(&id(0), &sold_out, start, start);
        for (user_id, decision) in [
            ("8", sold_out.decided.decision.clone()),
            ("anna", Decision::UserIdNotNumeric),
        ] {
            let told = cache.get(&id(0), &applicant(user_id), start);
            assert_eq!(told.expect("an answer").decision, decision);
        }
    }

    #[test]
    fn it_ends_by_the_time_before_the_question_was_sent() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.start_fill(&id(0), start));
        // The answer was long under way.
        let closed = refusal("closed", 0, 5_900, "");
        cache.insert(&id(0), &closed, start, after(start, 500));
        let told = |at| cache.get(&id(0), &applicant("x"), after(start, at));
        assert!(told(899).is_some());
        assert_eq!(told(900), None);
        let late = refusal("closed", 0, 5_900, "");
        cache.insert(&id(0), &late, start, after(start, 950));
        let told = cache.get(&id(0), &applicant("x"), after(start, 950));
        assert_eq!(told, None, "too late to be repeated");
    }

    #[test]
    fn no_opening_is_slept_through() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let not_open = refusal("not_open", 5_200, 5_200, "");
        cache.insert(&id(0), &not_open, start, after(start, 50));
        let told = |at| cache.get(&id(0), &applicant("x"), after(start, at));
        let told_at = |at| told(at).map(|answer| answer.now.get());
        assert_eq!(told_at(60), Some(5_010));
        assert_eq!(told_at(199), Some(5_149));
        assert_eq!(told_at(200), None);
    }

    #[test]
    fn one_asks_and_again_when_that_is_over() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.start_fill(&id(0), start));
        assert!(!cache.start_fill(&id(0), start), "somebody asks");
        assert!(
            !cache.start_fill(&id(0), after(start, 999)),
            "it was in vain"
        );
        assert!(cache.start_fill(&id(0), after(start, 1_000)));
        let closed = refusal("closed", 0, 5_300, "");
        cache.insert(&id(0), &closed, after(start, 1_000), after(start, 1_010));
        assert!(!cache.start_fill(&id(0), after(start, 1_299)));
        assert!(cache.start_fill(&id(0), after(start, 1_300)));
    }

    #[test]
    fn it_lasts_for_less_than_it_takes_to_settle_whatever_the_gate_says() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.insert(&id(0), &refusal("closed", 0, 99_000, ""), start, start);
        let told = cache.get(&id(0), &applicant("x"), start + GRACE_PERIOD);
        assert_eq!(told, None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let most = CAPACITY / COST_PER_CAMPAIGN;
        let begun = (0..3 * most).filter(|number| cache.start_fill(&id(*number), start));
        assert_eq!(begun.count(), most);
        assert_eq!(cache.0.len(), most);
        assert!(cache.start_fill(&id(5 * most), start + GRACE_PERIOD));
        assert_eq!(cache.0.len(), 1);
        // As many as the gate tells of one campaign, of one campaign after the other.
        let known = vec!["u"; 2_048].join(" ");
        let closed = refusal("closed", 0, 5_900, &known);
        for number in 0..most {
            if cache.start_fill(&id(number), after(start, 5_000)) {
                cache.insert(
                    &id(number),
                    &closed,
                    after(start, 5_000),
                    after(start, 5_000),
                );
            }
        }
        assert!(cache.size() < CAPACITY + COST_PER_CAMPAIGN + 2_048);
        assert_eq!(cache.0.len(), 32);
    }
}
