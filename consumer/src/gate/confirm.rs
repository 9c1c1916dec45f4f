//! Confirms committed coupons at the gate. If the gate does not know one of them, the campaign is halted.
//!
//! Confirming runs in parallel with writing. Committed batches wait in a bounded channel until they are confirmed. A
//! record is finished, and its offset may be committed, only after its grant is confirmed. So if the consumer crashes
//! between the two, Kafka delivers the record again, and its grant is confirmed again. While Redis is unavailable,
//! batches are written until the channel is full; then writing waits too.
//!
//! Campaigns are confirmed independently. If Redis returns an error about the keys of one campaign, the records of
//! that campaign are parked as `unconfirmed` and replayed until the gate accepts them. Other campaigns do not wait for
//! that.

use crate::gate::halt::{CampaignHalter, Loss};
use crate::kafka::offsets::Ticket;
use crate::kafka::record::Delivery;
use crate::kafka::tracker::Tracker;
use crate::metrics;
use crate::table::failure::{ErrorClass, classify, number};
use crate::table::parked::Parking;
use crate::table::store::{RecordOutcome, StoreError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use rushgate_gate::confirm::{self, ConfirmOutcome};
use rushgate_gate::failpoint::{failpoint, is_active};
use rushgate_gate::script::Eval;
use rushgate_gate::{Call, CampaignId, CampaignState, EventType, Keys, ReplyError, Value};
use rushgate_startup::Backoff;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{error, info, warn};

/// How many committed batches may wait for their confirmation: 16,384 records with the default batch size.
pub(crate) const WAITING: usize = 16;

/// How long Redis may take for one pipeline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The records of a committed batch with their outcomes.
#[derive(Debug)]
pub(crate) struct Committed {
    records: Vec<(Delivery, RecordOutcome)>,
    /// For replayed records: receives whether the gate has confirmed all of them.
    replayed: Option<oneshot::Sender<bool>>,
}

/// A request to confirm some grants of one campaign.
struct ConfirmRequest<'a> {
    campaign: &'a CampaignId,
    records: Vec<&'a Delivery>,
    call: Call,
}

#[derive(Debug, thiserror::Error)]
enum ConfirmError {
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("redis: {0}")]
    Reply(#[from] ReplyError),
    #[error("database: {0}")]
    Database(#[from] StoreError),
}

/// Confirms batches over one Redis connection.
pub(crate) struct Confirmer {
    client: Client,
    connection: Option<MultiplexedConnection>,
    halter: CampaignHalter,
    parking: Parking,
    tracker: Arc<Tracker>,
    /// The campaigns whose last confirmation failed. The failure is logged once for each.
    failing: BTreeSet<CampaignId>,
}

impl Committed {
    pub(crate) fn of(batch: Vec<Delivery>, outcomes: Vec<RecordOutcome>) -> Self {
        Self {
            records: batch.into_iter().zip(outcomes).collect(),
            replayed: None,
        }
    }

    /// A replayed batch of one campaign, and the channel that receives whether the gate has confirmed all of
    /// it.
    pub(crate) fn replayed(
        batch: Vec<Delivery>,
        outcomes: Vec<RecordOutcome>,
    ) -> (Self, oneshot::Receiver<bool>) {
        let (replayed, known) = oneshot::channel();
        let committed = Self {
            replayed: Some(replayed),
            ..Self::of(batch, outcomes)
        };
        (committed, known)
    }
}

/// The row to confirm for a record: that of its grant, including a row that is revoked by now, or the coupon
/// that was in the way of the grant.
fn to_confirm<'a>(
    delivery: &'a Delivery,
    outcome: &'a RecordOutcome,
) -> Option<(&'a CampaignId, confirm::Row<'a>)> {
    let event = delivery.decoded.as_ref().ok()?;
    if event.event_type != EventType::Granted {
        return None;
    }
    let row = match outcome {
        RecordOutcome::Rejected(rejection) => {
            let rival = rejection.rival.as_ref()?;
            confirm::Row {
                round: &rival.round,
                serial: rival.serial,
                applicant: &rival.applicant,
                is_revoked: false,
            }
        }
        outcome => confirm::Row {
            round: &event.round,
            serial: event.serial,
            applicant: &event.applicant,
            is_revoked: matches!(
                outcome,
                RecordOutcome::AlreadyRevoked | RecordOutcome::InsertedRevoked
            ),
        },
    };
    Some((&event.campaign, row))
}

/// Lock wait timeout and deadlock.
const LOCKED: [u16; 2] = [1205, 1213];

