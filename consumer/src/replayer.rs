//! Replays parked dead letters, by themselves and at a slow pace: some of each campaign in turn.
//!
//! Each goes the way of a record out of Kafka: the very same transaction writes it, the gate is told, and only then is it
//! noted as replayed. So a replay that is interrupted is done again, by this consumer or another, and changes nothing.
//! Several consumers may do it at once.

use crate::confirm::Committed;
use crate::failure::Backoff;
use crate::metrics;
use crate::parked::{self, Cursor};
use crate::rate_limit::RateLimit;
use crate::store::{RecordOutcome, Replayed, Store, StoreError};
use rushgate_gate::CampaignId;
use rushgate_gate::record::PARKED;
use rushgate_gate::signature::Trust;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often parked letters are looked at, while none of them can be replayed; spread, so that consumers that were started
/// together do not look together.
const EVERY: Duration = Duration::from_secs(2);

/// How long the database may take over one page.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(30);

/// Replays what is parked.
pub struct Replayer {
    store: Store,
    trust: Trust,
    rate_limit: Arc<RateLimit>,
    committed: mpsc::Sender<Committed>,
    /// How far each campaign's letters have been looked at, by reason.
    cursors: HashMap<(&'static str, CampaignId), Cursor>,
}

impl Replayer {
    /// One that writes over a connection of its own, at the pace of all, and has its rows confirmed like all others.
    pub fn new(
        store: Store,
        trust: Trust,
        rate_limit: Arc<RateLimit>,
        committed: mpsc::Sender<Committed>,
    ) -> Self {
        Self {
            store,
            trust,
            rate_limit,
            committed,
            cursors: HashMap::new(),
        }
    }

    /// Replays what comes, until this is dropped.
    pub async fn run(mut self) -> Infallible {
        let mut backoff = Backoff::default();
        let mut wait = EVERY;
        loop {
            sleep(wait.mul_f64(0.5 + rand::random::<f64>())).await;
            wait = match self.look().await {
                Ok(0) => EVERY,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    let wait = backoff.failed(rand::random());
                    warn!(%error, "parked records cannot be looked for now");
                    wait.max(EVERY)
                }
            };
            if wait == EVERY {
                backoff = Backoff::default();
            }
        }
    }

    /// Replays a page of each campaign's letters; how many are parked no more.
    async fn look(&mut self) -> Result<usize, StoreError> {
        let mut replayed = 0;
        for (reason, _) in PARKED {
            let mut after = vec![];
            while let Some(campaign) = self.next_campaign(reason, after).await? {
                after = parked::after(&campaign);
                match self.replay(reason, &campaign).await {
                    Ok(parked) => replayed += parked,
                    // Only this campaign's: the database answers.
                    Err(error) => {
                        warn!(%campaign, reason, %error, "parked records are to be replayed again")
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

    /// Replays the next page of one campaign's letters; how many are parked no more.
    async fn replay(
        &mut self,
        reason: &'static str,
        campaign: &CampaignId,
    ) -> Result<usize, StoreError> {
        let place = (reason, campaign.clone());
        let cursor = self.cursors.remove(&place);
        let asked = self
            .store
            .ask(async |connection| parked::page(connection, reason, campaign, cursor).await);
        let page = in_time(asked).await?;
        if let Some(next) = page.next {
            self.cursors.insert(place, next);
        }
        if page.ids.is_empty() {
            return Ok(0);
        }
        sleep(self.rate_limit.admit(page.ids.len(), Instant::now())).await;
        let Replayed {
            parked,
            batch,
            outcomes,
        } = in_time(self.store.replay(campaign, &page.ids, &self.trust)).await?;
        let inserted = outcomes
            .iter()
            .filter(|outcome| {
                matches!(
                    outcome,
                    RecordOutcome::Inserted | RecordOutcome::InsertedRevoked
                )
            })
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
