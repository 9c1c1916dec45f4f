//! Counts dead letters in a row, over all writers and by campaign. If several campaigns have too many, the cause is
//! probably a wrong deployment: then the batch is not written and the consumer stops.

use rushgate_gate::CampaignId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The number of dead letters of each campaign. `None` stands for records that name no campaign.
pub(crate) type Counts = BTreeMap<Option<CampaignId>, usize>;

/// The dead letters since the last batch with a good record. Clones share the same counts.
///
/// Each campaign counts for less than half of the limit, however many dead letters it has. So one or two bad
/// campaigns affect only themselves, and only several campaigns that fail together look like a wrong
/// deployment.
#[derive(Clone, Debug)]
pub(crate) struct Streak {
    /// The length at which a batch is not written any more; 0 means no limit.
    stops_at: usize,
    counts: Arc<Mutex<Counts>>,
}

/// The streak would be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub(crate) in_a_row: usize,
    pub(crate) campaigns: usize,
}

/// A batch of dead letters that is about to be committed. While this value exists, no other such batch can be
/// committed, so two of them cannot pass the limit together.
#[derive(Debug)]
pub(crate) struct ExtendedStreak {
    counts: OwnedMutexGuard<Counts>,
    longer: Counts,
}

impl Streak {
    pub(crate) fn new(stops_at: usize) -> Self {
        Self {
            stops_at,
            counts: Arc::default(),
        }
    }

    /// Called for a batch of dead letters only. `by` counts the new ones; dead letters that existed before do
    /// not count.
    ///
    /// # Errors
    /// When the streak would be too long.
    pub(crate) async fn extend(&self, by: Counts) -> Result<ExtendedStreak, TooLong> {
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

    /// A batch with a good record was committed: the streak starts again.
    pub(crate) async fn end(&self) {
        self.counts.lock().await.clear();
    }
}

impl ExtendedStreak {
    /// The batch was committed: its dead letters count from now on.
    pub(crate) fn keep(mut self) {
        *self.counts = self.longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn committed_dead_letters_count_until_a_good_record() {
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
    async fn one_or_two_campaigns_never_stop_the_consumer_nor_do_records_that_name_none() {
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
    async fn two_batches_do_not_pass_the_limit_together() {
        let streak = Streak::new(5);
        let first = streak.extend(of(&[("a", 1), ("b", 2)])).await;
        let first = first.expect("3");
        let second = streak.extend(of(&[("c", 3)]));
        tokio::pin!(second);
        tokio::select! {
            biased;
            second = &mut second => panic!("the first is not decided, and {second:?}"),
            () = std::future::ready(()) => {}
        }
        first.keep();
        assert_eq!(second.await.err(), too_long(6, 3));
    }
}
