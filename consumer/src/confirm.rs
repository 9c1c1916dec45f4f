//! Telling the gate which coupons are committed, after they are; and what to do when the gate does not know one.
//!
//! It runs beside the writing: batches that are committed wait here, in a channel of a fixed length. A record is
//! done, and its offset may be committed, only after its grant was confirmed. So a crash in between leads to a
//! second delivery, and that to a second confirmation. While Redis is away, batches are written until the channel
//! is full; then writing waits too.

use crate::alarm::{Alarm, Loss};
use crate::failure::Backoff;
use crate::metrics;
use crate::offsets::Ticket;
use crate::record::Delivery;
use crate::store::{Fate, StoreError};
use crate::tracker::Tracker;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use rushgate_gate::confirm::{self, Outcome};
use rushgate_gate::fault::{is_planted, may_die};
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Applicant, Call, CampaignId, CampaignState, EventType, Keys, ReplyError, RoundId, Serial, Value,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, info, warn};

/// Committed batches that may wait for their confirmation: 16,384 records of the usual size of a batch.
pub const WAITING: usize = 16;

/// How long Redis may take over one pipeline.
const PATIENCE: Duration = Duration::from_secs(5);

/// The records of a committed batch.
#[derive(Debug)]
pub struct Committed {
    tickets: Vec<Ticket>,
    grants: Vec<Grant>,
}

/// To be confirmed.
#[derive(Debug)]
struct Grant {
    campaign: CampaignId,
    round: RoundId,
    serial: Serial,
    applicant: Applicant,
    is_revoked: bool,
}

