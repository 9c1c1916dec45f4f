//! What is done when nothing else asks for it: looking for campaigns, claiming, asking Kafka, sending again.

use std::time::{Duration, Instant};

/// How often new campaigns are looked for. With the time that a read blocks, a new campaign's first grant
/// waits for a quarter of a second at most.
const DISCOVER_EVERY: Duration = Duration::from_millis(150);

/// How often Kafka is asked whether it still serves the topic, when nothing seems wrong.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// When what is due next.
#[derive(Debug)]
pub struct Timers {
    discover: Instant,
    claim: Instant,
    claim_every: Duration,
    probe: Option<Instant>,
    retry: Option<Instant>,
}

impl Timers {
    /// Kafka is to be asked at once; what has been pending for `claim_idle` is looked for often enough to
    /// be found a quarter later.
    pub fn start(now: Instant, claim_idle: Duration) -> Self {
        let claim_every = claim_idle / 4;
        Self {
            discover: now + DISCOVER_EVERY,
            claim: now + claim_every,
            claim_every,
            probe: Some(now),
            retry: None,
        }
    }

    /// Whether it is time to look for campaigns; if so, the next time is set.
    pub fn discover(&mut self, now: Instant) -> bool {
        let due = now >= self.discover;
        if due {
            self.discover = now + DISCOVER_EVERY;
        }
        due
    }

    /// Whether it is time to look for dead peers; if so, the next time is set.
    pub fn claim(&mut self, now: Instant) -> bool {
        let due = now >= self.claim;
        if due {
            self.claim = now + self.claim_every;
        }
        due
    }

    /// Whether it is time to ask Kafka; if so, not again before [`Self::probed`].
    pub fn probe(&mut self, now: Instant) -> bool {
        self.probe.take_if(|at| now >= *at).is_some()
    }

    /// Kafka has been asked: again at `at`, or when the usual time has passed.
    pub fn probed(&mut self, now: Instant, at: Option<Instant>) {
        self.probe = Some(at.unwrap_or(now + PROBE_EVERY));
    }

    /// Kafka is to be asked at once, unless it is being asked.
    pub fn probe_soon(&mut self, now: Instant) {
        if let Some(at) = &mut self.probe {
            *at = now;
        }
    }

    /// Whether it is time to send again what was not delivered.
    pub fn retry(&mut self, now: Instant) -> bool {
        self.retry.take_if(|at| now >= *at).is_some()
    }

    /// Whether a time is set for sending again.
    pub fn will_retry(&self) -> bool {
        self.retry.is_some()
    }

    /// What was not delivered is to be sent again at `at`.
    pub fn retry_at(&mut self, at: Instant) {
        self.retry = Some(at);
    }

    /// When something is due next.
    pub fn next(&self) -> Instant {
        let optional = self.probe.into_iter().chain(self.retry);
        optional.fold(self.discover.min(self.claim), Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_round() {
        let (start, idle) = (Instant::now(), Duration::from_secs(4));
        let mut timers = Timers::start(start, idle);
        assert_eq!(timers.next(), start);
        assert!(timers.probe(start) && !timers.probe(start));
        assert_eq!(timers.next(), start + DISCOVER_EVERY);
        assert!(!timers.discover(start) && !timers.claim(start) && !timers.retry(start));
        let later = start + idle / 4;
        assert!(timers.discover(later) && !timers.discover(later));
        assert!(timers.claim(later) && !timers.claim(later));
        timers.retry_at(later);
        assert!(timers.will_retry() && timers.retry(later) && !timers.retry(later));
    }

    #[test]
    fn kafka_is_not_asked_while_it_is_being_asked() {
        let now = Instant::now();
        let mut timers = Timers::start(now, Duration::from_secs(60));
        assert!(timers.probe(now));
        timers.probe_soon(now);
        assert!(!timers.probe(now));
        timers.probed(now, None);
        assert!(!timers.probe(now));
        timers.probe_soon(now);
        assert!(timers.probe(now));
        timers.probed(now, Some(now));
        assert!(timers.probe(now));
    }
}
