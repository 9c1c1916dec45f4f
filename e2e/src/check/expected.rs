//! What the checker expects of a campaign.

use super::operated::Operated;
use super::signed_codes::SignedCodes;
use crate::history::Place;
use rushgate_gate::Millis;
use std::collections::BTreeMap;

/// What to expect of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Coupons in each round.
    pub quota: u32,
    /// Whether an applicant may win once in each round, and not only once in the campaign.
    pub one_per_round: bool,
    /// How many coupons must have been granted in each round.
    pub due: BTreeMap<String, u32>,
    /// Dead letters that the test has caused, of the consumer and of the bridge.
    pub dead_letters: (u64, u64),
    /// Whether Redis has lost acknowledged writes and the campaign was restored. Then applicants may have been told a
    /// serial that went to another applicant; they must have another serial, or a dead letter.
    pub restored: bool,
    /// What an operator did meanwhile.
    pub operated: Operated,
    /// The signed codes of the campaign; `None` if its coupons have none.
    pub codes: Option<SignedCodes>,
    /// Whether the coupons have the codes of a pool, also those that are not loaded yet.
    pub has_pool: bool,
    /// When the only round ends, if it does. No applicant is promoted after that.
    pub ends: Option<Millis>,
}

impl Expected {
    /// One round, to which this many applicants came.
    pub fn once(quota: u32, applicants: u32) -> Self {
        Self {
            quota,
            due: [("once".to_owned(), applicants.min(quota))].into(),
            ..Self::default()
        }
    }

    /// The scope in which one applicant may win once.
    pub(super) fn scope<'a>(&self, place: &'a Place) -> &'a str {
        if self.one_per_round { &place.round } else { "" }
    }
}
