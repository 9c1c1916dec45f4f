//! C7: one coupon code to one grant. The code in the row is the one of its grant, and so is the code in the replies.

use super::breach::Breach;
use super::expected::Expected;
use crate::evidence::Evidence;
use crate::history::{History, Place};
use crate::rows::RowCode;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn of_codes(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = vec![];
    let mut holders: BTreeMap<&String, BTreeSet<(&String, &Place)>> = BTreeMap::new();
    let mut of_rows = BTreeMap::new();
    let mut revokes: BTreeMap<&Place, u32> = BTreeMap::new();
    for (_, place) in &evidence.revoked {
        *revokes.entry(place).or_default() += 1;
    }
    for row in &evidence.codes {
        let grant = (&row.user_id, &row.place);
        // Redis may lose how often a serial was revoked.
        let turn = 1 + revokes.get(&row.place).copied().unwrap_or_default();
        if row.is_active && row.turn != turn && !expected.restored {
            breaches.push(Breach::code(grant, "has the turn of an older grant"));
        }
        match (&row.code, computed(expected, row)) {
            (None, Some(_)) if row.is_active => breaches.push(Breach::code(grant, "has no code")),
            (Some(code), computed) if computed.as_ref() != Some(code) => {
                breaches.push(Breach::code(
                    grant,
                    "has a code that is not computed from it",
                ));
            }
            _ => {}
        }
        if let Some(code) = &row.code {
            holders.entry(code).or_default().insert(grant);
            of_rows.insert(grant, code);
        }
    }
    for ((user_id, place), codes) in &history.codes {
        let grant = (user_id, place);
        for code in codes {
            holders.entry(code).or_default().insert(grant);
            if of_rows.get(&grant).is_some_and(|of_row| *of_row != code) {
                breaches.push(Breach::code(grant, "was told with another code"));
            }
        }
        if codes.len() > 1 {
            breaches.push(Breach::code(grant, "was told with several codes"));
        }
        if expected.codes.is_none() {
            breaches.push(Breach::code(grant, "was told with a code"));
        }
    }
    let without = history.told_places().filter(|(user_id, place)| {
        let grant = ((*user_id).clone(), (*place).clone());
        expected.codes.is_some() && !history.codes.contains_key(&grant)
    });
    breaches.extend(without.map(|grant| Breach::code(grant, "was told without a code")));
    let shared = holders.into_values().filter(|grants| grants.len() > 1);
    breaches.extend(shared.map(|grants| {
        let grants = grants.into_iter();
        Breach::SharedCode(
            grants
                .map(|(user, place)| (user.clone(), place.clone()))
                .collect(),
        )
    }));
    breaches
}

/// The code of the row's grant.
fn computed(expected: &Expected, row: &RowCode) -> Option<String> {
    let codes = expected.codes.as_ref()?;
    codes.code(&row.user_id, &row.place, row.turn)
}
