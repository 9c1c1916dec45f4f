//! How many dead letters there were in a row, over all lanes.

use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Dead letters since the last batch with a good record. Its clones are one and the same.
#[derive(Clone, Debug)]
pub struct Streak {
    /// A batch that would make it so long is not to be written; 0: all are.
    stops_at: usize,
    length: Arc<Mutex<usize>>,
}

/// A batch of dead letters that is about to be committed. While this lives no other is, so that no two of them pass
/// the limit together.
#[derive(Debug)]
pub struct Longer {
    length: OwnedMutexGuard<usize>,
    by: usize,
}

impl Streak {
    /// One of no length.
    pub fn new(stops_at: usize) -> Self {
        Self {
            stops_at,
            length: Arc::default(),
        }
    }

    /// A batch has nothing but dead letters, so many of which are new. (One that was buried before says nothing.)
    ///
    /// # Errors
    /// When that is too long: how long.
    pub async fn lengthen(&self, by: usize) -> Result<Longer, usize> {
        let length = Arc::clone(&self.length).lock_owned().await;
        let longer = *length + by;
        if by > 0 && self.stops_at > 0 && longer >= self.stops_at {
            return Err(longer);
        }
        Ok(Longer { length, by })
    }

    /// A batch with a good record is committed.
    pub async fn end(&self) {
        *self.length.lock().await = 0;
    }
}

impl Longer {
    /// The batch is committed.
    pub fn keep(mut self) {
        *self.length += self.by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn what_was_committed_counts_until_a_good_one() {
        let streak = Streak::new(5);
        streak.lengthen(4).await.expect("4").keep();
        drop(streak.lengthen(0).await.expect("4, and rolled back"));
        assert_eq!(streak.clone().lengthen(1).await.err(), Some(5));
        streak.end().await;
        streak.lengthen(4).await.expect("4").keep();
        Streak::new(0).lengthen(1_000).await.expect("never").keep();
    }

    #[tokio::test]
    async fn no_two_pass_the_limit_together() {
        let streak = Streak::new(5);
        let first = streak.lengthen(3).await.expect("3");
        let second = streak.lengthen(3);
        tokio::pin!(second);
        timeout(Duration::from_millis(10), &mut second)
            .await
            .expect_err("the first is not decided");
        first.keep();
        assert_eq!(second.await.err(), Some(6));
    }
}
