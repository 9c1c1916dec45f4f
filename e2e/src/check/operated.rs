//! What an operator did while people applied, as far as it decides what they may be told.

use crate::history::{Call, History, Place, Told};
use rushgate_gate::refusal_cache::GRACE_PERIOD;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What an operator did.
#[derive(Clone, Debug, Default)]
pub struct Operated {
    /// When a place may have come free, by a raised quota or a revocation: not before the first and not after the second.
    pub freed: Vec<(Instant, Instant)>,
    /// Whose coupons were taken back.
    pub revoked: BTreeSet<String>,
    /// Whose coupons may have been taken back: nobody knows how that command ended.
    pub perhaps_revoked: BTreeSet<String>,
}

impl Operated {
    /// Whether somebody's coupon may have been taken back.
    pub(super) fn may_have_revoked(&self, user_id: &str) -> bool {
        self.revoked.contains(user_id) || self.perhaps_revoked.contains(user_id)
    }

    /// Somebody who was told that all is sold out, and somebody else who came after that and got a place which had not come
    /// free meanwhile.
    pub(super) fn too_early<'a>(
        &self,
        history: &'a History,
        winners: impl Iterator<Item = (&'a String, &'a Place)>,
    ) -> Option<(&'a Call, Instant, &'a String, &'a Place)> {
        let losers = latest_of_those_before(history);
        let told = self.told_first(history);
        let found = winners.filter_map(|(user_id, place)| {
            let began = *history.came.get(user_id)?;
            // Whoever was turned away before this may have come before the winner's place was there.
            let freed = self
                .freed
                .iter()
                .filter(|(from, _)| told.get(user_id).is_none_or(|told| from <= told))
                .map(|(_, until)| *until + GRACE_PERIOD)
                .max();
            let before = losers.partition_point(|(ended, _)| *ended < began);
            let (_, loser) = losers.get(before.checked_sub(1)?)?;
            let is_too_early = freed.is_none_or(|freed| loser.began > freed);
            is_too_early.then_some((*loser, began, user_id, place))
        });
        found.max_by_key(|(loser, began, ..)| *began - loser.ended)
    }

    /// Somebody who was told that all is sold out when the last place that came free had been there for certain.
    pub(super) fn turned_away_last<'a>(&self, history: &'a History) -> Option<&'a Call> {
        let losers = history.calls.iter();
        let last = losers
            .filter(|call| call.told == Told::SoldOut)
            .max_by_key(|call| call.began)?;
        let freed = self
            .freed
            .iter()
            .map(|(_, until)| *until + GRACE_PERIOD)
            .max();
        freed.is_none_or(|freed| last.began > freed).then_some(last)
    }

    /// When each was first told of a place, if that matters.
    fn told_first<'a>(&self, history: &'a History) -> BTreeMap<&'a String, Instant> {
        let mut first = BTreeMap::new();
        for call in &history.calls {
            if let Told::Granted(_) | Told::AlreadyGranted(_) = call.told
                && !self.freed.is_empty()
            {
                let told = first.entry(&call.user_id).or_insert(call.ended);
                *told = call.ended.min(*told);
            }
        }
        first
    }
}

/// When each was told that all is sold out, in that order; and of all who were told so until then, the one who came last.
fn latest_of_those_before(history: &History) -> Vec<(Instant, &Call)> {
    let mut losers: Vec<&Call> = history
        .calls
        .iter()
        .filter(|call| call.told == Told::SoldOut)
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