impl ConfirmError {
    /// Whether the error concerns only the campaign of the request. Decided by the error code, never by the
    /// message. A script that reads an unexpected value ends with `ERR`.
    fn is_about_its_campaign(&self) -> bool {
        match self {
            Self::Redis(error) => matches!(error.code(), Some("WRONGTYPE" | "ERR")),
            Self::Reply(_) => true,
            // The campaign's row is locked or cannot be written. If the database is unavailable, the confirmer
            // waits for it.
            Self::Database(StoreError::Database(error)) => {
                LOCKED.contains(&number(error)) || classify(error) == ErrorClass::Permanent
            }
            Self::Database(_) => false,
        }
    }
}

impl Confirmer {
    /// It connects when it is first needed.
    pub(crate) fn new(
        client: Client,
        halter: CampaignHalter,
        parking: Parking,
        tracker: Arc<Tracker>,
    ) -> Self {
        Self {
            client,
            connection: None,
            halter,
            parking,
            tracker,
            failing: BTreeSet::new(),
        }
    }

    /// Confirms batches until the channel is closed and empty.
    pub(crate) async fn run(mut self, mut committed: mpsc::Receiver<Committed>) {
        let mut batches = Vec::with_capacity(WAITING);
        while committed.recv_many(&mut batches, WAITING).await > 0 {
            self.confirm_all(&batches).await;
            for batch in batches.drain(..) {
                if let Some(replayed) = batch.replayed {
                    let mut records = batch.records.iter();
                    let known = !records.any(|(delivery, _)| {
                        let event = delivery.decoded.as_ref();
                        event.is_ok_and(|event| self.failing.contains(&event.campaign))
                    });
                    // Sending fails only if the whole consumer is being dropped.
                    let _ = replayed.send(known);
                }
            }
        }
    }

    async fn confirm_all(&mut self, batches: &[Committed]) {
        let (mut open, nothing_to_confirm) = requests(batches);
        self.done(nothing_to_confirm);
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        while !open.is_empty() {
            let (mut again, mut parked, mut problem) = (vec![], vec![], None);
            let asked = self.ask(&open).await;
            match asked {
                Ok(replies) => {
                    for (request, reply) in open.into_iter().zip(replies) {
                        match self.handle_reply(&request, reply).await {
                            Ok(()) => self.confirmed(&request, begun),
                            Err(error) if error.is_about_its_campaign() => {
                                parked.push((request, error));
                            }
                            Err(error) => {
                                problem = Some(error);
                                again.push(request);
                            }
                        }
                    }
                }
                Err(error) => {
                    problem = Some(error.into());
                    again = open;
                }
            }
            for (request, error) in parked {
                self.park(&request, &error).await;
            }
            if let Some(problem) = problem {
                self.connection = None;
                metrics::confirm_retry();
                let wait = backoff.failed();
                warn!(
                    error = %problem,
                    failures = backoff.failures(),
                    wait_ms = wait.as_millis(),
                    "confirming grants failed; retrying"
                );
                sleep(wait).await;
            } else if backoff.failures() > 0 {
                info!(
                    failures = backoff.failures(),
                    "grants were confirmed after retries"
                );
            }
            open = again;
        }
    }