/// Why nothing could be confirmed now.
#[derive(Debug, thiserror::Error)]
enum ConfirmError {
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("redis: {0}")]
    Reply(#[from] ReplyError),
    #[error("database: {0}")]
    Database(#[from] StoreError),
}

/// What confirms.
pub struct Confirmer {
    client: Client,
    connection: Option<MultiplexedConnection>,
    alarm: Alarm,
    tracker: Arc<Tracker>,
}

impl Committed {
    /// What is to be confirmed of a batch: every grant that has a row, also one that is revoked by now, and every coupon
    /// that stood in the way of one. All of its records are done with that.
    pub fn of(batch: Vec<Delivery>, fates: Vec<Fate>) -> Self {
        let mut committed = Self {
            tickets: Vec::with_capacity(batch.len()),
            grants: Vec::with_capacity(batch.len()),
        };
        for (delivery, fate) in batch.into_iter().zip(fates) {
            committed.tickets.push(delivery.ticket);
            let event = delivery.decoded.ok();
            let grant = event.filter(|event| event.event_type == EventType::Granted);
            committed.grants.extend(grant.and_then(|grant| match fate {
                Fate::Refused(refusal) => refusal.rival.map(|rival| Grant {
                    campaign: grant.campaign,
                    round: rival.round,
                    serial: rival.serial,
                    applicant: rival.applicant,
                    is_revoked: false,
                }),
                fate => Some(Grant {
                    campaign: grant.campaign,
                    round: grant.round,
                    serial: grant.serial,
                    applicant: grant.applicant,
                    is_revoked: matches!(fate, Fate::Past | Fate::InsertedAsPast),
                }),
            }));
        }
        committed
    }
}

impl Confirmer {
    /// One that connects when it is first needed.
    pub fn new(client: Client, alarm: Alarm, tracker: Arc<Tracker>) -> Self {
        Self {
            client,
            connection: None,
            alarm,
            tracker,
        }
    }

    /// Confirms what comes until the channel is closed and empty.
    pub async fn run(mut self, mut committed: mpsc::Receiver<Committed>) {
        let mut batches = Vec::with_capacity(WAITING);
        while committed.recv_many(&mut batches, WAITING).await > 0 {
            self.confirm_until_done(&batches).await;
            // Here, and only here, records become done: their rows are committed, and the gate knows it.
            self.tracker.change(|offsets| {
                let tickets = batches.iter().flat_map(|batch| &batch.tickets);
                tickets.for_each(|ticket| offsets.done(ticket));
            });
            batches.clear();
        }
    }

    async fn confirm_until_done(&mut self, batches: &[Committed]) {
        let calls = calls(batches);
        if calls.is_empty() || is_planted("bug::confirm_blindly") {
            return;
        }
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        while let Err(problem) = self.confirm(&calls).await {
            self.connection = None;
            metrics::confirm_retry();
            let wait = backoff.failed(rand::random());
            warn!(
                error = %problem,
                failures = backoff.failures(),
                wait_ms = wait.as_millis(),
                "grants are to be confirmed again"
            );
            sleep(wait).await;
        }
        if backoff.failures() > 0 {
            info!(failures = backoff.failures(), "confirmed after all");
        }
        may_die("consumer::confirmed");
        metrics::confirmed(
            calls.iter().map(|(_, count, _)| count).sum(),
            begun.elapsed(),
        );
    }

    async fn confirm(&mut self, calls: &[(CampaignId, u64, Call)]) -> Result<(), ConfirmError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.client).await?,
        };
        let connection = self.connection.insert(connection);
        let mut pipeline = redis::pipe();
        for (_, _, call) in calls {
            let command = pipeline.cmd(Eval::BySha.command());
            call.arguments(Eval::BySha).for_each(|argument| {
                command.arg(argument);
            });
        }
        let replies: Vec<Vec<redis::Value>> = pipeline.query_async(connection).await?;
        for ((campaign, count, _), reply) in calls.iter().zip(replies) {
            let loss = match confirm::outcome(&values(reply))? {
                Outcome::Confirmed { .. } => continue,
                Outcome::Lost { grants } => Loss::Grants(grants),
                Outcome::UnknownCampaign => Loss::Campaign,
            };
            // Not if it was restored since: this consumer may have slept meanwhile.
            let state: Option<String> = redis::cmd("HGET")
                .arg(Keys::of(campaign).campaign())
                .arg("state")
                .query_async(connection)
                .await?;
            if state.as_deref() != Some(CampaignState::Halted.as_str()) {
                continue;
            }
            if self.alarm.raise(campaign, &loss).await? {
                error!(
                    %campaign,
                    grants = *count,
                    "the gate does not know committed grants: {loss}. The campaign is halted, nobody is granted \
                     anything until its grants are restored"
                );
                metrics::lost(&loss, *count);
            }
        }
        Ok(())
    }
}

/// A connection whose server knows the script.
async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(confirm::SCRIPT.source())
        .exec_async(&mut connection)
        .await?;
    Ok(connection)
}

/// A call, or several, for each campaign, and of how many grants each is.
fn calls(batches: &[Committed]) -> Vec<(CampaignId, u64, Call)> {
    let mut campaigns: BTreeMap<&CampaignId, Vec<_>> = BTreeMap::new();
    for grant in batches.iter().flat_map(|batch| &batch.grants) {
        let grants = campaigns.entry(&grant.campaign).or_default();
        grants.push(confirm::Row {
            round: &grant.round,
            serial: grant.serial,
            applicant: &grant.applicant,
            is_revoked: grant.is_revoked,
        });
    }
    campaigns
        .into_iter()
        .flat_map(|(campaign, grants)| {
            let calls: Vec<_> = grants
                .chunks(confirm::MOST)
                .map(|chunk| {
                    let call = confirm::call(campaign, chunk.iter().copied());
                    (campaign.clone(), chunk.len() as u64, call)
                })
                .collect();
            calls
        })
        .collect()
}

fn values(reply: Vec<redis::Value>) -> Vec<Value> {
    reply
        .into_iter()
        .map(|value| match value {
            redis::Value::Int(number) => Value::Integer(number),
            redis::Value::BulkString(bytes) => Value::Bytes(bytes),
            _ => Value::Other,
        })
        .collect()
}
