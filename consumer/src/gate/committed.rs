//! Selects what is to be confirmed of committed batches: one or more requests for each campaign. It does no I/O.

use crate::kafka::offsets::Ticket;
use crate::kafka::record::Delivery;
use crate::table::outcome::RecordOutcome;
use rushgate_gate::failpoint::is_active;
use rushgate_gate::{Call, CampaignId, EventType, confirm};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// The records of a committed batch with their outcomes.
#[derive(Debug)]
pub(crate) struct Committed {
    records: Vec<(Delivery, RecordOutcome)>,
    /// For replayed records: receives whether the gate has confirmed all of them.
    replayed: Option<oneshot::Sender<bool>>,
}

/// A request to confirm some grants of one campaign.
pub(crate) struct ConfirmRequest<'a> {
    pub(crate) campaign: &'a CampaignId,
    pub(crate) records: Vec<&'a Delivery>,
    pub(crate) call: Call,
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

    /// Tells the replayer whether the gate has confirmed this batch, which it has unless its campaign is among
    /// the `failing` ones. Does nothing for a batch from Kafka.
    pub(crate) fn report(self, failing: &BTreeSet<CampaignId>) {
        if let Some(replayed) = self.replayed {
            let is_failing = self.records.iter().any(|(delivery, _)| {
                let event = delivery.decoded.as_ref();
                event.is_ok_and(|event| failing.contains(&event.campaign))
            });
            // Sending fails only if the whole consumer is being dropped.
            let _ = replayed.send(!is_failing);
        }
    }
}

/// One or more requests for each campaign, and the tickets of records that need no confirmation.
pub(crate) fn requests(batches: &[Committed]) -> (Vec<ConfirmRequest<'_>>, Vec<&Ticket>) {
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
