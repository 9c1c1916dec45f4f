//! Limits the number of rows that the consumer writes per second, for a database that other programs use too.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limits all writers together: over any period, they write at most the given number of rows per second, plus
/// one batch.
#[derive(Debug)]
pub(crate) struct RateLimit {
    rows_per_second: Option<NonZeroU32>,
    /// When the rows that were admitted so far have used up their time.
    free_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// `None` means no limit.
    pub(crate) fn new(rows_per_second: Option<NonZeroU32>) -> Self {
        Self {
            rows_per_second,
            free_at: Mutex::default(),
        }
    }

    /// The largest batch that keeps the load smooth: the rows of a tenth of a second.
    pub(crate) fn portion(&self) -> usize {
        self.rows_per_second
            .map_or(usize::MAX, |rows| (rows.get() as usize / 10).max(1))
    }

    /// Admits this many rows, and returns how long to wait before writing them.
    pub(crate) fn admit(&self, rows: usize, now: Instant) -> Duration {
        let Some(rows_per_second) = self.rows_per_second else {
            return Duration::ZERO;
        };
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |free_at| free_at.max(now));
        let takes = Duration::from_secs_f64(rows as f64 / f64::from(rows_per_second.get()));
        *free_at = Some(start + takes);
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_limit_nothing_waits() {
        let rate_limit = RateLimit::new(None);
        assert_eq!(rate_limit.portion(), usize::MAX);
        assert_eq!(rate_limit.admit(1_000_000, Instant::now()), Duration::ZERO);
        assert_eq!(rate_limit.admit(1_000_000, Instant::now()), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_and_used_up(rate in 1u32..10_000, batches in prop::collection::vec(1usize..600, 2..40)) {
            let rate_limit = RateLimit::new(NonZeroU32::new(rate));
            let start = Instant::now();
            let mut now = start;
            for rows in &batches[..batches.len() - 1] {
                now += rate_limit.admit(*rows, now);
            }
            now += rate_limit.admit(batches[batches.len() - 1], now);
            // The last batch starts when the time of all earlier ones is over, no sooner and no later.
            let before: usize = batches[..batches.len() - 1].iter().sum();
            let expected = before as f64 / f64::from(rate);
            prop_assert!(((now - start).as_secs_f64() - expected).abs() < 0.001);
        }
    }
}
