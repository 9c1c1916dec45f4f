//! A record that was read from the Kafka topic, as the consumer keeps it. Its key, value and headers are copies of
//! limited size, so large records of other programs cannot fill the memory.

use crate::kafka::headers::Headers;
use crate::kafka::offsets::Ticket;
use crate::rejection::{Reason, Rejection};
use rushgate_gate::event::EventKey;
use rushgate_gate::{CampaignId, Event};
use std::time::Instant;

/// The longest value that is kept: the limit of a `BLOB`. Our values have about 150 bytes. A longer value is
/// refused without decoding, so a batch of foreign, large records cannot fill the memory.
pub(crate) const LONGEST_VALUE: usize = 65_535;

/// The longest record key that is kept. Our keys have at most 91 bytes.
pub(crate) const LONGEST_KEY: usize = 1_024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Kafka's timestamp in milliseconds; 0 if the record has none.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Clipped>,
    pub(crate) value: Option<Clipped>,
    pub(crate) headers: Headers,
}

/// The beginning of a byte string, and its full length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clipped {
    pub(crate) kept: Vec<u8>,
    pub(crate) length: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) record: Record,
    /// The decoded event, or why the record has none.
    pub(crate) decoded: Result<Event, Rejection>,
    pub(crate) ticket: Ticket,
    pub(crate) read_at: Instant,
}

impl Delivery {
    /// A record that does not come from Kafka. It has no offset to commit.
    pub(crate) fn replayed(record: Record, decoded: Result<Event, Rejection>) -> Self {
        Self {
            record,
            decoded,
            ticket: Ticket::VOID,
            read_at: Instant::now(),
        }
    }

    /// The campaign of the event or, if there is no event, of the key. `None` if the key names none or the
    /// signature is bad.
    pub(crate) fn campaign(&self) -> Option<CampaignId> {
        match &self.decoded {
            Ok(event) => Some(event.campaign.clone()),
            Err(rejection) if rejection.reason == Reason::BadSignature => None,
            Err(_) => self.record.event_key().map(|key| key.campaign),
        }
    }
}

impl Record {
    /// The parsed key, if it is complete and valid.
    pub(crate) fn event_key(&self) -> Option<EventKey> {
        let key = self.key.as_ref()?.whole()?;
        str::from_utf8(key).ok()?.parse().ok()
    }
}

impl Clipped {
    pub(crate) fn new(bytes: &[u8], most: usize) -> Self {
        Self {
            kept: bytes[..bytes.len().min(most)].to_vec(),
            length: bytes.len(),
        }
    }

    /// All bytes; `None` if some were cut off.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.kept.len() == self.length).then_some(&self.kept)
    }
}
