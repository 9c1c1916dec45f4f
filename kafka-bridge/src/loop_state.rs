//! What the stages of the event loop share.

use crate::entry::StreamNo;
use crate::flow::Flow;
use crate::metrics::Metrics;
use crate::stream::reader::KeysOf;
use crate::timers::Timers;
use rushgate_gate::{CampaignId, Keys};
use std::collections::BTreeSet;

pub(crate) struct LoopState {
    pub(crate) flow: Flow,
    pub(crate) timers: Timers,
    pub(crate) metrics: Metrics,
}

impl LoopState {
    pub(crate) fn campaign(&self, stream: StreamNo) -> &CampaignId {
        self.flow.plan().campaign(stream)
    }

    pub(crate) fn keys_of(&self, streams: BTreeSet<StreamNo>) -> KeysOf {
        let streams = streams.into_iter();
        streams
            .map(|stream| (stream, Keys::of(self.campaign(stream))))
            .collect()
    }
}
