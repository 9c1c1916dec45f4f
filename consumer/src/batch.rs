//! Decides when a batch of records goes to the database: as soon as the batch is full, or when its first record has
//! waited long enough.

use std::time::{Duration, Instant};

/// Items that are written in one transaction.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    items: Vec<T>,
    /// When the oldest item was read.
    since: Option<Instant>,
    size: usize,
    age: Duration,
}

impl<T> Batch<T> {
    /// An empty batch. It is due when it has `size` items, or `age` after its first item was read.
    pub(crate) fn new(size: usize, age: Duration) -> Self {
        Self {
            items: Vec::with_capacity(size),
            since: None,
            size: size.max(1),
            age,
        }
    }

    pub(crate) fn push(&mut self, item: T, read_at: Instant) {
        self.since = Some(self.since.map_or(read_at, |since| since.min(read_at)));
        self.items.push(item);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= self.size
    }

    /// The latest time at which it is due; `None` while it is empty.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.age)
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_full() || self.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// Takes all items out.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.since = None;
        std::mem::replace(&mut self.items, Vec::with_capacity(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_due_when_full_or_old_and_never_when_empty() {
        let start = Instant::now();
        let age = Duration::from_millis(20);
        let mut batch = Batch::new(2, age);
        assert!(!batch.is_due(start + Duration::from_secs(3_600)));
        batch.push('a', start);
        assert!(!batch.is_due(start + age - Duration::from_nanos(1)));
        assert!(batch.is_due(start + age));
        batch.push('b', start);
        assert!(batch.is_full() && batch.is_due(start));
        assert_eq!(batch.take(), ['a', 'b']);
        assert_eq!(batch.due_at(), None);
    }

    proptest! {
        /// Whenever an item comes: no item waits longer than the age, none is lost, and the order stays
        /// the same.
        #[test]
        fn keeps_size_age_and_order(size in 1usize..8, age in 0u64..50, gaps in prop::collection::vec(0u64..30, 1..60)) {
            let start = Instant::now();
            let (mut batch, mut now, mut written) = (Batch::new(size, Duration::from_millis(age)), start, vec![]);
            for (item, gap) in gaps.iter().enumerate() {
                let arrives = now + Duration::from_millis(*gap);
                if let Some(due_at) = batch.due_at().filter(|due_at| *due_at < arrives) {
                    prop_assert!(batch.is_due(due_at));
                    written.extend(batch.take());
                }
                now = arrives;
                prop_assert!(!batch.is_full());
                batch.push(item, now);
                if batch.is_due(now) {
                    let items = batch.take();
                    prop_assert!(items.len() <= size);
                    written.extend(items);
                }
            }
            written.extend(batch.take());
            prop_assert_eq!(written, (0..gaps.len()).collect::<Vec<_>>());
        }
    }
}
