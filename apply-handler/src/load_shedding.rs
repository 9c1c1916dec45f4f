//! Whether the gate keeps up, as far as one instance can tell: by how long it takes to answer.
//!
//! While it takes longer than its budget, one call at a time goes on to it and tells when that is over; everybody
//! else is refused at once, without adding to what it has to do. What slows the gate down does not matter: its disk,
//! its network, or a host that has more to do than it can, because the way there and back is part of the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a call may take at most, and from when on others are not let through any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// After it the call is given up.
    pub timeout: Duration,
    /// Beyond it the gate does not keep up; `None`: nobody is refused for that.
    pub budget: Option<Duration>,
}

/// The calls of one instance.
#[derive(Debug, Default)]
pub struct LoadShedder(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    /// Each with when it began. An instance has few at a time.
    under_way: Vec<(u64, Instant)>,
    /// How long that took which ended last.
    last: Duration,
}

/// A call under way; over when this is dropped, also when nobody waits for its end any more.
#[derive(Debug)]
pub struct Admission<'a> {
    shedder: &'a LoadShedder,
    call: u64,
}

impl LoadShedder {
    /// None under way, and nothing known.
    pub const fn new() -> Self {
        Self(Mutex::new(Calls {
            next: 0,
            under_way: Vec::new(),
            last: Duration::ZERO,
        }))
    }

    /// Lets a call through, or (`None`) does not.
    pub fn admit(&self, limits: GateLimits, now: Instant) -> Option<Admission<'_>> {
        let mut calls = self.calls();
        // None of them can be left, unless its end was not told.
        calls
            .under_way
            .retain(|(_, since)| now.saturating_duration_since(*since) <= 2 * limits.timeout);
        let longest = calls
            .under_way
            .iter()
            .map(|(_, since)| now.saturating_duration_since(*since))
            .max();
        if let (Some(budget), Some(longest)) = (limits.budget, longest)
            && calls.last.max(longest) > budget
        {
            return None;
        }
        let call = calls.next;
        calls.next += 1;
        calls.under_way.push((call, now));
        Some(Admission {
            shedder: self,
            call,
        })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Each of its users leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, call: u64, now: Instant) {
        let mut calls = self.calls();
        if let Some(index) = calls.under_way.iter().position(|(id, _)| *id == call) {
            let (_, since) = calls.under_way.swap_remove(index);
            calls.last = now.saturating_duration_since(since);
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.shedder.end(self.call, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: GateLimits = GateLimits {
        timeout: Duration::from_millis(1_000),
        budget: Some(Duration::from_millis(100)),
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Ends a call at a time of the test's choice.
    fn end(admission: Admission<'_>, now: Instant) {
        admission.shedder.end(admission.call, now);
    }

    #[test]
    fn a_gate_that_keeps_up_takes_everybody() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let calls: Vec<_> = (0..16).map(|_| shedder.admit(LIMITS, start)).collect();
        for call in calls {
            end(call.expect("let through"), start + ms(100));
        }
        assert!(shedder.admit(LIMITS, start + ms(100)).is_some());
    }

    #[test]
    fn a_call_that_waits_too_long_keeps_the_others_away_and_its_end_lets_them_in() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let first = shedder.admit(LIMITS, start).expect("let through");
        assert!(shedder.admit(LIMITS, start + ms(101)).is_none());
        end(first, start + ms(200));
        // It was slow, so one goes to see whether it still is, and only one.
        let probe = shedder.admit(LIMITS, start + ms(200)).expect("let through");
        assert!(shedder.admit(LIMITS, start + ms(210)).is_none());
        end(probe, start + ms(220));
        let calls = [0; 2].map(|_| shedder.admit(LIMITS, start + ms(221)));
        assert!(calls.iter().all(Option::is_some), "it keeps up again");
    }

    #[test]
    fn without_a_budget_nobody_is_refused() {
        let limits = GateLimits {
            budget: None,
            ..LIMITS
        };
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let _first = shedder.admit(limits, start);
        assert!(shedder.admit(limits, start + ms(900)).is_some());
    }

    #[test]
    fn a_call_whose_end_was_never_told_is_forgotten() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        std::mem::forget(shedder.admit(LIMITS, start));
        assert!(shedder.admit(LIMITS, start + ms(500)).is_none());
        assert!(shedder.admit(LIMITS, start + ms(2_001)).is_some());
    }

    proptest! {
        /// Whatever comes and goes: somebody is always under way or let through, and while it is slow one at most.
        #[test]
        fn it_never_closes_for_good_and_never_adds_to_a_jam(steps in prop::collection::vec((0u64..300, any::<bool>()), 1..200)) {
            let (shedder, mut now) = (LoadShedder::new(), Instant::now());
            let mut calls: Vec<(Instant, Admission<'_>)> = Vec::new();
            let mut last = Duration::ZERO;
            for (wait, comes) in steps {
                now += ms(wait);
                if comes || calls.is_empty() {
                    // The shedder forgets them when the next one comes; their ends tell it nothing afterwards.
                    let (forgotten, remembered) = calls.into_iter().partition(|(since, _)| now - *since > ms(2_000));
                    calls = remembered;
                    let slow = last > ms(100) || calls.iter().any(|(since, _)| now - *since > ms(100));
                    let admission = shedder.admit(LIMITS, now);
                    drop::<Vec<(Instant, Admission<'_>)>>(forgotten);
                    prop_assert_eq!(admission.is_some(), calls.is_empty() || !slow);
                    calls.extend(admission.map(|admission| (now, admission)));
                } else {
                    let (since, admission) = calls.remove(0);
                    last = now - since;
                    end(admission, now);
                }
            }
        }
    }
}
