//! The names of everything Rushgate keeps in Redis. No other file writes a key.

use crate::campaign::CampaignId;

/// A set of the ids of all campaigns: where bridges and lists begin.
///
/// It lives in a slot of its own, so no script may touch it.
pub const CAMPAIGNS: &str = "rushgate:campaigns";

/// The consumer group of the bridges, on every campaign's stream.
pub const BRIDGE_GROUP: &str = "kafka-bridge";

/// The keys of one campaign. They share a hash tag, so that in Redis Cluster a script that uses several
/// of them stays within one slot.
///
/// | key | type | content |
/// |---|---|---|
/// | `campaign` | hash | `state`, `one_per` |
/// | `schedule` | sorted set | round id, scored by `opens_at` (ms) |
/// | `rounds` | hash | `<round>/closes_at` (ms, empty: never), `<round>/quota`, `<round>/granted` (the last serial given) |
/// | `grants` | hash | `<user_id>`, or `<round>/<user_id>` where one may win in every round → `<round>/<serial>/<at>` |
/// | `stream` | stream | grants on their way to Kafka |
/// | `dead-letters` | stream | entries that could not be published, with `reason` and `entry_id` |
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of `campaign`.
    pub fn of(campaign: &CampaignId) -> Self {
        Self {
            prefix: format!("rushgate:{{{campaign}}}:"),
        }
    }

    /// State and rules.
    pub fn campaign(&self) -> String {
        self.key("campaign")
    }

    /// Rounds in the order of their opening.
    pub fn schedule(&self) -> String {
        self.key("schedule")
    }

    /// Closing time, quota and count of every round.
    pub fn rounds(&self) -> String {
        self.key("rounds")
    }

    /// Who holds which serial.
    pub fn grants(&self) -> String {
        self.key("grants")
    }

    /// Grants on their way to Kafka.
    pub fn stream(&self) -> String {
        self.key("stream")
    }

    /// Entries that could not be published.
    pub fn dead_letters(&self) -> String {
        self.key("dead-letters")
    }

    /// Every key of the campaign, for whoever removes one.
    pub fn all(&self) -> [String; 6] {
        [
            self.campaign(),
            self.schedule(),
            self.rounds(),
            self.grants(),
            self.stream(),
            self.dead_letters(),
        ]
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
