//! What comes out of Kafka: a record with all that a dead letter of it must keep, within bounds.

use crate::decode::decode_trusted;
use crate::headers::Headers;
use crate::offsets::Ticket;
use crate::rejection::{Reason, Rejection};
use rushgate_gate::event::EventKey;
use rushgate_gate::signature::SignaturePolicy;
use rushgate_gate::{CampaignId, Event};
use std::time::Instant;

/// The longest value that is kept (what a `BLOB` holds). Ours have some 150 bytes; a longer one is refused
/// unread, so that a batch of large strangers cannot fill the memory.
pub const LONGEST_VALUE: usize = 65_535;

/// The longest record key that is kept. Ours have at most 91 bytes.
pub const LONGEST_KEY: usize = 1_024;

/// One record of the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The partition that it stands in.
    pub partition: i32,
    /// Where in the partition.
    pub offset: i64,
    /// Kafka's timestamp of it in milliseconds, 0 if it has none.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Clipped>,
    /// Its value.
    pub value: Option<Clipped>,
    /// Its headers.
    pub headers: Headers,
}

/// Bytes, of which at most so many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// The first of them.
    pub kept: Vec<u8>,
    /// How many there were.
    pub length: usize,
}

/// A record on its way to the database.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The record.
    pub record: Record,
    /// What it says, or why it says nothing that we know.
    pub decoded: Result<Event, Rejection>,
    /// Its place among the offsets to commit.
    pub ticket: Ticket,
    /// When it was read.
    pub read_at: Instant,
}

impl Delivery {
    /// A record that was parked, and is read once more.
    pub fn parked(record: Record, trust: &SignaturePolicy) -> Self {
        Self {
            decoded: decode_trusted(&record, trust),
            record,
            ticket: Ticket::VOID,
            read_at: Instant::now(),
        }
    }

    /// The campaign that it is of, or says that it is of; `None` if it names none, or nobody need believe it.
    pub fn campaign(&self) -> Option<CampaignId> {
        match &self.decoded {
            Ok(event) => Some(event.campaign.clone()),
            Err(rejection) if rejection.reason == Reason::BadSignature => None,
            Err(_) => self.record.event_key().map(|key| key.campaign),
        }
    }
}

impl Record {
    /// What its key says.
    pub fn event_key(&self) -> Option<EventKey> {
        let key = self.key.as_ref()?.whole()?;
        str::from_utf8(key).ok()?.parse().ok()
    }
}

impl Clipped {
    /// Keeps the first `most` of the bytes.
    pub fn new(bytes: &[u8], most: usize) -> Self {
        Self {
            kept: bytes[..bytes.len().min(most)].to_vec(),
            length: bytes.len(),
        }
    }

    /// All the bytes, unless some were left out.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.kept.len() == self.length).then_some(&self.kept)
    }
}
