//! Defines the properties that must hold in every state, and those that must hold when nothing is left to do.

use crate::pipeline::{Pipeline, State};
use std::collections::BTreeSet;

/// A property: whether it holds in a state.
pub(crate) type Holds = fn(&Pipeline, &State) -> bool;

pub(crate) const C1: &str = "C1 quota and serials";
pub(crate) const C2: &str = "C2 one a person";
pub(crate) const C3: &str = "C3 nothing is lost";
pub(crate) const C4: &str = "C4 granted by the gate";
pub(crate) const C5: &str = "C5 at rest all is drained";
pub(crate) const C6: &str = "C6 no applicant is turned away early";
pub(crate) const REMOVED: &str = "removed when published";
pub(crate) const ONCE: &str = "published once";
pub(crate) const HALTED: &str = "halted for good";

pub(crate) const ALL: [(&str, Holds); 9] = [
    (C1, quota_holds),
    (C2, one_a_person),
    (C3, nothing_is_lost),
    (C4, coupons_were_granted),
    (C5, drained_at_rest),
    (C6, no_applicant_turned_away_early),
    (REMOVED, removed_when_published),
    (ONCE, published_once),
    (HALTED, halted_for_good),
];

/// C1: at most the quota, and no serial twice, at the gate and in the table.
fn quota_holds(pipeline: &Pipeline, state: &State) -> bool {
    let coupons: Vec<_> = state.table.coupons().collect();
    let serials: BTreeSet<_> = coupons.iter().map(|coupon| coupon.serial).collect();
    let quota = usize::from(pipeline.quota);
    serials.len() == coupons.len() && coupons.len() <= quota && state.gate.grants().len() <= quota
}

/// C2: no applicant holds two grants or two coupons.
fn one_a_person(_: &Pipeline, state: &State) -> bool {
    let coupons: Vec<_> = state.table.coupons().collect();
    let holders: BTreeSet<_> = coupons.iter().map(|coupon| coupon.person).collect();
    let winners: BTreeSet<_> = state
        .gate
        .grants()
        .iter()
        .map(|grant| grant.person)
        .collect();
    holders.len() == coupons.len() && winners.len() == state.gate.grants().len()
}

/// C4: every coupon was granted by the gate.
fn coupons_were_granted(_: &Pipeline, state: &State) -> bool {
    let mut coupons = state.table.coupons();
    coupons.all(|coupon| state.gate.ever().contains(&coupon))
}

/// C3, at each moment: a grant is in the stream, or in the topic where the group has yet to read it, or in the table as
/// a coupon or a dead letter. Only Redis itself can lose one, before it is published.
fn nothing_is_lost(_: &Pipeline, state: &State) -> bool {
    state.gate.ever().iter().all(|grant| {
        state.stream.holds(*grant)
            || state.broker.will_deliver(*grant)
            || state.table.has_row(*grant)
            || state.table.is_dead_letter(*grant)
            || (state.gate.has_lost(*grant) && !state.broker.holds(*grant))
    })
}

/// C6: no applicant is told "sold out" while a place is left, or before one who comes later is granted a place; except
/// when Redis has lost a grant.
fn no_applicant_turned_away_early(_: &Pipeline, state: &State) -> bool {
    !state.gate.turned_away_early()
}

/// What has left the stream is in the topic, and no bridge ever missed an entry.
fn removed_when_published(_: &Pipeline, state: &State) -> bool {
    let mut grants = state.gate.ever().iter();
    !state.found_lost
        && grants.all(|grant| {
            state.stream.holds(*grant) || state.broker.holds(*grant) || state.gate.has_lost(*grant)
        })
}

/// A bridge publishes nothing again that Kafka has confirmed to it.
fn published_once(_: &Pipeline, state: &State) -> bool {
    !state.published_again
}

/// After an unknown committed grant was confirmed, the gate grants nothing.
fn halted_for_good(_: &Pipeline, state: &State) -> bool {
    !state.gate.granted_after_unknown()
}

/// C3 and C5, at rest: every applicant has an answer, every grant its row and its confirmation, and nothing is left on
/// the way.
fn drained_at_rest(pipeline: &Pipeline, state: &State) -> bool {
    state.is_drained(pipeline) || !pipeline.is_at_rest(state)
}

impl State {
    fn is_drained(&self, pipeline: &Pipeline) -> bool {
        let mut bridges = self.bridges.iter().filter_map(|bridge| bridge.as_ref());
        let everybody_knows =
            self.gate.is_halted() || self.gate.comers(pipeline.people).next().is_none();
        everybody_knows
            && self.stream.is_drained()
            && bridges.all(|bridge| bridge.is_drained())
            && (pipeline.consumers == 0 || self.is_written())
    }

    fn is_written(&self) -> bool {
        let gate = &self.gate;
        let mut grants = gate.grants().iter();
        self.broker.is_drained()
            && grants.all(|grant| match self.table.has_row(*grant) {
                true => gate.is_issued(*grant),
                // Another applicant has its serial, by a grant that Redis has lost.
                false => self.table.is_dead_letter(*grant) && gate.has_lost_any(),
            })
    }
}
