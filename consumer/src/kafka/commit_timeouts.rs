//! Finds offset commits that Kafka has not answered, so that they are made again.

use crate::kafka::tracker::Tracker;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long to wait for the answer to a commit before it counts as lost and is made again. Without this, the
/// last offsets before a quiet time would stay uncommitted until the next record. Committing the same offset
/// twice is harmless.
const COMMIT_ANSWER: Duration = Duration::from_secs(15);

/// For each partition whose commit was not answered: the offset that Kafka had confirmed, and since when the
/// answer is missing.
#[derive(Default)]
pub(crate) struct CommitTimeouts {
    missing: BTreeMap<i32, (Option<i64>, Instant)>,
    looked_at: Option<Instant>,
}

impl CommitTimeouts {
    /// Makes commits whose answer is overdue be sent again. Checks at most once a second.
    pub(crate) fn look(&mut self, tracker: &Tracker, now: Instant) {
        const EVERY: Duration = Duration::from_secs(1);
        if self.looked_at.is_some_and(|at| now < at + EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let mut offsets = tracker.lock();
        let before = std::mem::take(&mut self.missing);
        for (partition, confirmed) in offsets.unanswered() {
            // Progress since the last check shows that answers arrive.
            let since = match before.get(&partition) {
                Some((then, since)) if *then == confirmed => *since,
                _ => now,
            };
            self.missing.insert(partition, (confirmed, since));
        }
        let lost = self
            .missing
            .extract_if(.., |_, (_, since)| now >= *since + COMMIT_ANSWER);
        for (partition, _) in lost {
            warn!(
                partition,
                "Kafka has not answered an offset commit; committing again"
            );
            offsets.commit_failed(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_whose_answer_is_lost_is_made_again() {
        let tracker = Tracker::default();
        let (mut timeouts, begun) = (CommitTimeouts::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let does = |offset: i64| {
            let mut offsets = tracker.lock();
            let generation = offsets.generation();
            let ticket = offsets.read(generation, 0, offset).expect("is ours");
            offsets.done(&ticket);
            offsets.take_progress()
        };
        tracker.change(|offsets| offsets.assign([0]));
        assert_eq!(does(5), [(0, 6)]);
        timeouts.look(&tracker, at(0));
        // The first of two commits is answered.
        assert_eq!(does(6), [(0, 7)]);
        tracker.change(|offsets| offsets.committed(0, 6));
        for second in 14..29 {
            timeouts.look(&tracker, at(second));
            assert_eq!(tracker.lock().take_progress(), []);
        }
        timeouts.look(&tracker, at(29));
        assert_eq!(tracker.lock().take_progress(), [(0, 7)]);
        tracker.change(|offsets| offsets.committed(0, 7));
        timeouts.look(&tracker, at(60));
        assert_eq!(tracker.lock().take_progress(), []);
    }
}
