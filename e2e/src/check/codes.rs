//! C7: one coupon code to one grant. The code in the row is the one of its grant, and so is the code in the replies. A pool
//! code is bound to its grant by its number.

use super::breach::Breach;
use super::expected::Expected;
use crate::evidence::Evidence;
use crate::history::{History, Place};
use crate::rows::RowCode;
use rushgate_gate::Ordinal;
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
            (Some(code), computed) if !expected.has_pool && computed.as_ref() != Some(code) => {
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
        if expected.codes.is_none() && !expected.has_pool {
            breaches.push(Breach::code(grant, "was told with a code"));
        }
    }
    let without = history.told_places().filter(|(user_id, place)| {
        let grant = ((*user_id).clone(), (*place).clone());
        expected.codes.is_some() && !history.codes.contains_key(&grant)
    });
    breaches.extend(without.map(|grant| Breach::code(grant, "was told without a code")));
    // A Redis that has lost acknowledged grants may give their codes again: docs/limits.md.
    if !(expected.has_pool && expected.restored) {
        breaches.extend(shared(holders.into_values()));
    }
    if expected.has_pool {
        breaches.extend(of_numbers(expected, evidence));
    }
    breaches
}

/// Pool codes: each grant has a number of its own, the same one in all stores.
fn of_numbers(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let (mut breaches, mut holders) = (vec![], BTreeMap::new());
    let mut bind = |number: Option<u32>, grant: (String, Place)| {
        if let Some(number) = number {
            let grants: &mut BTreeSet<_> = holders.entry(number).or_default();
            grants.insert(grant);
        }
    };
    let mut of_rows = BTreeMap::new();
    for row in &evidence.codes {
        let grant = (row.user_id.clone(), row.place.clone());
        bind(row.number, grant.clone());
        if row.is_active {
            of_rows.insert(grant, row.number);
        }
    }
    for (grant, held) in evidence.held() {
        let number = held.code_number.map(Ordinal::get);
        let in_row = of_rows.get(&grant);
        match (number, in_row) {
            (None, _) => breaches.push(Breach::code(
                (&grant.0, &grant.1),
                "has no code at the gate",
            )),
            (Some(_), Some(None)) => {
                breaches.push(Breach::code((&grant.0, &grant.1), "has no code"))
            }
            (Some(number), Some(Some(in_row))) if number != *in_row => {
                let problem = "has another code at the gate than in its row";
                breaches.push(Breach::code((&grant.0, &grant.1), problem));
            }
            _ => {}
        }
        bind(number, grant);
    }
    let published = evidence.published.iter().filter(|_| !expected.restored);
    for event in published {
        let place = Place::new(event.round.as_str(), event.serial.get());
        let number = event.code_number.map(Ordinal::get);
        bind(number, (event.applicant.to_string(), place));
    }
    let holders = holders.values().map(|grants| {
        let grants = grants.iter();
        grants.map(|(user_id, place)| (user_id, place)).collect()
    });
    breaches.extend(shared(holders));
    breaches
}

/// The codes with several grants.
fn shared<'a>(
    holders: impl Iterator<Item = BTreeSet<(&'a String, &'a Place)>>,
) -> impl Iterator<Item = Breach> {
    let shared = holders.filter(|grants| grants.len() > 1);
    shared.map(|grants| {
        let grants = grants.into_iter();
        let grants = grants.map(|(user_id, place)| (user_id.clone(), place.clone()));
        Breach::SharedCode(grants.collect())
    })
}

/// The code of the row's grant.
fn computed(expected: &Expected, row: &RowCode) -> Option<String> {
    let codes = expected.codes.as_ref()?;
    codes.code(&row.user_id, &row.place, row.turn)
}
