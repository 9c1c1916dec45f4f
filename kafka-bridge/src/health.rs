//! Tracks whether an external service works, and decides when to try it again. Each problem is logged once while the
//! service does not work, and so is its recovery.

use rushgate_startup::Backoff;
use std::fmt::Display;
use std::time::{Duration, Instant};

/// The state of one external service.
#[derive(Debug)]
pub(crate) struct Health {
    doing: &'static str,
    /// How long it must work after a failure before it counts as up again.
    patience: Duration,
    up: Option<bool>,
    backoff: Backoff,
    last_failure: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Health {
    /// `doing` names the activity in the log. After a failure, the service counts as up again once `patience`
    /// has passed without another one.
    pub(crate) fn of(doing: &'static str, patience: Duration) -> Self {
        Self {
            doing,
            patience,
            up: None,
            backoff: Backoff::default(),
            last_failure: None,
            retry_at: None,
        }
    }

    /// Whether the service works. A service that was never tried is not up.
    pub(crate) fn is_up(&self) -> bool {
        self.up == Some(true)
    }

    /// When to try again; `None` if it may be tried now.
    pub(crate) fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|retry_at| *retry_at > now)
    }

    pub(crate) fn succeeded(&mut self, now: Instant) {
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

    /// An attempt failed. Returns when to try again.
    pub(crate) fn failed(&mut self, now: Instant, error: &dyn Display) -> Instant {
        if self.backoff.is_news(&error.to_string()) {
            tracing::warn!(doing = self.doing, %error, "failed; retrying until it works");
        }
        let retry_at = now + self.backoff.failed();
        self.up = Some(false);
        self.last_failure = Some(now);
        self.retry_at = Some(retry_at);
        retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn the_wait_starts_over_after_a_success() {
        let (mut health, now) = (Health::of("testing", Duration::ZERO), Instant::now());
        assert!(!health.is_up());
        for _ in 0..8 {
            health.failed(now, &"broken");
        }
        let retry_at = health.failed(now, &"broken");
        assert!(retry_at > now + Backoff::FIRST);
        assert_eq!(health.wait_until(now), Some(retry_at));
        assert_eq!(health.wait_until(retry_at), None);
        health.succeeded(now);
        assert!(health.is_up());
        assert_eq!(health.wait_until(now), None);
        assert!(health.failed(now, &"broken") <= now + Backoff::FIRST);
    }

    #[test]
    fn one_success_among_failures_is_no_recovery_where_patience_is_asked() {
        let (mut health, now) = (Health::of("testing", PATIENCE), Instant::now());
        health.failed(now, &"broken");
        health.succeeded(now + PATIENCE / 2);
        assert!(!health.is_up());
        health.succeeded(now + PATIENCE);
        assert!(health.is_up());
    }
}
