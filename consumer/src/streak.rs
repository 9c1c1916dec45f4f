//! How many dead letters there were in a row, over all writers, and of how many campaigns.

use rushgate_gate::CampaignId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many dead letters each campaign has; those that name none are of one more.
pub type Counts = BTreeMap<Option<CampaignId>, usize>;

/// Dead letters since the last batch with a good record. Its clones are one and the same.
///
/// A campaign counts for less than half of what stops the consumer, however many it has: one or two that are bad harm
/// themselves, and only several that fail at once look like a wrong deployment.
#[derive(Clone, Debug)]
pub struct Streak {
    /// A batch that would make it so long is not to be written; 0: all are.
    stops_at: usize,
    counts: Arc<Mutex<Counts>>,
}

/// A streak that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Dead letters since the last good record.
    pub in_a_row: usize,
    /// Of so many campaigns.
    pub campaigns: usize,
}

/// A batch of dead letters that is about to be committed. While this lives no other is, so that no two of them pass
/// the limit together.
#[derive(Debug)]
pub struct ExtendedStreak {
    counts: OwnedMutexGuard<Counts>,
    longer: Counts,
}

impl Streak {
    /// One of no length.
    pub fn new(stops_at: usize) -> Self {
        Self {
            stops_at,
            counts: Arc::default(),
        }
    }

    /// A batch has nothing but dead letters, so many of which are new. (One that was buried before says nothing.)
    ///
    /// # Errors
    /// When that is too long.
    pub async fn extend(&self, by: Counts) -> Result<ExtendedStreak, TooLong> {
        let counts = Arc::clone(&self.counts).lock_owned().await;
        let mut longer = counts.clone();
        let is_longer = !by.is_empty();
        for (campaign, count) in by {
            *longer.entry(campaign).or_default() += count;
        }
        let most_of_one = (self.stops_at.saturating_sub(1) / 2).max(1);
        let counted: usize = longer.values().map(|count| *count.min(&most_of_one)).sum();
        if is_longer && self.stops_at > 0 && counted >= self.stops_at {
            return Err(TooLong {
                in_a_row: longer.values().sum(),
                campaigns: longer.len(),
            });
        }
        Ok(ExtendedStreak { counts, longer })
    }

    /// A batch with a good record is committed.
    pub async fn end(&self) {
        self.counts.lock().await.clear();
    }
}

impl ExtendedStreak {
    /// The batch is committed.
    pub fn keep(mut self) {
        *self.counts = self.longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    /// So many of each campaign.
    fn of(counts: &[(&str, usize)]) -> Counts {
        let counts = counts.iter();
        counts
            .map(|(campaign, count)| (campaign.parse().ok(), *count))
            .collect()
    }

    fn too_long(in_a_row: usize, campaigns: usize) -> Option<TooLong> {
        Some(TooLong {
            in_a_row,
            campaigns,
        })
    }

    #[tokio::test]
    async fn what_was_committed_counts_until_a_good_one() {
        let streak = Streak::new(5);
        let four = || of(&[("a", 2), ("b", 2)]);
        streak.extend(four()).await.expect("4").keep();
        drop(streak.extend(of(&[])).await.expect("4, rolled back"));
        let fifth = streak.clone().extend(of(&[("c", 1)])).await;
        assert_eq!(fifth.err(), too_long(5, 3));
        streak.end().await;
        streak.extend(four()).await.expect("4").keep();
        let off = Streak::new(0);
        let never = off.extend(of(&[("a", 9), ("b", 9), ("c", 9)])).await;
        never.expect("never").keep();
    }

    #[tokio::test]
    async fn one_campaign_or_two_never_stop_it_and_neither_do_records_that_name_none() {
        for stops_at in 3..40 {
            let streak = Streak::new(stops_at);
            for counts in [&[("a", 1_000)][..], &[("NONE", 1_000)], &[("a", 1_000)]] {
                streak.extend(of(counts)).await.expect("goes on").keep();
            }
            let mut campaigns = 2;
            let stopped = loop {
                campaigns += 1;
                let campaign = format!("c{campaigns}");
                match streak.extend(of(&[(&campaign, stops_at)])).await {
                    Ok(longer) => longer.keep(),
                    Err(too_long) => break too_long,
                }
            };
            assert!((3..=4).contains(&stopped.campaigns), "{stopped:?}");
        }
    }

    #[tokio::test]
    async fn no_two_pass_the_limit_together() {
        let streak = Streak::new(5);
        let first = streak.extend(of(&[("a", 1), ("b", 2)])).await;
        let first = first.expect("3");
        let second = streak.extend(of(&[("c", 3)]));
        tokio::pin!(second);
        timeout(Duration::from_millis(10), &mut second)
            .await
            .expect_err("the first is not decided");
        first.keep();
        assert_eq!(second.await.err(), too_long(6, 3));
    }
}
