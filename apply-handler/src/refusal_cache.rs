//! A negative cache of refusals: for at most 0.9 s, a handler instance refuses applicants unknown to the gate without
//! asking the gate. So requests that come after a round has sold out put little load on the gate.
//!
//! After a refusal, the instance asks the gate once which refusal it may cache, for how long, and to which applicants
//! the refusal does not apply (the exclusion list, or a filter in its place). Their requests always go to the gate, so a
//! winner is never denied: the header of `refusal_cache.lua` has the proof. No request waits for the gate's answer to
//! this question, and until it arrives, all requests go to the gate: except in a new instance, which gets several requests at
//! once. There, all but the first wait for what the gate says to the first, and if it refuses, for the answer to that question.

use crate::application_response;
use crate::clock::later;
use crate::deadline;
use crate::gate::{Gate, GateSettings};
use crate::response::Response;
use futures::lock;
use rushgate_gate::apply::TimedDecision;
use rushgate_gate::refusal_cache::{self, Cacheable, Excluded, Filter, GRACE_PERIOD};
use rushgate_gate::{Applicant, CampaignId, Decision, Millis, UserIds};
use spin_sdk::wasip3::wit_bindgen;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From this size on, no other campaign is cached: the number of applicants on exclusion lists, one for each eight bytes of a
/// filter, and [`COST_PER_CAMPAIGN`] for each campaign.
const CAPACITY: usize = 65_536;

/// What a campaign costs of [`CAPACITY`] in addition to its excluded applicants.
const COST_PER_CAMPAIGN: usize = 64;

/// How long a request waits for the first application of an instance. If that takes longer, no request waits for it any more.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Whether the first application of the instance is over, or has taken too long to wait for.
static FIRST_IS_OVER: AtomicBool = AtomicBool::new(false);

/// The first application holds it.
static FIRST: lock::Mutex<()> = lock::Mutex::new(());

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Cache(HashMap<CampaignId, Entry>);

struct Entry {
    /// `None`: the question is under way, or its answer was that nothing may be cached.
    refusal: Option<CachedRefusal>,
    expires_at: Instant,
}

struct CachedRefusal {
    decided: TimedDecision,
    /// The response to most applicants, if it does not change with the time.
    response: OnceCell<Response>,
    /// The user ids that the campaign accepts.
    user_ids: UserIds,
    /// When the reply of the gate arrived.
    at: Instant,
    excluded: ExcludedSet,
}

/// The applicants to whom the refusal does not apply.
enum ExcludedSet {
    /// Sorted hashes of their user ids. Another user id with an equal hash is sent to the gate, which is safe.
    Hashes(Vec<u64>),
    Filter(Filter),
}

impl ExcludedSet {
    fn of(excluded: Excluded) -> Self {
        match excluded {
            Excluded::List(list) => {
                let mut hashes: Vec<u64> = list.user_ids().map(hash).collect();
                hashes.sort_unstable();
                Self::Hashes(hashes)
            }
            Excluded::Filter(filter) => Self::Filter(filter),
        }
    }

    fn contains(&self, applicant: &Applicant) -> bool {
        match self {
            Self::Hashes(hashes) => hashes.binary_search(&hash(applicant.as_str())).is_ok(),
            Self::Filter(filter) => filter.contains(applicant),
        }
    }

    /// The part of [`CAPACITY`] that it takes.
    fn size(&self) -> usize {
        match self {
            Self::Hashes(hashes) => hashes.len(),
            Self::Filter(filter) => filter.size() / 8,
        }
    }
}

/// The cached refusal for `applicant` and the time of Redis; `None` if the gate must decide.
pub fn get(campaign: &CampaignId, applicant: &Applicant) -> Option<(Response, Millis)> {
    // Without an entry, the clock need not be read.
    with_cache(|cache| match cache.0.is_empty() {
        true => None,
        false => cache.response(campaign, applicant, Instant::now()),
    })
}

