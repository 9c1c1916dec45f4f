//! Builds the names of all Redis keys, and describes what each key contains. No other file builds a key.

use crate::campaign::CampaignId;

/// A set with the ids of all campaigns. The bridges find their streams through it.
///
/// No script uses it, because in Redis Cluster it is in another slot than the keys of a campaign.
pub const CAMPAIGNS: &str = "rushgate:campaigns";

/// A sorted set with the same ids in alphabetical order, for the pages of the list of campaigns. `rushgate setup` and
/// each creation of a campaign build it from [`CAMPAIGNS`], which is in the same slot. Before the first of them it does
/// not exist.
pub const CAMPAIGN_INDEX: &str = "rushgate:{rushgate:campaigns}:index";

/// Exists when Redis has been given all campaigns of the database, even if there are none. If neither this key nor
/// [`CAMPAIGNS`] exists, Redis may have lost any campaign that it does not know. It is in the same slot as
/// [`CAMPAIGNS`].
pub const SET_UP: &str = "rushgate:{rushgate:campaigns}:set-up";

/// The consumer group of the bridges, on the stream of each campaign.
pub const BRIDGE_GROUP: &str = "kafka-bridge";

/// The keys of one campaign. They share a hash tag, so that a script can use all of them in Redis Cluster.
///
/// | key | type | content |
/// |---|---|---|
/// | `campaign` | hash | `state`; `one_per`; `waitlist` (maximum length in a round); `user_ids` (accepted user ids: `any`, `numeric` or `unstated`; missing in a campaign that is older than this field); `codes` (`signed/<fingerprint of the key>` or `pool`; missing: none); `codes_taken` (how many pool codes grants have taken, also codes that are not loaded yet); `codes_width` (the width of the cells in the key `codes`); `self_cancel` (`1`: applicants may give their coupon back; missing: no); `promote_until` (`closes`; missing: for ever); `show_remaining` (`rough` or `hidden`: what the API tells about the coupons that are left; missing: every count); `revokes` (number of revocations ever); `promotions` (number of grants to applicants on a waitlist) and `tickets` (number of places on waitlists ever given), both as counted by programs that know the filter; `settling` (the grace period: `<its end, in ms>/<decision for unknown applicants>`); `fence` (the highest fencing token); `known` (`<round>/<number of grants before it>`: the round that the key `known` covers); the note on the current round: `round` (empty: none has opened), `from`, `until` (ms), `next` |
/// | `schedule` | sorted set | round id, scored by `opens_at` (ms) |
/// | `rounds` | hash | of each round: `<round>/closes_at` (ms, empty: never), `/quota`, `/granted` (the highest serial granted), `/free` (number of serials in the pool), `/issued`, `/waiting`, `/tickets` (the last ticket of the waitlist) |
/// | `grants` | hash | `<user_id>`, or `<round>/<user_id>` with one grant per round → `<round>/<serial>/<at>`, with `#<number of the code>` after it in a campaign with pool codes, `/issued` when the coupon is committed, and `/<redeemed at>` after that when it is redeemed |
/// | `waitlist` | sorted set, by name | `<round>/<ticket>/<user_id>`: the order of promotion |
/// | `waiting` | hash | `<round>/<user_id>` → `<ticket>/<since>` |
/// | `revoked` | hash | `<round>/<user_id>` → `<serial>/<granted at>/<revoked at>`; `<user_id>` → `<last round>/<revocations>`; `<round>/#<serial>` → `<revocations>` |
/// | `pool` | sorted set, by name | `<round>/<serial>`: free serials, to be granted again |
/// | `known` | set | `<round>/<user_id>`: with one grant per round, the applicants granted a serial up to 2,048 since the first grant of the round in the field `known` |
/// | `filter` | string | in place of an exclusion list of more than 2,048 entries: a header of 128 bytes, then a Bloom filter of user ids (`lua/shared/filter.lua`). Its writes are not replicated |
/// | `codes` | string | pool codes in the order of their numbers, each in a cell of `codes_width` characters, filled up with spaces |
/// | `stream` | stream | events on their way to Kafka |
/// | `dead-letters` | stream | entries that could not be published, with `reason` and `entry_id` |
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub fn of(campaign: &CampaignId) -> Self {
        Self {
            prefix: ["rushgate:{", campaign.as_str(), "}:"].concat(),
        }
    }

    pub fn campaign(&self) -> String {
        self.key("campaign")
    }

    pub fn schedule(&self) -> String {
        self.key("schedule")
    }

    pub fn rounds(&self) -> String {
        self.key("rounds")
    }

    pub fn grants(&self) -> String {
        self.key("grants")
    }

    pub fn stream(&self) -> String {
        self.key("stream")
    }

    pub fn dead_letters(&self) -> String {
        self.key("dead-letters")
    }

    pub fn waitlist(&self) -> String {
        self.key("waitlist")
    }

    pub fn waiting(&self) -> String {
        self.key("waiting")
    }

    pub fn revoked(&self) -> String {
        self.key("revoked")
    }

    pub fn pool(&self) -> String {
        self.key("pool")
    }

    pub fn known(&self) -> String {
        self.key("known")
    }

    pub fn filter(&self) -> String {
        self.key("filter")
    }

    pub fn codes(&self) -> String {
        self.key("codes")
    }

    /// Every key of the campaign.
    pub fn all(&self) -> [String; 13] {
        let [a, b, c, d, e, f, g, h, i, j, k] = self.of_apply();
        let (filter, dead_letters) = (self.filter(), self.dead_letters());
        [a, b, c, d, e, f, g, h, i, j, k, filter, dead_letters]
    }

    /// The keys of `refusal_cache.lua`, in its order.
    pub(crate) fn of_refusal_cache(&self) -> [String; 11] {
        let [a, b, c, d, e, f, g, h, i, j] = self.of_grant_scripts();
        [a, b, c, d, e, f, g, h, i, j, self.filter()]
    }

    /// The keys of `apply.lua`, in its order.
    pub(crate) fn of_apply(&self) -> [String; 11] {
        let [a, b, c, d, e, f, g, h, i, j] = self.of_grant_scripts();
        [a, b, c, d, e, f, g, h, i, j, self.codes()]
    }

    /// The keys of the scripts that grant, in the order of `granting.lua`.
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
        [self.prefix.as_str(), name].concat()
    }
}
