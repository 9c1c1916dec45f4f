//! How long a program waits after a failure before it tries again. The wait doubles with each failure, from 0.1 to 5 s,
//! and its upper half is random, so that programs that failed together do not retry together.

use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;

/// The waits between the attempts of one piece of work, and the deadline of each attempt.
#[derive(Debug)]
pub struct Backoff {
    waits: <ExponentialBuilder as BackoffBuilder>::Backoff,
    failures: u32,
    /// The problems that were logged, each once.
    logged: Vec<String>,
}

impl Default for Backoff {
    fn default() -> Self {
        // Jitter lengthens a wait to at most twice its length, so these are the lower halves.
        let waits = ExponentialBuilder::new()
            .with_min_delay(Self::FIRST / 2)
            .with_max_delay(Self::LONGEST / 2)
            .with_jitter()
            .without_max_times();
        Self {
            waits: waits.build(),
            failures: 0,
            logged: vec![],
        }
    }
}

impl Backoff {
    /// The upper limit of the first wait.
    pub const FIRST: Duration = Duration::from_millis(100);
    /// The longest wait, and so the longest delay after a server is back.
    pub const LONGEST: Duration = Duration::from_secs(5);
    const DEADLINE: Duration = Duration::from_secs(30);
    /// How often the deadline doubles.
    const DOUBLINGS: u32 = 4;
    /// No more problems than this are logged until the work succeeds.
    const MOST_PROBLEMS: usize = 16;

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long the next attempt may take. It grows, so that a slow server gets enough time eventually.
    pub fn deadline(&self) -> Duration {
        Self::DEADLINE * 2u32.pow(self.failures.min(Self::DOUBLINGS))
    }

    /// An attempt failed. Returns how long to wait before the next one.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.waits.next().unwrap_or(Self::LONGEST)
    }

    /// Whether this problem is to be logged: the first time that an attempt of this work fails because of it.
    pub fn is_news(&mut self, problem: &str) -> bool {
        let is_news = self.logged.len() < Self::MOST_PROBLEMS
            && self.logged.iter().all(|logged| logged != problem);
        if is_news {
            self.logged.push(problem.to_owned());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_deadlines_double_up_to_their_limits() {
        let mut backoff = Backoff::default();
        let (mut most, mut deadline) = (Backoff::FIRST, Backoff::DEADLINE);
        for failures in 0..200 {
            assert_eq!(backoff.failures(), failures);
            assert_eq!(backoff.deadline(), deadline, "after {failures} failures");
            let wait = backoff.failed();
            assert!(
                most / 2 <= wait && wait <= most,
                "{wait:?} after {failures} failures, not {most:?} at most"
            );
            most = (most * 2).min(Backoff::LONGEST);
            deadline = (deadline * 2).min(Duration::from_secs(480));
        }
    }

    #[test]
    fn each_problem_is_news_once() {
        let mut backoff = Backoff::default();
        let news = ["down", "down", "refused", "down", "refused"];
        assert_eq!(
            news.map(|it| backoff.is_news(it)),
            [true, false, true, false, false]
        );
        let varying = (0..100).filter(|number| backoff.is_news(&number.to_string()));
        assert_eq!(varying.count(), Backoff::MOST_PROBLEMS - 2);
    }

    #[test]
    fn two_programs_that_failed_together_do_not_retry_together() {
        let [one, other] = [(), ()].map(|()| {
            let mut backoff = Backoff::default();
            let waits = (0..20).map(|_| backoff.failed());
            waits.collect::<Vec<_>>()
        });
        assert_ne!(one, other);
    }
}