/// The first application of an instance. The others wait until this is dropped: when the gate has answered, and if it has
/// refused, when the cache is filled.
pub struct First(
    #[expect(dead_code, reason = "held until it is dropped")] lock::MutexGuard<'static, ()>,
);

impl Drop for First {
    fn drop(&mut self) {
        FIRST_IS_OVER.store(true, Ordering::Relaxed);
    }
}

/// Whether no application has to wait for the first of the instance.
pub fn first_is_over() -> bool {
    FIRST_IS_OVER.load(Ordering::Relaxed)
}

/// The caller is the first, or `None`: it has waited for the first, and the caches may have a response for it.
pub async fn first() -> Option<First> {
    let Some(guard) = deadline::within(FIRST_WAIT, FIRST.lock()).await else {
        FIRST_IS_OVER.store(true, Ordering::Relaxed);
        return None;
    };
    match first_is_over() {
        true => None,
        false => Some(First(guard)),
    }
}

/// Fills the cache after the gate has refused an application, unless it is filled or being filled. It runs in a task of
/// its own, so that the response does not wait for it.
pub fn fill(
    gate: &'static GateSettings,
    campaign: &CampaignId,
    decision: &Decision,
    first: Option<First>,
) {
    let is_cacheable = matches!(
        decision,
        Decision::SoldOut { .. } | Decision::NotOpen { .. } | Decision::Closed
    );
    if !is_cacheable {
        return;
    }
    let asked = Instant::now();
    if !with_cache(|cache| cache.start_fill(campaign, asked)) {
        return;
    }
    let campaign = campaign.clone();
    wit_bindgen::spawn(async move {
        let call = || refusal_cache::call(&campaign);
        // Without an answer, the pending entry prevents another question for the length of the grace period.
        if let Ok(answer) = Gate::new(gate).call(call, refusal_cache::cacheable).await {
            with_cache(|cache| cache.insert(&campaign, answer, asked, Instant::now()));
        }
        drop(first);
    });
}

fn with_cache<T>(work: impl FnOnce(&mut Cache) -> T) -> T {
    // A panic cannot leave it inconsistent.
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    work(&mut cache)
}

impl Cache {
    fn response(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
        now: Instant,
    ) -> Option<(Response, Millis)> {
        let (decided, prepared) = self.get(campaign, applicant, now)?;
        let made = || application_response::decision(&decided, campaign, applicant, None);
        let response = match decided.decision {
            Decision::SoldOut { .. } | Decision::Closed => prepared.get_or_init(made).clone(),
            _ => made(),
        };
        Some((response, decided.now))
    }

    /// The refusal, and where its response is kept.
    fn get(
        &self,
        campaign: &CampaignId,
        applicant: &Applicant,
        now: Instant,
    ) -> Option<(TimedDecision, &OnceCell<Response>)> {
        let entry = self.0.get(campaign)?;
        let cached = entry.refusal.as_ref()?;
        if now >= entry.expires_at || cached.excluded.contains(applicant) {
            return None;
        }
        let age = now.saturating_duration_since(cached.at);
        let decided = TimedDecision {
            now: later(cached.decided.now, age),
            decision: match cached.user_ids.accepts(applicant) {
                true => cached.decided.decision.clone(),
                false => Decision::UserIdNotNumeric,
            },
        };
        Some((decided, &cached.response))
    }

    /// The used part of [`CAPACITY`].
    fn size(&self) -> usize {
        let sizes = self.0.values().map(|entry| {
            let cached = entry.refusal.as_ref();
            COST_PER_CAMPAIGN + cached.map_or(0, |cached| cached.excluded.size())
        });
        sizes.sum()
    }

    /// Whether the caller must ask the gate. Adds a pending entry then.
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

