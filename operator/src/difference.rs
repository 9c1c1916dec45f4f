//! Compares the terms of a campaign in the database with those at the gate.

use crate::terms::{Campaign, window};
use rushgate_gate::projection::Projection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Each difference between the terms in the database and at the gate, as text.
pub fn differing_terms(campaign: &Campaign, at_gate: &Projection) -> Vec<String> {
    let mut differing = vec![];
    // The gate knows no terms of a campaign that was wiped and then halted.
    let Some(terms) = at_gate.terms else {
        return differing;
    };
    let mut differ = |what: &str, here: &dyn fmt::Display, there: &dyn fmt::Display| {
        differing.push(format!(
            "{what}: {here} in the database, {there} at the gate"
        ));
    };
    if campaign.terms.waitlist != terms.waitlist {
        differ("waitlist", &campaign.terms.waitlist, &terms.waitlist);
    }
    if campaign.terms.one_per != terms.one_per {
        differ("one per", &campaign.terms.one_per, &terms.one_per);
    }
    if campaign.terms.user_ids != terms.user_ids {
        differ("user ids", &campaign.terms.user_ids, &terms.user_ids);
    }
    if campaign.terms.codes != terms.codes {
        differ("codes", &campaign.terms.codes, &terms.codes);
    }
    if campaign.terms.self_cancel != terms.self_cancel {
        let (here, there) = (campaign.terms.self_cancel, terms.self_cancel);
        differ("self-cancel", &here, &there);
    }
    if campaign.terms.promote_until != terms.promote_until {
        let (here, there) = (campaign.terms.promote_until, terms.promote_until);
        differ("promote until", &here, &there);
    }
    if campaign.terms.show_remaining != terms.show_remaining {
        let (here, there) = (campaign.terms.show_remaining, terms.show_remaining);
        differ("show remaining", &here, &there);
    }
    let rounds_at_gate: BTreeMap<_, _> = at_gate
        .rounds
        .iter()
        .map(|(round, _)| (&round.id, round))
        .collect();
    let ids: BTreeSet<_> = campaign.rounds.iter().map(|round| &round.id).collect();
    for id in ids
        .iter()
        .chain(rounds_at_gate.keys())
        .collect::<BTreeSet<_>>()
    {
        let here = campaign.rounds.iter().find(|round| round.id == **id);
        match (here, rounds_at_gate.get(*id)) {
            (Some(here), Some(there)) => {
                if here.quota != there.quota {
                    differ(&format!("quota of round {id}"), &here.quota, &there.quota);
                }
                if window(here) != window(there) {
                    differ(&format!("round {id}"), &window(here), &window(there));
                }
            }
            (Some(here), None) => differ(&format!("round {id}"), &window(here), &"none"),
            (None, Some(there)) => differ(&format!("round {id}"), &"none", &window(there)),
            (None, None) => {}
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{
        CampaignState, Codes, OnePer, PromoteUntil, Round, ShowRemaining, Terms, UserIds,
    };

    #[test]
    fn terms_that_differ_are_told_one_by_one() {
        let round = |id: &str, quota: u32| Round {
            id: id.parse().expect("a round"),
            opens_at: None,
            closes_at: None,
            quota: quota.try_into().expect("a quota"),
        };
        let terms = |waitlist: u32, user_ids| Terms {
            one_per: OnePer::Campaign,
            waitlist: waitlist.try_into().expect("a waitlist"),
            user_ids,
            ..Terms::default()
        };
        let campaign = Campaign {
            id: "c".parse().expect("an id"),
            state: CampaignState::Running,
            terms: terms(1, UserIds::Numeric),
            daily: None,
            valid_until: None,
            rounds: vec![round("a", 5), round("b", 5)],
            projected: true,
        };
        let mut projection = Projection {
            state: CampaignState::Running,
            terms: Some(terms(1, UserIds::Numeric)),
            fence: 1.into(),
            rounds: vec![(round("b", 5), 0), (round("a", 5), 3)],
        };
        assert_eq!(differing_terms(&campaign, &projection), [""; 0]);
        projection.terms = Some(Terms {
            codes: Codes::Signed("00c0ffee".parse().expect("a fingerprint")),
            self_cancel: true,
            promote_until: PromoteUntil::Closes,
            show_remaining: ShowRemaining::Rough,
            ..terms(2, UserIds::Unstated)
        });
        projection.rounds = vec![(round("b", 25), 9), (round("c", 5), 0)];
        assert_eq!(
            differing_terms(&campaign, &projection),
            [
                "waitlist: 1 in the database, 2 at the gate",
                "user ids: numeric in the database, unstated at the gate",
                "codes: none in the database, signed/00c0ffee at the gate",
                "self-cancel: false in the database, true at the gate",
                "promote until: forever in the database, closes at the gate",
                "show remaining: exact in the database, rough at the gate",
                "round a: opens now, closes never in the database, none at the gate",
                "quota of round b: 5 in the database, 25 at the gate",
                "round c: none in the database, opens now, closes never at the gate",
            ]
        );
        projection.terms = None;
        assert_eq!(differing_terms(&campaign, &projection), [""; 0]);
    }
}
