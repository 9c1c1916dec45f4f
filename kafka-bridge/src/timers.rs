//! What is done when nothing else asks for it: looking for campaigns, claiming, asking Kafka, sending again.

use std::time::{Duration, Instant};

/// How often new campaigns are looked for. With the time that a read blocks, a new campaign's first grant
/// waits for a quarter of a second at most.
const DISCOVER_EVERY: Duration = Duration::from_millis(150);

/// How often Kafka is asked whether it still serves the topic, when nothing seems wrong.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long entries gather after a read that found some, but fewer than it would have taken. The first grant after a
/// pause is read at once; of those that follow one another, each read, record batch and ack would else be of one or two.
const GATHER: Duration = Duration::from_millis(5);

/// When what is due next.
#[derive(Debug)]
pub struct Timers {
    discover: Instant,
    claim: Instant,
    claim_every: Duration,
    probe: Option<Instant>,
    retry: Option<Instant>,
    read: Option<Instant>,
    draining: bool,
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
            read: None,
            draining: false,
        }
    }

    /// From now on nothing is due but what helps what is under way to its end: no reads, no questions to Kafka.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether what is under way is only to come to its end.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// All that there was has been read: what comes now is let gather.
    pub fn gather(&mut self, now: Instant) {
        self.read = Some(now + GATHER);
    }

    /// Whether what comes has gathered for long enough to be read.
    pub fn gathered(&mut self, now: Instant) -> bool {
        self.read.take_if(|at| now >= *at);
        self.read.is_none() && !self.draining
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
        self.probe.take_if(|at| now >= *at).is_some() && !self.draining
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
        let optional = [self.probe, self.retry, self.read].into_iter().flatten();
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
    fn entries_gather_between_two_reads() {
        let now = Instant::now();
        let mut timers = Timers::start(now, Duration::from_secs(60));
        timers.probed(now, None);
        assert!(timers.gathered(now), "the first read is at once");
        timers.gather(now);
        assert!(!timers.gathered(now) && timers.next() == now + GATHER);
        assert!(timers.gathered(now + GATHER) && timers.gathered(now));
        assert_eq!(timers.next(), now + DISCOVER_EVERY);
    }

    /// Who is woken for what he then does not do is woken again at once, and so on.
    #[test]
    fn nobody_is_woken_in_a_drain_for_what_is_not_begun_any_more() {
        let now = Instant::now();
        let later = now + PROBE_EVERY;
        let woken = |reading: bool, asking: bool| {
            let mut timers = Timers::start(now, Duration::from_secs(60));
            if reading {
                timers.gather(now);
            }
            timers.drain();
            // The answers to what was under way, and trouble.
            timers.gather(now);
            if asking {
                assert!(!timers.probe(now));
                timers.probed(now, Some(now));
            }
            timers.probe_soon(now);
            assert!(!timers.gathered(later) && !timers.probe(later));
            assert!(timers.discover(later) && !timers.claim(later));
            timers.next()
        };
        for (reading, asking) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(woken(reading, asking), later + DISCOVER_EVERY);
        }
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
