//! Load shedding: calls to the gate that are admitted have bounded latency, and all others are rejected at once.
//!
//! The gate counts as overloaded if the last call took longer than the budget, or if a running call already takes
//! longer. Then one call at a time is admitted as a probe, and all others are rejected without adding load. The
//! measured time includes the network, so the cause of the delay (disk, network, a busy host) does not matter.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time limits of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// After this time a call fails.
    pub timeout: Duration,
    /// Beyond this time the gate counts as overloaded; `None` turns load shedding off.
    pub budget: Option<Duration>,
}

/// Tracks the calls of one instance.
#[derive(Debug, Default)]
pub struct LoadShedder(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    /// Ids and start times. An instance has only a few calls at a time.
    running: Vec<(u64, Instant)>,
    /// Duration of the call that ended last.
    last: Duration,
}

/// A running call. It ends when this is dropped, even if the request was cancelled.
#[derive(Debug)]
pub struct Admission<'a> {
    shedder: &'a LoadShedder,
    call: u64,
    ended: Option<Instant>,
}

impl LoadShedder {
    pub const fn new() -> Self {
        Self(Mutex::new(Calls {
            next: 0,
            running: Vec::new(),
            last: Duration::ZERO,
        }))
    }

    /// Admits a call; `None` if the gate is overloaded.
    pub fn admit(&self, limits: GateLimits, now: Instant) -> Option<Admission<'_>> {
        let mut calls = self.calls();
        // A call cannot take this long. Its end was never recorded.
        calls
            .running
            .retain(|(_, since)| now.saturating_duration_since(*since) <= 2 * limits.timeout);
        let longest = calls
            .running
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
        calls.running.push((call, now));
        Some(Admission {
            shedder: self,
            call,
            ended: None,
        })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // A panic cannot leave it inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, call: u64, now: Instant) {
        let mut calls = self.calls();
        if let Some(index) = calls.running.iter().position(|(id, _)| *id == call) {
            let (_, since) = calls.running.swap_remove(index);
            calls.last = now.saturating_duration_since(since);
        }
    }
}

impl Admission<'_> {
    /// Ends the call at this time.
    pub fn end(mut self, now: Instant) {
        self.ended = Some(now);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(Instant::now);
        self.shedder.end(self.call, now);
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

    #[test]
    fn a_fast_gate_admits_all_calls() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let calls: Vec<_> = (0..16).map(|_| shedder.admit(LIMITS, start)).collect();
        for call in calls {
            call.expect("admitted").end(start + ms(100));
        }
        assert!(shedder.admit(LIMITS, start + ms(100)).is_some());
    }

    #[test]
    fn a_slow_call_rejects_the_others_until_a_probe_is_fast() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let first = shedder.admit(LIMITS, start).expect("admitted");
        assert!(shedder.admit(LIMITS, start + ms(101)).is_none());
        first.end(start + ms(200));
        // The call was slow, so exactly one probe is admitted.
        let probe = shedder.admit(LIMITS, start + ms(200)).expect("admitted");
        assert!(shedder.admit(LIMITS, start + ms(210)).is_none());
        probe.end(start + ms(220));
        let calls = [0; 2].map(|_| shedder.admit(LIMITS, start + ms(221)));
        assert!(calls.iter().all(Option::is_some), "fast again");
    }

    #[test]
    fn without_a_budget_no_call_is_rejected() {
        let limits = GateLimits {
            budget: None,
            ..LIMITS
        };
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        let _first = shedder.admit(limits, start);
        assert!(shedder.admit(limits, start + ms(900)).is_some());
    }

    #[test]
    fn a_call_without_an_end_is_dropped_after_twice_the_timeout() {
        let (shedder, start) = (LoadShedder::new(), Instant::now());
        std::mem::forget(shedder.admit(LIMITS, start));
        assert!(shedder.admit(LIMITS, start + ms(500)).is_none());
        assert!(shedder.admit(LIMITS, start + ms(2_001)).is_some());
    }

    proptest! {
        /// There is always a call running or admitted, and at most one while the gate is slow.
        #[test]
        fn a_call_is_always_running_or_admitted_and_only_one_while_slow(steps in prop::collection::vec((0u64..300, any::<bool>()), 1..200)) {
            let (shedder, mut now) = (LoadShedder::new(), Instant::now());
            let mut calls: Vec<(Instant, Admission<'_>)> = Vec::new();
            let mut last = Duration::ZERO;
            for (wait, comes) in steps {
                now += ms(wait);
                if comes || calls.is_empty() {
                    // The next call to admit() drops them; their later ends have no effect.
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
                    admission.end(now);
                }
            }
        }
    }
}
