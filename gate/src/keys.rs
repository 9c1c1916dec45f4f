//! The names of everything Rushgate keeps in Redis. No other file writes a key.

use crate::campaign::CampaignId;

/// A set of the ids of all campaigns: where bridges and lists begin.
///
/// It lives in a slot of its own, so no script may touch it.
pub const CAMPAIGNS: &str = "rushgate:campaigns";

/// The same ids as a sorted set, by name: where pages of them begin. `rushgate setup` and each creation of a campaign make it
/// of [`CAMPAIGNS`], with which it shares its slot; before the first of these there is none.
pub const CAMPAIGN_INDEX: &str = "rushgate:{rushgate:campaigns}:index";

/// Is there once Redis has been told of every campaign that the database has, if only that there is none. In a Redis that
/// has neither this nor [`CAMPAIGNS`], an unknown campaign may be one that was lost. It shares the slot of that set.
pub const SET_UP: &str = "rushgate:{rushgate:campaigns}:set-up";

/// The consumer group of the bridges, on every campaign's stream.
pub const BRIDGE_GROUP: &str = "kafka-bridge";

/// The keys of one campaign. They share a hash tag, so that in Redis Cluster a script that uses several
/// of them stays within one slot.
///
/// | key | type | content |
/// |---|---|---|
/// | `campaign` | hash | `state`, `one_per`, `waitlist` (how many may wait in a round), `user_ids` (which are taken: `any`, `numeric` or `unstated`; not there in a campaign that is older than this field), `revokes` (how many ever), `settling` (`<until when, in ms>/<word>`: what strangers are told as before), `fence` (the highest fencing token of an operator's command), `known` (`<round>/<how many grants there were before it>`: what the key `known` is about), and of the schedule, as last noted: `round` (empty: none has opened), `from`, `until` (ms) and `next` |
/// | `schedule` | sorted set | round id, scored by `opens_at` (ms) |
/// | `rounds` | hash | of each round: `<round>/closes_at` (ms, empty: never), `/quota`, `/granted` (the highest serial given), `/free` (serials in the pool), `/issued`, `/waiting`, `/tickets` (places ever given on the waitlist) |
/// | `grants` | hash | `<user_id>`, or `<round>/<user_id>` where one may win in every round → `<round>/<serial>/<at>`, with `/issued` after it once the coupon is committed |
/// | `waitlist` | sorted set, by name | `<round>/<ticket>/<user_id>`: who is next |
/// | `waiting` | hash | `<round>/<user_id>` → `<ticket>/<since>` |
/// | `revoked` | hash | `<round>/<user_id>` → `<serial>/<granted at>/<revoked at>`; `<user_id>` → `<last round>/<times>`; `<round>/#<serial>` → times |
/// | `pool` | sorted set, by name | `<round>/<serial>`: serials to be given again |
/// | `known` | set | `<round>/<user_id>`: where one may win in every round, all who were granted something since the first grant of the round that `campaign` says, the first 2,048 |
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

    /// Who is next, round by round.
    pub fn waitlist(&self) -> String {
        self.key("waitlist")
    }

    /// Where on the waitlist somebody is.
    pub fn waiting(&self) -> String {
        self.key("waiting")
    }

    /// What was taken back, from whom and how often.
    pub fn revoked(&self) -> String {
        self.key("revoked")
    }

    /// Serials to be given again.
    pub fn pool(&self) -> String {
        self.key("pool")
    }

    /// All who were granted something in the current round.
    pub fn known(&self) -> String {
        self.key("known")
    }

    /// Every key of the campaign, for whoever removes one.
    pub fn all(&self) -> [String; 11] {
        let [a, b, c, d, e, f, g, h, i, j] = self.of_grant_scripts();
        [a, b, c, d, e, f, g, h, i, j, self.dead_letters()]
    }

    /// The keys of the scripts that give places, as `grant.lua` numbers them.
    pub(crate) fn of_grant_scripts(&self) -> [String; 10] {
        [
            self.campaign(),
            self.schedule(),
            self.rounds(),
            self.grants(),
            self.stream(),
            self.waitlist(),
            self.waiting(),
            self.revoked(),
            self.pool(),
            self.known(),
        ]
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
