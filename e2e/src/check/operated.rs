//! Records what an operator did while applicants came, as far as it affects the replies to the applicants.

use crate::history::{Call, CancelReply, History, Place, Reply};
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

#[derive(Clone, Debug, Default)]
pub struct Operated {
    /// When a place may have become free, by a raised quota or a revocation: not before the first instant and not after
    /// the second.
    pub freed: Vec<(Instant, Instant)>,
    /// Applicants whose coupons were revoked.
    pub revoked: BTreeSet<String>,
    /// Applicants whose coupons may have been revoked: it is unknown how that command ended.
    pub perhaps_revoked: BTreeSet<String>,
    /// Coupons that were redeemed, each with the orders for which an operator was told so.
    pub redeemed: BTreeMap<(String, Place), BTreeSet<String>>,
    /// Coupons that may have been redeemed.
    pub perhaps_redeemed: BTreeSet<(String, Place)>,
}

impl Operated {
    /// What applicants cancel frees places as revocations do. A place on the waitlist counts too: who gets it may be
    /// promoted.
    pub(super) fn add_cancellations(&mut self, history: &History) {
        for cancel in &history.cancels {
            let may_give_back = cancel.may_give_back();
            if may_give_back {
                self.perhaps_revoked.insert(cancel.user_id.clone());
            }
            if may_give_back || cancel.reply == CancelReply::Left {
                self.freed.push((cancel.began, cancel.ended));
            }
        }
    }

    /// Whether this applicant's coupon may have been revoked.
    pub(super) fn may_have_revoked(&self, user_id: &str) -> bool {
        self.revoked.contains(user_id) || self.perhaps_revoked.contains(user_id)
    }

    /// An applicant who was told "sold out", and another one who came later and got a place that had not become free in
    /// between.
    pub(super) fn too_early<'a>(
        &self,
        history: &'a History,
        winners: impl Iterator<Item = (&'a String, &'a Place)>,
    ) -> Option<(&'a Call, Instant, &'a String, &'a Place)> {
        let losers = latest_of_those_before(history);
        let first = self.first_reply(history);
        let found = winners.filter_map(|(user_id, place)| {
            let began = *history.came.get(user_id)?;
            // A reply "sold out" before this instant may be older than the winner's place.
            let freed = self
                .freed
                .iter()
                .filter(|(from, _)| first.get(user_id).is_none_or(|first| from <= first))
                .map(|(_, until)| *until + GRACE_PERIOD)
                .max();
            let before = losers.partition_point(|(ended, _)| *ended < began);
            let (_, loser) = losers.get(before.checked_sub(1)?)?;
            let is_too_early = freed.is_none_or(|freed| loser.began > freed);
            is_too_early.then_some((*loser, began, user_id, place))
        });
        found.max_by_key(|(loser, began, ..)| *began - loser.ended)
    }

    /// An applicant who was told "sold out" although the last place that became free had certainly been there.
    pub(super) fn turned_away_last<'a>(&self, history: &'a History) -> Option<&'a Call> {
        let losers = history.calls.iter();
        let last = losers
            .filter(|call| call.reply == Reply::SoldOut)
            .max_by_key(|call| call.began)?;
        let freed = self
            .freed
            .iter()
            .map(|(_, until)| *until + GRACE_PERIOD)
            .max();
        freed.is_none_or(|freed| last.began > freed).then_some(last)
    }

    /// When each applicant was first told of a place; empty if no place became free.
    fn first_reply<'a>(&self, history: &'a History) -> BTreeMap<&'a String, Instant> {
        let mut first = BTreeMap::new();
        for call in &history.calls {
            if let Reply::Granted(_) | Reply::AlreadyGranted(_) = call.reply
                && !self.freed.is_empty()
            {
                let known = first.entry(&call.user_id).or_insert(call.ended);
                *known = call.ended.min(*known);
            }
        }
        first
    }
}

/// The instants of all replies "sold out", in order; with each, the latest of the applicants who had this reply by
/// then.
fn latest_of_those_before(history: &History) -> Vec<(Instant, &Call)> {
    let mut losers: Vec<&Call> = history
        .calls
        .iter()
        .filter(|call| call.reply == Reply::SoldOut)
        .collect();
    losers.sort_by_key(|call| call.ended);
    let mut latest: Option<&Call> = None;
    let latest_until = losers.into_iter().map(|call| {
        let last = latest
            .filter(|latest| latest.began > call.began)
            .unwrap_or(call);
        latest = Some(last);
        (call.ended, last)
    });
    latest_until.collect()
}