    /// Stores the answer to a question. `asked` is a time before the question was sent; the lifetime counts from it.
    fn insert(&mut self, campaign: &CampaignId, answer: Cacheable, asked: Instant, now: Instant) {
        let cached = answer.refusal.map(|refusal| CachedRefusal {
            decided: refusal.decided,
            response: OnceCell::new(),
            user_ids: refusal.user_ids,
            at: now,
            excluded: ExcludedSet::of(refusal.excluded),
        });
        let entry = Entry {
            refusal: cached,
            expires_at: asked + answer.ttl,
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

    /// A refusal of the gate at 5,000 ms by its clock.
    fn refusal(word: &str, opens_at: i64, ends: i64, known: &str) -> Cacheable {
        answer(word, opens_at, ends, known, b"")
    }

    fn answer(word: &str, opens_at: i64, ends: i64, known: &str, filter: &[u8]) -> Cacheable {
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
            Value::Bytes(filter.to_vec()),
        ];
        refusal_cache::cacheable(&reply).expect("a reply")
    }

    fn decision_of(answer: &Cacheable) -> Decision {
        let refusal = answer.refusal.as_ref().expect("a refusal");
        refusal.decided.decision.clone()
    }

    /// The decision in the cache.
    fn get(
        cache: &Cache,
        campaign: &CampaignId,
        applicant: &Applicant,
        now: Instant,
    ) -> Option<TimedDecision> {
        let (decided, _) = cache.get(campaign, applicant, now)?;
        Some(decided)
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn unknown_applicants_get_the_refusal_and_excluded_ones_do_not() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert_eq!(get(&cache, &id(0), &applicant("x"), start), None);
        assert!(cache.start_fill(&id(0), start));
        assert_eq!(get(&cache, &id(0), &applicant("x"), start), None);
        let sold_out = refusal("sold_out", 0, 5_900, "7 once/8");
        cache.insert(&id(0), sold_out.clone(), start, after(start, 10));
        let cached = |user_id| get(&cache, &id(0), &applicant(user_id), after(start, 20));
        assert_eq!(
            cached("x").expect("an answer").decision,
            decision_of(&sold_out)
        );
        for known in ["7", "8"] {
            assert_eq!(cached(known), None, "{known}");
        }
        assert_eq!(get(&cache, &id(1), &applicant("x"), after(start, 20)), None);
    }

    #[test]
    fn an_applicant_in_the_filter_is_sent_to_the_gate() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for (number, filter, is_refused) in [(0, [0; 9], true), (1, [0xff; 9], false)] {
            let sold_out = answer("sold_out", 0, 5_900, "", &filter);
            cache.insert(&id(number), sold_out, start, start);
            let cached = get(&cache, &id(number), &applicant("x"), start);
            assert_eq!(cached.is_some(), is_refused, "{filter:?}");
        }
        assert_eq!(cache.size(), 2 * (COST_PER_CAMPAIGN + 1));
    }

