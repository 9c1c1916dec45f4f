//! What applicants and operators have done with coupons: what was redeemed stays, what was given back is gone, and
//! applicants who have left the waitlist, or wait when the round ends, get nothing.

#[cfg(test)]
mod tests;

use super::breach::Breach;
use super::expected::Expected;
use crate::evidence::Evidence;
use crate::history::{Call, CancelReply, History, Place, Reply};
use crate::rows::RowCode;
use std::collections::{BTreeMap, BTreeSet};

/// A coupon is redeemed once, where gate and table agree on it, and is never revoked or given back then.
pub(super) fn redemptions(
    expected: &Expected,
    history: &History,
    evidence: &Evidence,
) -> Vec<Breach> {
    let mut breaches = vec![];
    let operated = &expected.operated;
    let mut problem = |(user_id, place): &(String, Place), problem| {
        breaches.push(Breach::Redeemed(user_id.clone(), place.clone(), problem));
    };
    let of = |coupon: &RowCode| (coupon.user_id.clone(), coupon.place.clone());
    let rows: BTreeMap<_, _> = evidence
        .codes
        .iter()
        .map(|coupon| (of(coupon), coupon))
        .collect();
    for cancel in &history.cancels {
        if let CancelReply::GivenBack(place) = &cancel.reply {
            let grant = (cancel.user_id.clone(), place.clone());
            if operated.redeemed.contains_key(&grant) {
                problem(&grant, "its holder has given it back");
            }
        }
    }
    for (grant, orders) in &operated.redeemed {
        if orders.len() > 1 {
            problem(grant, "a second time, for another order");
        }
        match rows.get(grant) {
            Some(row) if !row.is_active => problem(grant, "it was revoked or given back"),
            Some(row) if row.is_redeemed => {
                if row
                    .order
                    .as_ref()
                    .is_none_or(|order| !orders.contains(order))
                {
                    problem(grant, "its row has another order");
                }
            }
            _ => problem(grant, "its row is not redeemed"),
        }
    }
    let marked = evidence.held();
    let marked = marked.filter(|(_, held)| held.redeemed_at.is_some());
    let marked: BTreeSet<_> = marked.map(|(grant, _)| grant).collect();
    for (grant, _) in rows.iter().filter(|(_, row)| row.is_redeemed) {
        if !marked.contains(grant) {
            problem(grant, "the gate does not know");
        }
        if !operated.redeemed.contains_key(grant) && !operated.perhaps_redeemed.contains(grant) {
            problem(grant, "no operator did that");
        }
    }
    let is_redeemed = |grant: &(String, Place)| rows.get(grant).is_some_and(|row| row.is_redeemed);
    for grant in &marked {
        if !is_redeemed(grant) && !operated.perhaps_redeemed.contains(grant) {
            problem(grant, "the table does not know");
        }
    }
    breaches
}

/// After giving a coupon back, an applicant does not hold it. After leaving the waitlist, an applicant is not promoted. A loss of
/// data in Redis may undo either.
pub(super) fn cancellations(
    expected: &Expected,
    history: &History,
    evidence: &Evidence,
) -> Vec<Breach> {
    let mut breaches = vec![];
    if expected.restored || history.cancels.is_empty() {
        return breaches;
    }
    let mut calls: BTreeMap<&String, Vec<&Call>> = BTreeMap::new();
    for call in &history.calls {
        calls.entry(&call.user_id).or_default().push(call);
    }
    let rows = evidence.codes.iter();
    let mut grants: BTreeMap<String, Place> = rows
        .map(|coupon| (coupon.user_id.clone(), coupon.place.clone()))
        .collect();
    grants.extend(evidence.held().map(|(grant, _)| grant));
    for cancel in &history.cancels {
        let user_id = &cancel.user_id;
        let mut calls = calls.get(user_id).into_iter().flatten();
        match &cancel.reply {
            CancelReply::GivenBack(place) => {
                let grant = (user_id.clone(), place.clone());
                let mut problem = |problem| {
                    breaches.push(Breach::GivenBack(user_id.clone(), place.clone(), problem));
                };
                if !evidence.revoked.contains(&grant) {
                    problem("its row is not revoked");
                }
                let is_told = |reply: &Reply| match reply {
                    Reply::Granted(told) | Reply::AlreadyGranted(told) => told.round == place.round,
                    _ => false,
                };
                if calls.any(|call| call.began > cancel.ended && is_told(&call.reply)) {
                    problem("they were told a coupon of the round afterwards");
                }
            }
            // An applicant who applies again may be on the waitlist again.
            CancelReply::Left if calls.all(|call| call.ended < cancel.began) => {
                if let Some(place) = grants.get(user_id) {
                    breaches.push(Breach::LeaverPromoted(user_id.clone(), place.clone()));
                }
            }
            _ => {}
        }
    }
    breaches
}

/// Nothing is granted after the end of the round, except what a restored campaign owes.
pub(super) fn after_the_end(
    expected: &Expected,
    history: &History,
    evidence: &Evidence,
) -> Vec<Breach> {
    let Some(ends) = expected.ends else {
        let calls = history.calls.iter();
        let closed = calls.filter(|call| call.reply == Reply::Closed);
        return closed
            .map(|call| Breach::Unexplained(format!("{} was told closed", call.user_id)))
            .collect();
    };
    if expected.restored {
        return vec![];
    }
    let late = evidence.held().filter(|(_, held)| held.at >= ends);
    late.map(|((user_id, place), _)| Breach::AfterTheEnd(user_id, place))
        .collect()
}
