//! Gives work a deadline. All deadlines of an instance share one timer of the host: a timer for each request would cost a
//! tenth of the throughput (`bench/LOG.md`).
//!
//! The request that finds no timer starts a watch, a task that outlives its response. The watch wakes at least every
//! 0.1 s, ends what has missed its deadline, and ends itself when nothing waits. So an instance is kept for at most 0.1 s
//! longer than its requests need it.

use futures::channel::oneshot::{self, Receiver, Sender};
use futures::future::{Either, select};
use futures::poll;
use spin_sdk::wasip3::wit_bindgen;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The longest sleep of the watch. What has less time gets a timer of its own.
const TICK: Duration = Duration::from_millis(100);

static DEADLINES: Mutex<Deadlines> = Mutex::new(Deadlines::new());

/// The result of `work`; `None` if it takes longer than `limit`. The clock is not read for work that is done at once.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    if let Poll::Ready(done) = poll!(&mut work) {
        return Some(done);
    }
    within_since(Instant::now(), limit, work).await
}

/// The result of `work`; `None` if it is not done when `limit` has passed since `begun`, which is a reading of the clock just
/// before.
pub async fn within_since<T>(
    begun: Instant,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    if limit < TICK {
        return until(pin!(spin_sdk::time::sleep(limit)), work).await;
    }
    let (missed, is_watched) = deadlines().add(begun + limit);
    if !is_watched {
        wit_bindgen::spawn(watch());
    }
    until(missed, work).await
}

async fn until<T>(end: impl Future + Unpin, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), end).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

async fn watch() {
    let _watch = Watch;
    let mut sleep = Some(TICK);
    while let Some(duration) = sleep {
        spin_sdk::time::sleep(duration).await;
        sleep = deadlines().pass(Instant::now());
    }
}

/// The running watch. If it ends while something waits, because the host drops its task, then that has missed its deadline:
/// nothing else would end it.
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        let unwatched = std::mem::replace(&mut *deadlines(), Deadlines::new());
        drop(unwatched);
    }
}

fn deadlines() -> MutexGuard<'static, Deadlines> {
    DEADLINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Deadlines {
    /// Dropping a sender ends the work of its receiver.
    waiting: Vec<(Instant, Sender<()>)>,
    is_watched: bool,
}

impl Deadlines {
    const fn new() -> Self {
        Self {
            waiting: Vec::new(),
            is_watched: false,
        }
    }

    /// Adds a deadline. Returns what resolves when it is missed, and whether a watch runs; without one, the caller starts it.
    fn add(&mut self, deadline: Instant) -> (Receiver<()>, bool) {
        let (sender, missed) = oneshot::channel();
        self.waiting.push((deadline, sender));
        (missed, std::mem::replace(&mut self.is_watched, true))
    }

    /// Ends what has missed its deadline, and forgets what is done. Returns for how long the watch may sleep; `None` if
    /// nothing waits.
    fn pass(&mut self, now: Instant) -> Option<Duration> {
        self.waiting
            .retain(|(deadline, sender)| now < *deadline && !sender.is_canceled());
        let next = self.waiting.iter().map(|(deadline, _)| *deadline).min()?;
        Some(next.saturating_duration_since(now).min(TICK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the deadline is missed, as far as the watch has told.
    fn is_missed(missed: &mut Receiver<()>) -> bool {
        missed.try_recv().is_err()
    }

    #[test]
    fn one_watch_runs_while_something_waits() {
        let (mut deadlines, start) = (Deadlines::new(), Instant::now());
        let (first, is_watched) = deadlines.add(start + 5 * TICK);
        assert!(!is_watched);
        let (second, is_watched) = deadlines.add(start + 5 * TICK);
        assert!(is_watched);
        assert_eq!(deadlines.pass(start + TICK), Some(TICK));
        drop((first, second));
        assert_eq!(deadlines.pass(start + 2 * TICK), None);
    }

    #[test]
    fn a_watch_that_is_dropped_ends_what_waits() {
        let (mut missed, is_watched) = deadlines().add(Instant::now() + 5 * TICK);
        assert!(!is_watched && !is_missed(&mut missed));
        drop(Watch);
        assert!(is_missed(&mut missed));
        assert!(!deadlines().add(Instant::now()).1);
    }

    proptest! {
        /// Steps: a wait, the time limit of new work in ticks, and which work is done by then.
        #[test]
        fn work_is_ended_at_its_deadline_and_never_before(
            steps in prop::collection::vec((0_u32..3, 1_u32..20, any::<prop::sample::Index>(), any::<bool>()), 1..60)
        ) {
            let mut deadlines = Deadlines::new();
            let (mut now, mut wakes) = (Instant::now(), None);
            let mut waiting: Vec<(Instant, Receiver<()>)> = vec![];
            for (wait, limit, done, is_done) in steps {
                let until = now + TICK * wait / 2;
                // The watch sleeps for as long as it was told, and no longer.
                while let Some(at) = wakes.filter(|at| *at <= until) {
                    wakes = deadlines.pass(at).map(|sleep| at + sleep);
                    prop_assert!(wakes.is_none_or(|next| next > at));
                    deadlines.is_watched = wakes.is_some();
                    waiting.retain_mut(|(deadline, missed)| {
                        let is_over = is_missed(missed);
                        assert_eq!(is_over, at >= *deadline, "{:?}", *deadline - now);
                        !is_over
                    });
                }
                now = until;
                prop_assert!(waiting.iter().all(|(deadline, _)| *deadline > now));
                if is_done && !waiting.is_empty() {
                    drop(waiting.swap_remove(done.index(waiting.len())));
                }
                let deadline = now + TICK * limit;
                let (missed, is_watched) = deadlines.add(deadline);
                prop_assert_eq!(is_watched, wakes.is_some());
                wakes = wakes.or(Some(now + TICK));
                waiting.push((deadline, missed));
            }
        }
    }
}
