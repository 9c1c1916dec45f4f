//! Replays parked dead letters, by themselves and at a slow pace: some of each campaign in turn.
//!
//! Each goes the way of a record out of Kafka: the very same transaction writes it, the gate is told, and only then is it
//! noted as replayed. So a replay that is interrupted is done again, by this consumer or another, and changes nothing.
//! Several consumers may do it at once.

use crate::confirm::Committed;
use crate::failure::Backoff;
use crate::metrics;
use crate::parked::{self, Cursor, Page};
use crate::rate_limit::RateLimit;
use crate::store::{RecordOutcome, Replayed, Store, StoreError};
use rushgate_gate::CampaignId;
use rushgate_gate::record::PARKED;
use rushgate_gate::signature::SignaturePolicy;
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

/// How long the letters of a campaign are left alone at most, of which a page has come to nothing: for twice as long each
/// time. It begins with [`EVERY`].
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long the database may take over one page.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(30);

/// Replays what is parked.
pub struct Replayer {
    store: Store,
    trust: SignaturePolicy,
    rate_limit: Arc<RateLimit>,
    committed: mpsc::Sender<Committed>,
    /// How far each campaign's letters have been looked at.
    cursors: HashMap<Place, Cursor>,
    /// Those that are left alone: since when, and for how long.
    resting: HashMap<Place, (Instant, Duration)>,
}

/// Letters of one campaign that are parked for the same reason.
type Place = (&'static str, CampaignId);

impl Replayer {
    /// One that writes over a connection of its own, at the pace of all, and has its rows confirmed like all others.
    pub fn new(
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
        self.resting
            .retain(|_, (since, _)| since.elapsed() < 2 * LONGEST_REST);
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

    /// Replays the next page of one campaign's letters; how many are parked no more. Where none is, its letters rest: what
    /// cannot be replayed must not take the place of rows, again and again.
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
        // No more than a batch of a writer, so that each has its turn.
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