    /// Sends all requests in one pipeline. Returns the reply to each; a reply may be an error.
    async fn ask(
        &mut self,
        requests: &[ConfirmRequest<'_>],
    ) -> Result<Vec<RedisResult<redis::Value>>, RedisError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.client).await?,
        };
        let connection = self.connection.insert(connection);
        let mut pipeline = redis::pipe();
        for request in requests {
            let command = pipeline.cmd(Eval::BySha.command());
            request.call.arguments(Eval::BySha).for_each(|argument| {
                command.arg(argument);
            });
        }
        pipeline.ignore_errors().query_async(connection).await
    }

    /// Handles the gate's reply. If the gate has lost something, the campaign is halted.
    async fn handle_reply(
        &mut self,
        request: &ConfirmRequest<'_>,
        reply: RedisResult<redis::Value>,
    ) -> Result<(), ConfirmError> {
        let reply = reply.and_then(redis::Value::extract_error)?;
        let loss = match confirm::outcome(&values(reply))? {
            ConfirmOutcome::Confirmed { .. } => return Ok(()),
            ConfirmOutcome::Lost { grants } => Loss::Grants(grants),
            ConfirmOutcome::UnknownCampaign => Loss::Campaign,
        };
        // Check the state first: this consumer may have been stopped for a while, and the campaign may have
        // been restored since.
        let connection = match &mut self.connection {
            Some(connection) => connection,
            connection => connection.insert(connect(&self.client).await?),
        };
        let state: Option<String> = redis::cmd("HGET")
            .arg(Keys::of(request.campaign).campaign())
            .arg("state")
            .query_async(connection)
            .await?;
        if state.as_deref() == Some(CampaignState::Halted.as_str())
            && self.halter.halt(request.campaign, &loss).await?
        {
            let grants = request.records.len() as u64;
            error!(
                campaign = %request.campaign,
                grants,
                "the gate does not know committed grants: {loss}. The campaign is halted and makes no grants until it is restored with \
                 `rushgate restore`"
            );
            metrics::lost(loss.grants(grants));
        }
        Ok(())
    }

    fn confirmed(&mut self, request: &ConfirmRequest<'_>, begun: Instant) {
        failpoint("consumer::confirmed");
        if self.failing.remove(request.campaign) {
            info!(campaign = %request.campaign, "grants of this campaign can be confirmed again");
        }
        metrics::confirmed(request.records.len() as u64, begun.elapsed());
        self.done(request.records.iter().map(|delivery| &delivery.ticket));
    }

    /// The only place where records become finished: their rows are committed and confirmed at the gate, or the
    /// records are parked.
    fn done<'a>(&self, tickets: impl IntoIterator<Item = &'a Ticket>) {
        self.tracker.change(|offsets| {
            let tickets = tickets.into_iter();
            tickets.for_each(|ticket| offsets.done(ticket));
        });
    }

    /// Parks records that cannot be confirmed, and retries until the database accepts that. Records that came
    /// from `failed_events` stay parked there.
    async fn park(&mut self, request: &ConfirmRequest<'_>, error: &ConfirmError) {
        let is_new = self.failing.insert(request.campaign.clone());
        if is_new {
            error!(
                campaign = %request.campaign,
                %error,
                "confirming committed grants of this campaign failed. They are parked as `unconfirmed` and retried automatically. \
                 Repair the keys of the campaign in Redis, or run `rushgate restore --halt` for it"
            );
        }
        let records = request.records.iter().copied();
        let records: Vec<_> = records
            .filter(|delivery| delivery.ticket != Ticket::VOID)
            .collect();
        let why = format!("confirming it at the gate: {error}");
        let mut backoff = Backoff::default();
        while let Err(error) = self.parking.park(&records, &why).await {
            let wait = backoff.failed();
            warn!(
                campaign = %request.campaign,
                %error,
                wait_ms = wait.as_millis(),
                "parking unconfirmed grants failed; retrying"
            );
            sleep(wait).await;
        }
        self.done(request.records.iter().map(|delivery| &delivery.ticket));
    }
}

/// Opens a connection and loads the script.
async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
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

/// One or more requests for each campaign, and the tickets of records that need no confirmation.
fn requests(batches: &[Committed]) -> (Vec<ConfirmRequest<'_>>, Vec<&Ticket>) {
    let mut campaigns: BTreeMap<&CampaignId, Vec<_>> = BTreeMap::new();
    let mut nothing_to_confirm = vec![];
    for (delivery, outcome) in batches.iter().flat_map(|batch| &batch.records) {
        let to_confirm =
            to_confirm(delivery, outcome).filter(|_| !is_active("bug::confirm_blindly"));
        match to_confirm {
            Some((campaign, row)) => campaigns.entry(campaign).or_default().push((delivery, row)),
            None => nothing_to_confirm.push(&delivery.ticket),
        }
    }
    let requests = campaigns.into_iter().flat_map(|(campaign, grants)| {
        let chunks = grants.chunks(confirm::MAX_ROWS);
        let requests = chunks.map(|chunk| ConfirmRequest {
            campaign,
            records: chunk.iter().map(|(delivery, _)| *delivery).collect(),
            call: confirm::call(campaign, chunk.iter().map(|(_, row)| *row)),
        });
        requests.collect::<Vec<_>>()
    });
    (requests.collect(), nothing_to_confirm)
}

/// The values of a flat array reply; empty for any other reply.
fn values(reply: redis::Value) -> Vec<Value> {
    let redis::Value::Array(reply) = reply else {
        return vec![];
    };
    reply
        .into_iter()
        .map(|value| match value {
            redis::Value::Int(number) => Value::Integer(number),
            redis::Value::BulkString(bytes) => Value::Bytes(bytes),
            _ => Value::Other,
        })
        .collect()
}
