//! Decides when periodic work is due: finding campaigns, claiming entries, checking Kafka, and sending undelivered
//! entries again. The current time is an argument; this module reads no clock.

use std::time::{Duration, Instant};

/// How often the bridge looks for new campaigns. Together with the time that a read blocks or grants gather,
/// the first grant of a new campaign waits for a quarter of a second.
const DISCOVER_EVERY: Duration = Duration::from_millis(150);

/// How often the topic is checked while nothing seems wrong.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long the bridge waits after a read that found some entries, but fewer than it asked for, if no stream may have
/// more. The first grant after a pause is read at once. Without this wait, a steady flow would be read, published and
/// acked one or two entries at a time. If it takes several reads to read all streams, this is how long all of them take
/// together.
/// It sets the pace of Kafka, consumer and database too: they handle what is read together.
const GATHER: Duration = Duration::from_millis(20);

/// The time at which each kind of work is due next.
#[derive(Debug)]
pub(crate) struct Timers {
    discover: Instant,
    claim: Instant,
    claim_every: Duration,
    probe: Option<Instant>,
    retry: Option<Instant>,
    read: Option<Instant>,
    draining: bool,
}

impl Timers {
    /// Kafka is checked at once. Entries that have been pending for `claim_idle` are found within another
    /// quarter of that time.
    pub(crate) fn start(now: Instant, claim_idle: Duration) -> Self {
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

    /// From now on, nothing new is started: no reads and no checks of Kafka.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// A read has emptied its streams: wait for a moment before the next one. It takes `reads` to read all streams.
    pub(crate) fn gather(&mut self, now: Instant, reads: u32) {
        self.read = Some(now + GATHER / reads);
    }

    /// Whether new entries gather, and nothing that can wait for them is to be done before.
    pub(crate) fn is_gathering(&self, now: Instant) -> bool {
        !self.draining && self.read.is_some_and(|at| now < at)
    }

    /// Whether the wait after the last read is over, so that a new read may start.
    pub(crate) fn gathered(&mut self, now: Instant) -> bool {
        self.read.take_if(|at| now >= *at);
        self.read.is_none() && !self.draining
    }

    /// Whether it is time to look for campaigns. If so, sets the next time.
    pub(crate) fn discover(&mut self, now: Instant) -> bool {
        let due = now >= self.discover;
        if due {
            self.discover = now + DISCOVER_EVERY;
        }
        due
    }

    /// Whether it is time to claim entries of dead bridges. If so, sets the next time.
    pub(crate) fn claim(&mut self, now: Instant) -> bool {
        let due = now >= self.claim;
        if due {
            self.claim = now + self.claim_every;
        }
        due
    }

    /// Whether it is time to check Kafka. If so, it is not due again before [`Self::probed`].
    pub(crate) fn probe(&mut self, now: Instant) -> bool {
        self.probe.take_if(|at| now >= *at).is_some() && !self.draining
    }

    /// Kafka was checked. The next check is at `at`, or after the usual interval.
    pub(crate) fn probed(&mut self, now: Instant, at: Option<Instant>) {
        self.probe = Some(at.unwrap_or(now + PROBE_EVERY));
    }

    /// Makes a check of Kafka due now, unless one is running.
    pub(crate) fn probe_soon(&mut self, now: Instant) {
        if let Some(at) = &mut self.probe {
            *at = now;
        }
    }

    /// Whether it is time to send undelivered entries again.
    pub(crate) fn retry(&mut self, now: Instant) -> bool {
        self.retry.take_if(|at| now >= *at).is_some()
    }

    pub(crate) fn will_retry(&self) -> bool {
        self.retry.is_some()
    }

    /// Undelivered entries are to be sent again at `at`.
    pub(crate) fn retry_at(&mut self, at: Instant) {
        self.retry = Some(at);
    }

    /// The time of the next timer.
    pub(crate) fn next(&self) -> Instant {
        let optional = [self.probe, self.retry, self.read].into_iter().flatten();
        optional.fold(self.discover.min(self.claim), Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_is_due_once_and_then_set_again() {
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
        timers.gather(now, 1);
        assert!(!timers.gathered(now) && timers.next() == now + GATHER);
        assert!(timers.is_gathering(now) && !timers.is_gathering(now + GATHER));
        assert!(timers.gathered(now + GATHER) && timers.gathered(now));
        assert!(!timers.is_gathering(now));
        timers.gather(now, 4);
        assert_eq!(timers.next(), now + GATHER / 4);
        assert!(timers.gathered(now + GATHER / 4));
        assert_eq!(timers.next(), now + DISCOVER_EVERY);
    }

    /// A timer that is due, but whose work is not started in a drain, would fire again at once, in a busy loop.
    #[test]
    fn no_timer_fires_in_a_drain_for_work_that_is_not_started_any_more() {
        let now = Instant::now();
        let later = now + PROBE_EVERY;
        let woken = |reading: bool, asking: bool| {
            let mut timers = Timers::start(now, Duration::from_secs(60));
            if reading {
                timers.gather(now, 1);
            }
            timers.drain();
            // The answers to what was under way, and trouble.
            timers.gather(now, 1);
            if asking {
                assert!(!timers.probe(now));
                timers.probed(now, Some(now));
            }
            timers.probe_soon(now);
            assert!(!timers.gathered(later) && !timers.probe(later));
            assert!(!timers.is_gathering(now), "acks are not delayed");
            assert!(timers.discover(later) && !timers.claim(later));
            timers.next()
        };
        for (reading, asking) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(
                woken(reading, asking),
                later + DISCOVER_EVERY,
                "{reading} {asking}"
            );
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
