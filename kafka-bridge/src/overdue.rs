//! Measures how long the oldest grant without a row in the database has been waiting. The grant may be in the stream,
//! in Kafka or at a consumer, or one of these has lost it.
//!
//! The gate knows which grants are issued, so the bridge reads only Redis. If the counts of a campaign show that every
//! grant has its row, nothing else of that campaign is read. Otherwise its grants are scanned in small pieces, with
//! pauses for other clients of Redis.

use crate::stream::connection::{LazyConnection, RESPONSE_TIMEOUT};
use metrics::Gauge;
use redis::{Client, ErrorKind, FromRedisValue, RedisError, cmd};
use rushgate_gate::stored_grants::{unissued_count, unissued_since};
use rushgate_gate::{CampaignId, Keys, Millis};
use rushgate_startup::{causes, is_missing_right};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::sleep;

/// The number of grants in one HSCAN. It takes Redis a fraction of a millisecond.
const PIECE: usize = 500;

/// The pause between two scans, so that Redis spends about one percent of its time on them.
const PAUSE: Duration = Duration::from_millis(20);

/// Updates the gauge at this interval, until it is dropped.
pub(crate) async fn watch(client: Client, every: Duration, gauge: Gauge) {
    let mut redis = Redis(LazyConnection::new(client, RESPONSE_TIMEOUT));
    let mut lacks_right = false;
    loop {
        sleep(every).await;
        match redis.oldest().await {
            Ok(age) => {
                gauge.set(age.as_secs_f64());
                lacks_right = false;
            }
            Err(error) if is_missing_right(&error) => {
                if !std::mem::replace(&mut lacks_right, true) {
                    tracing::warn!(
                        error = causes(&error),
                        "the age of the oldest grant without a row cannot be measured"
                    );
                }
            }
            Err(error) => {
                // Only debug: the event loop of the bridge already logs when Redis does not answer.
                tracing::debug!(%error, "the age of the oldest grant without a row could not be measured");
                redis.0.close();
            }
        }
    }
}

struct Redis(LazyConnection);

impl Redis {
    /// The age of the oldest grant without a row; zero if every grant has its row.
    async fn oldest(&mut self) -> Result<Duration, RedisError> {
        let (campaigns, _) = self.0.campaigns().await?;
        let mut oldest = None;
        let campaigns = campaigns.iter().filter_map(|id| str::from_utf8(id).ok());
        for campaign in campaigns.filter_map(|id| id.parse().ok()) {
            match self.oldest_of(&campaign).await {
                Ok(found) => oldest = oldest.into_iter().chain(found).min(),
                // A campaign whose keys are broken must not hide the others.
                Err(error)
                    if !is_missing_right(&error)
                        && (error.code().is_some()
                            || error.kind() == ErrorKind::UnexpectedReturnType) =>
                {
                    tracing::debug!(%error, %campaign, "the grants of this campaign could not be read");
                }
                Err(error) => return Err(error),
            }
        }
        let Some(oldest) = oldest else {
            return Ok(Duration::ZERO);
        };
        let (seconds, micros): (i64, i64) = self.ask(&cmd("TIME")).await?;
        let age = seconds * 1_000 + micros / 1_000 - oldest.get();
        Ok(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// When the campaign's oldest grant without a row was made.
    async fn oldest_of(&mut self, campaign: &CampaignId) -> Result<Option<Millis>, RedisError> {
        let keys = Keys::of(campaign);
        let counts: HashMap<String, String> = self.ask(cmd("HGETALL").arg(keys.rounds())).await?;
        if unissued_count(
            counts
                .iter()
                .map(|(field, count)| (field.as_str(), count.as_str())),
        ) <= 0
        {
            return Ok(None);
        }
        let (mut oldest, mut cursor) = (None, 0_u64);
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(keys.grants()).arg(cursor).arg("COUNT").arg(PIECE);
            let (next, grants): (u64, Vec<(String, String)>) = self.ask(&scan).await?;
            let waiting = grants.iter().filter_map(|(_, grant)| unissued_since(grant));
            oldest = oldest.into_iter().chain(waiting).min();
            cursor = next;
            if cursor == 0 {
                return Ok(oldest);
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, RedisError> {
        let answer = self.0.ask(command).await?;
        redis::from_redis_value(answer).map_err(RedisError::from)
    }
}
