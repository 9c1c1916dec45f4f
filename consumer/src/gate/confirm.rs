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

use crate::gate::committed::{Committed, ConfirmRequest, requests};
use crate::gate::connection::GateConnection;
use crate::gate::halt::{CampaignHalter, Loss};
use crate::kafka::offsets::Ticket;
use crate::kafka::tracker::Tracker;
use crate::metrics;
use crate::table::error::StoreError;
use crate::table::failure::{ErrorClass, classify, number};
use crate::table::parking::Parking;
use redis::{Client, RedisError, RedisResult};
use rushgate_gate::confirm::{self, ConfirmOutcome};
use rushgate_gate::failpoint::failpoint;
use rushgate_gate::{CampaignId, ReplyError, Value};
use rushgate_startup::{Backoff, causes, is_missing_right};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, info, warn};

/// How many committed batches may wait for their confirmation: 16,384 records with the default batch size.
pub(crate) const WAITING: usize = 16;

#[derive(Debug, thiserror::Error)]
enum ConfirmError {
    #[error("redis: {}", causes(.0))]
    Redis(#[from] RedisError),
    #[error("redis: {0}")]
    Reply(#[from] ReplyError),
    #[error("database: {0}")]
    Database(#[from] StoreError),
}

/// Confirms batches over one connection to Redis.
pub(crate) struct Confirmer {
    gate: GateConnection,
    halter: CampaignHalter,
    parking: Parking,
    tracker: Arc<Tracker>,
    /// The campaigns whose last confirmation failed. The failure is logged once for each.
    failing: BTreeSet<CampaignId>,
}

/// Lock wait timeout and deadlock.
const LOCKED: [u16; 2] = [1205, 1213];

impl ConfirmError {
    /// Whether the error concerns only the campaign of the request. Decided by the error code, never by the
    /// message. A script that reads an unexpected value ends with `ERR`.
    fn is_about_its_campaign(&self) -> bool {
        match self {
            Self::Redis(error) => {
                matches!(error.code(), Some("WRONGTYPE" | "ERR")) && !is_missing_right(error)
            }
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
            gate: GateConnection::new(client),
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
                batch.report(&self.failing);
            }
        }
        self.parking.close().await;
    }

    async fn confirm_all(&mut self, batches: &[Committed]) {
        let (mut open, nothing_to_confirm) = requests(batches);
        self.done(nothing_to_confirm);
        let begun = Instant::now();
        let mut backoff = Backoff::default();
        while !open.is_empty() {
            let (mut again, mut parked, mut problem) = (vec![], vec![], None);
            let asked = self
                .gate
                .send(open.iter().map(|request| &request.call))
                .await;
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
                self.gate.disconnect();
                metrics::confirm_retry();
                let problem = problem.to_string();
                if backoff.is_news(&problem) {
                    warn!(
                        error = problem,
                        "confirming grants failed; retrying until it works"
                    );
                }
                sleep(backoff.failed()).await;
            } else if backoff.failures() > 0 {
                info!(
                    failures = backoff.failures(),
                    "grants were confirmed after retries"
                );
            }
            open = again;
        }
    }

    /// Handles the gate's reply. If the gate has lost something, the campaign is halted.
    async fn handle_reply(
        &mut self,
        request: &ConfirmRequest<'_>,
        reply: RedisResult<Vec<Value>>,
    ) -> Result<(), ConfirmError> {
        let loss = match confirm::outcome(&reply?)? {
            ConfirmOutcome::Confirmed { .. } => return Ok(()),
            ConfirmOutcome::Lost { grants } => Loss::Grants(grants),
            ConfirmOutcome::UnknownCampaign => Loss::Campaign,
        };
        // Check the state first: this consumer may have been stopped for a while, and the campaign may have
        // been restored since.
        if self.gate.is_halted(request.campaign).await?
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
            if backoff.is_news(&error.to_string()) {
                warn!(
                    campaign = %request.campaign,
                    %error,
                    "parking unconfirmed grants failed; retrying until it works"
                );
            }
            sleep(backoff.failed()).await;
        }
        self.done(request.records.iter().map(|delivery| &delivery.ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is about a campaign is parked; a user without a right must park nothing.
    #[test]
    fn a_missing_right_is_not_about_a_campaign() {
        for (reply, expected) in [
            ("-WRONGTYPE Operation against a key", true),
            (
                "-ERR user_script:7: attempt to compare nil with number",
                true,
            ),
            (
                "-NOPERM this user has no permissions to run the 'evalsha' command",
                false,
            ),
            (
                "-ERR ACL failure in script: User x has no permissions",
                false,
            ),
            (
                "-ERR The user executing the script can't run this command or subcommand",
                false,
            ),
            ("-LOADING Redis is loading the dataset in memory", false),
        ] {
            let value = redis::parse_redis_value(format!("{reply}\r\n").as_bytes()).expect(reply);
            let error = ConfirmError::from(value.extract_error().expect_err(reply));
            assert_eq!(error.is_about_its_campaign(), expected, "{reply}");
        }
    }
}