    #[test]
    fn without_a_refusal_the_gate_says_when_to_ask_again() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.start_fill(&id(0), start));
        let nothing = answer("", 0, 5_050, "", b"");
        cache.insert(&id(0), nothing, start, after(start, 10));
        assert_eq!(get(&cache, &id(0), &applicant("x"), start), None);
        assert!(!cache.start_fill(&id(0), after(start, 49)));
        assert!(cache.start_fill(&id(0), after(start, 50)));
    }

    #[test]
    fn an_applicant_with_an_unaccepted_user_id_gets_another_refusal() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let mut sold_out = refusal("sold_out", 0, 5_900, "7");
        sold_out.refusal.as_mut().expect("a refusal").user_ids = UserIds::Numeric;
        cache.insert(&id(0), sold_out.clone(), start, start);
        for (user_id, decision) in [
            ("8", decision_of(&sold_out)),
            ("anna", Decision::UserIdNotNumeric),
        ] {
            let cached = get(&cache, &id(0), &applicant(user_id), start);
            assert_eq!(cached.expect("an answer").decision, decision, "{user_id}");
        }
    }

    #[test]
    fn the_lifetime_counts_from_before_the_question() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.start_fill(&id(0), start));
        // The answer took 500 ms.
        let closed = refusal("closed", 0, 5_900, "");
        cache.insert(&id(0), closed, start, after(start, 500));
        let cached = |at| get(&cache, &id(0), &applicant("x"), after(start, at));
        assert!(cached(899).is_some());
        assert_eq!(cached(900), None);
        let late = refusal("closed", 0, 5_900, "");
        cache.insert(&id(0), late, start, after(start, 950));
        let cached = get(&cache, &id(0), &applicant("x"), after(start, 950));
        assert_eq!(cached, None, "already expired");
    }

    #[test]
    fn a_cached_refusal_ends_at_the_next_opening() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let not_open = refusal("not_open", 5_200, 5_200, "");
        cache.insert(&id(0), not_open, start, after(start, 50));
        let cached = |at| get(&cache, &id(0), &applicant("x"), after(start, at));
        let clock_at = |at| cached(at).map(|answer| answer.now.get());
        assert_eq!(clock_at(60), Some(5_010));
        assert_eq!(clock_at(199), Some(5_149));
        assert_eq!(clock_at(200), None);
    }

    #[test]
    fn a_response_is_made_once_unless_it_changes_with_the_time() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.insert(&id(0), refusal("sold_out", 0, 5_900, "7"), start, start);
        cache.insert(&id(1), refusal("not_open", 9_000, 9_000, ""), start, start);
        let parts = |campaign, user_id, millis| {
            let response = cache.response(&id(campaign), &applicant(user_id), after(start, millis));
            let (response, now) = response.expect("an answer");
            (response.into_parts(), now.get())
        };
        let (first, second) = (parts(0, "x", 10), parts(0, "y", 20));
        assert_eq!((&first.0, second.1), (&second.0, 5_020));
        let (decided, prepared) = cache
            .get(&id(0), &applicant("x"), start)
            .expect("an answer");
        assert!(prepared.get().is_some());
        let made = application_response::decision(&decided, &id(0), &applicant("z"), None);
        assert_eq!(first.0, made.into_parts());
        let waits = |millis| {
            let ((_, headers, _), _) = parts(1, "x", millis);
            let mut headers = headers.into_iter();
            headers
                .find(|(name, _)| name == "retry-after")
                .map(|(_, value)| value)
        };
        assert_eq!(
            (waits(0), waits(800)),
            (Some(b"5".to_vec()), Some(b"4".to_vec()))
        );
    }

    #[test]
    fn one_question_at_a_time() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert!(cache.start_fill(&id(0), start));
        assert!(!cache.start_fill(&id(0), start), "a question is under way");
        assert!(
            !cache.start_fill(&id(0), after(start, 999)),
            "the question was not answered"
        );
        assert!(cache.start_fill(&id(0), after(start, 1_000)));
        let closed = refusal("closed", 0, 5_300, "");
        cache.insert(&id(0), closed, after(start, 1_000), after(start, 1_010));
        assert!(!cache.start_fill(&id(0), after(start, 1_299)));
        assert!(cache.start_fill(&id(0), after(start, 1_300)));
    }

    #[test]
    fn the_lifetime_is_never_longer_than_the_grace_period() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.insert(&id(0), refusal("closed", 0, 99_000, ""), start, start);
        let cached = get(&cache, &id(0), &applicant("x"), start + GRACE_PERIOD);
        assert_eq!(cached, None);
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
        // Campaign after campaign, each with the longest exclusion list.
        let known = vec!["u"; 2_048].join(" ");
        let closed = refusal("closed", 0, 5_900, &known);
        for number in 0..most {
            if cache.start_fill(&id(number), after(start, 5_000)) {
                cache.insert(
                    &id(number),
                    closed.clone(),
                    after(start, 5_000),
                    after(start, 5_000),
                );
            }
        }
        assert!(cache.size() < CAPACITY + COST_PER_CAMPAIGN + 2_048);
        assert_eq!(cache.0.len(), 32);
    }
}
