//! Tracks whether an external service works, and decides when to try it again. Each change of state is logged once.
//! The wait between attempts grows up to a limit and has a random part, so that bridges do not all retry at the same
//! time.

use std::fmt::Display;
use std::time::{Duration, Instant};

const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The state of one external service.
#[derive(Debug)]
pub struct Health {
    doing: &'static str,
    /// How long it must work after a failure before it counts as up again.
    patience: Duration,
    up: Option<bool>,
    failures: u32,
    last_failure: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Health {
    /// `doing` names the activity in the log. After a failure, the service counts as up again once `patience`
    /// has passed without another one.
    pub fn of(doing: &'static str, patience: Duration) -> Self {
        Self {
            doing,
            patience,
            up: None,
            failures: 0,
            last_failure: None,
            retry_at: None,
        }
    }

    /// Whether the service works. A service that was never tried is not up.
    pub fn is_up(&self) -> bool {
        self.up == Some(true)
    }

    /// When to try again; `None` if it may be tried now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|retry_at| *retry_at > now)
    }

    pub fn succeeded(&mut self, now: Instant) {
        let since_failure = self.last_failure.map(|failure| now.duration_since(failure));
        if self.is_up() || since_failure.is_some_and(|since| since < self.patience) {
            return;
        }
        if self.up.is_some() {
            tracing::info!(doing = self.doing, "recovered");
        }
        *self = Self {
            up: Some(true),
            ..Self::of(self.doing, self.patience)
        };
    }

    /// An attempt failed. `jitter` is a random number from 0 to 1. Returns when to try again.
    pub fn failed(&mut self, now: Instant, jitter: f64, error: &dyn Display) -> Instant {
        if self.up != Some(false) {
            tracing::warn!(doing = self.doing, %error, "failed; retrying until it works");
        }
        let longest = SHORTEST_WAIT
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_WAIT);
        let retry_at = now + longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.up = Some(false);
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        self.retry_at = Some(retry_at);
        retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_doubles_to_its_limit_and_starts_over_after_a_success() {
        let (mut health, now) = (Health::of("testing", Duration::ZERO), Instant::now());
        assert!(!health.is_up());
        let mut wait = || health.failed(now, 1.0, &"broken") - now;
        let waits: Vec<_> = (0..8).map(|_| wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        health.succeeded(now);
        assert!(health.is_up());
        assert_eq!(health.wait_until(now), None);
        let retry_at = health.failed(now, 0.0, &"broken");
        assert_eq!(retry_at - now, Duration::from_millis(50));
        assert_eq!(health.wait_until(now), Some(retry_at));
        assert_eq!(health.wait_until(retry_at), None);
    }

    #[test]
    fn one_success_among_failures_is_no_recovery_where_patience_is_asked() {
        let (mut health, now) = (Health::of("testing", LONGEST_WAIT), Instant::now());
        health.failed(now, 1.0, &"broken");
        health.succeeded(now + LONGEST_WAIT / 2);
        assert!(!health.is_up());
        health.succeeded(now + LONGEST_WAIT);
        assert!(health.is_up());
    }

    proptest! {
        #[test]
        fn the_wait_stays_within_its_limits(failures in 0u32..100, jitter in 0.0..=1.0) {
            let (mut health, now) = (Health::of("testing", Duration::ZERO), Instant::now());
            for _ in 0..failures {
                health.failed(now, jitter, &"broken");
            }
            let wait = health.failed(now, jitter, &"broken") - now;
            prop_assert!(wait >= SHORTEST_WAIT / 2 && wait <= LONGEST_WAIT);
        }
    }
}
