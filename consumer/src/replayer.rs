//! Replays parked dead letters automatically and slowly: one page of each campaign in turn.
//!
//! A replayed record takes the same path as a record from Kafka: the same kind of transaction writes it and the gate
//! confirms it. Only then is it marked as replayed. If a replay is interrupted, this consumer or another one repeats
//! it, and the repetition changes nothing. Several consumers may replay at the same time.

use crate::gate::committed::Committed;
use crate::metrics;
use crate::rate_limit::RateLimit;
use crate::table::error::StoreError;
use crate::table::parked::{self, Cursor, Page};
use crate::table::store::{Replayed, Store};
use rushgate_gate::CampaignId;
use rushgate_gate::record::PARKED;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_startup::Backoff;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often parked records are checked while none of them can be replayed. The interval is randomised, so that
/// consumers that started together do not check together.
const EVERY: Duration = Duration::from_secs(2);

/// The longest rest of a campaign's parked records, after pages of which no record could be replayed. The rest
/// starts with [`EVERY`] and doubles each time.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long it goes on at the end of the consumer: less than the writers have to end.
const LAST: Duration = Duration::from_millis(500);

/// How long the database may take for one page.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Replayer {
    store: Store,
    trust: SignaturePolicy,
    rate_limit: Arc<RateLimit>,
    committed: mpsc::Sender<Committed>,
    /// How far the parked records of each reason and campaign have been read.
    cursors: HashMap<Place, Cursor>,
    /// Campaigns that rest: since when, and for how long.
    resting: HashMap<Place, (Instant, Duration)>,
}

/// The records of one campaign that are parked for the same reason.
type Place = (&'static str, CampaignId);

impl Replayer {
    /// `store` is its own database connection. The rate limit and the confirmer are shared with the writers.
    pub(crate) fn new(
        store: Store,
        trust: SignaturePolicy,
        rate_limit: Arc<RateLimit>,
        committed: mpsc::Sender<Committed>,
    ) -> Self {
        Self {
            store,
            trust,
            rate_limit,
            committed,
            cursors: HashMap::new(),
            resting: HashMap::new(),
        }
    }

    /// Replays until `end` is done. Then what it does has a moment to be finished, and it closes its connection.
    pub(crate) async fn run_until<T>(mut self, end: impl Future<Output = T>) -> T {
        let mut end = pin!(end);
        let mut backoff = Backoff::default();
        let mut wait = EVERY;
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                () = sleep(wait.mul_f64(0.5 + rand::random::<f64>())) => {}
            }
            let mut looking = pin!(self.look());
            let looked = tokio::select! {
                ended = &mut end => {
                    // Another consumer, or the next start, repeats what is cut off here.
                    let _ = timeout(LAST, looking).await;
                    break ended;
                }
                looked = &mut looking => looked,
            };
            wait = match looked {
                Ok(replayed) => {
                    backoff = Backoff::default();
                    if replayed == 0 { EVERY } else { Duration::ZERO }
                }
                Err(error) => {
                    if backoff.is_news(&error.to_string()) {
                        warn!(%error, "replaying parked records failed; retrying until it works");
                    }
                    backoff.failed().max(EVERY)
                }
            };
        };
        self.store.close().await;
        ended
    }

    /// Replays one page of each campaign. Returns how many records are no longer parked.
    async fn look(&mut self) -> Result<usize, StoreError> {
        let mut replayed = 0;
        self.resting
            .retain(|_, (since, _)| since.elapsed() < 2 * LONGEST_REST);
        for (reason, _) in PARKED {
            let mut after = vec![];
            while let Some(campaign) = self.next_campaign(reason, after).await? {
                after = parked::after(&campaign);
                match self.replay(reason, &campaign).await {
                    Ok(parked) => replayed += parked,
                    Err(error) if error.is_about_the_user() => return Err(error),
                    // Only this campaign failed; continue with the others.
                    Err(error) => {
                        warn!(%campaign, reason, %error, "replaying parked records failed; retrying")
                    }
                }
            }
        }
        Ok(replayed)
    }

    async fn next_campaign(
        &mut self,
        reason: &'static str,
        after: Vec<u8>,
    ) -> Result<Option<CampaignId>, StoreError> {
        let asked = self
            .store
            .ask(async |connection| parked::next_campaign(connection, reason, after).await);
        in_time(asked).await
    }

    /// Replays the next page of one campaign. Returns how many records are no longer parked. If none is, the
    /// campaign rests: records that cannot be replayed must not take time from new rows again and again.
    async fn replay(
        &mut self,
        reason: &'static str,
        campaign: &CampaignId,
    ) -> Result<usize, StoreError> {
        let place = (reason, campaign.clone());
        let rest = self.resting.get(&place).copied();
        if rest.is_some_and(|(since, rest)| since.elapsed() < rest) {
            return Ok(0);
        }
        let cursor = self.cursors.remove(&place);
        // At most as many as in a writer's batch, so that the rate limit is shared fairly.
        let most = parked::MAX_PER_TRANSACTION.min(self.rate_limit.portion());
        let asked = self
            .store
            .ask(async |connection| parked::page(connection, reason, campaign, cursor, most).await);
        let mut page = in_time(asked).await?;
        if let Some(next) = page.next.take() {
            self.cursors.insert(place.clone(), next);
        }
        if page.ids.is_empty() {
            return Ok(0);
        }
        let replayed = self.replay_page(reason, campaign, &page).await;
        if matches!(replayed, Ok(1..)) {
            self.resting.remove(&place);
        } else {
            let rest = rest.map_or(EVERY, |(_, rest)| (2 * rest).min(LONGEST_REST));
            self.resting.insert(place, (Instant::now(), rest));
        }
        replayed
    }

    async fn replay_page(
        &mut self,
        reason: &'static str,
        campaign: &CampaignId,
        page: &Page,
    ) -> Result<usize, StoreError> {
        sleep(self.rate_limit.admit(page.ids.len(), Instant::now())).await;
        let Replayed {
            parked,
            batch,
            outcomes,
        } = in_time(self.store.replay(campaign, &page.ids, &self.trust)).await?;
        let inserted = outcomes
            .iter()
            .filter(|outcome| outcome.is_inserted())
            .count();
        let (committed, confirmed) = Committed::replayed(batch, outcomes.clone());
        if self.committed.send(committed).await.is_err() || !confirmed.await.unwrap_or(false) {
            return Ok(0);
        }
        let noted = self
            .store
            .ask(async |connection| parked::note(connection, &parked, &outcomes).await);
        let noted = in_time(noted).await?;
        if noted > 0 {
            metrics::replayed(noted, inserted);
            info!(%campaign, reason, records = noted, inserted, "parked records were replayed");
        }
        Ok(noted)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(DATABASE_TIMEOUT, work)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}
