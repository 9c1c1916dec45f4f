//! Checks that the replies to applicants and the content of all stores agree: the invariants C1 to C7.
//!
//! It is a pure function of the replies and the stores' content, so unit tests can show which breaches it finds.

mod breach;
mod codes;
mod coupons;
mod expected;
mod operated;
mod signed_codes;
#[cfg(test)]
mod tests;
mod trail;

pub use breach::Breach;
pub use expected::Expected;
pub use operated::Operated;
pub use signed_codes::SignedCodes;

use crate::evidence::Evidence;
use crate::history::{Call, History, Place, Reply};
use std::collections::{BTreeMap, BTreeSet};
use trail::{DEAD_LETTER, Trail};

/// All breaches; empty if the run is exact.
pub fn breaches(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut expected = expected.clone();
    expected.operated.add_cancellations(history);
    let expected = &expected;
    let mut breaches = in_the_table(expected, evidence);
    breaches.extend(at_the_gate(expected, evidence));
    breaches.extend(between_people(expected, history, evidence));
    breaches.extend(taken_back(expected, history, evidence));
    breaches.extend(told_and_standing(expected, history, evidence));
    breaches.extend(left_behind(expected, evidence));
    breaches.extend(too_early(expected, history));
    breaches.extend(turned_away(expected, history, evidence));
    breaches.extend(codes::of_codes(expected, history, evidence));
    breaches.extend(coupons::redemptions(expected, history, evidence));
    breaches.extend(coupons::cancellations(expected, history, evidence));
    breaches.extend(coupons::after_the_end(expected, history, evidence));
    breaches.extend(history.unexplained.iter().cloned().map(Breach::Unexplained));
    if history.unavailable > 0 {
        breaches.push(Breach::Unanswered(history.unavailable));
    }
    breaches
}

/// Grants that applicants were told of and that Redis lost before Kafka had them: no other store can know them.
pub fn lost_with_redis<'a>(
    history: &'a History,
    evidence: &Evidence,
) -> Vec<(&'a String, &'a Place)> {
    let trail = Trail::of(evidence);
    let told = history.told_places();
    told.filter(|(user_id, place)| trail.of_grant(user_id, place).is_empty())
        .collect()
}

/// C1 and C2, in the table.
fn in_the_table(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let places = evidence.rows.iter().map(|row| row.place.clone());
    breaches.extend(over_quota(expected, "the table", places.clone()));
    let mut people = BTreeSet::new();
    for row in &evidence.rows {
        if !(1..=expected.quota).contains(&row.place.serial) {
            breaches.push(Breach::SerialOutOfRange(row.place.clone()));
        }
        if !people.insert((expected.scope(&row.place), &row.user_id)) {
            breaches.push(Breach::PersonDoubled(row.user_id.clone()));
        }
    }
    let places: BTreeSet<Place> = places.collect();
    for (round, due) in &expected.due {
        let due = (1..=*due).map(|serial| Place::new(round, serial));
        breaches.extend(
            due.filter(|place| !places.contains(place))
                .map(Breach::SerialMissing),
        );
    }
    breaches
}

/// C1 at the gate, and C4: gate and table hold the same grants.
fn at_the_gate(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let held = evidence.held().map(|(grant, held)| (grant, held.issued));
    let held: BTreeMap<(String, Place), bool> = held.collect();
    let places = held.keys().map(|(_, place)| place.clone());
    let mut breaches = over_quota(expected, "the gate", places);
    for row in &evidence.rows {
        let grant = (row.user_id.clone(), row.place.clone());
        let problem = match held.get(&grant) {
            Some(true) => continue,
            Some(false) => "does not know that it is committed",
            None => "does not hold it",
        };
        breaches.push(Breach::GateDisagrees(grant.0, grant.1, problem));
    }
    let held: BTreeSet<&Place> = held.keys().map(|(_, place)| place).collect();
    for (round, given) in &evidence.given {
        let given = (1..=*given).map(|serial| Place::new(round, serial));
        let lost = given.filter(|place| !held.contains(place) && !evidence.free.contains(place));
        breaches.extend(lost.map(Breach::SerialLost));
    }
    breaches
}

fn over_quota(
    expected: &Expected,
    store: &'static str,
    places: impl Iterator<Item = Place>,
) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let (mut held, mut seen) = (BTreeMap::<String, u64>::new(), BTreeSet::new());
    for place in places {
        *held.entry(place.round.clone()).or_default() += 1;
        if let Some(place) = seen.replace(place) {
            breaches.push(Breach::SerialDoubled(store, place));
        }
    }
    let quota = expected.quota;
    for (round, held) in held {
        if held > u64::from(quota) {
            breaches.push(Breach::OverQuota {
                round,
                store,
                held,
                quota,
            });
        }
    }
    breaches
}

/// C2, in the replies.
fn between_people(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if expected.restored {
        return breaches;
    }
    let mut holders: BTreeMap<&Place, Vec<String>> = BTreeMap::new();
    for (user_id, places) in &history.places {
        let scopes: BTreeSet<_> = places.iter().map(|place| expected.scope(place)).collect();
        if scopes.len() < places.len() {
            breaches.push(Breach::ToldTwo(user_id.clone(), places.clone()));
        }
        for place in places {
            // The serial of a revoked coupon may belong to another applicant.
            if !evidence.revoked.contains(&(user_id.clone(), place.clone())) {
                holders.entry(place).or_default().push(user_id.clone());
            }
        }
    }
    for (place, holders) in holders {
        if holders.len() > 1 {
            breaches.push(Breach::SharedSerial(place.clone(), holders));
        }
    }
    breaches
}

/// C4 for revoked coupons: gate and table agree, and an operator or the applicant has revoked them.
fn taken_back(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let operated = &expected.operated;
    let mut problem = |(user_id, place): &(String, Place), problem| {
        breaches.push(Breach::TakenBack(user_id.clone(), place.clone(), problem));
    };
    for grant in &evidence.revoked {
        if !operated.may_have_revoked(&grant.0) {
            problem(grant, "neither an operator nor the applicant did that");
        }
        if !evidence.taken_back.contains(grant) {
            problem(grant, "the gate does not know");
        }
    }
    let in_table = |grant: &&(String, Place)| evidence.revoked.contains(grant);
    for grant in evidence.taken_back.iter().filter(|grant| !in_table(grant)) {
        problem(grant, "the table does not know");
    }
    let people: BTreeSet<&String> = evidence
        .revoked
        .iter()
        .map(|(user_id, _)| user_id)
        .collect();
    let missing = operated
        .revoked
        .iter()
        .filter(|user_id| !people.contains(user_id));
    breaches.extend(missing.cloned().map(Breach::NotTakenBack));
    let revoked = history
        .calls
        .iter()
        .filter(|call| call.reply == Reply::Revoked);
    let wrongly = revoked.filter(|call| !people.contains(&call.user_id));
    breaches.extend(wrongly.map(|call| {
        Breach::Unexplained(format!("{} was told that it was taken back", call.user_id))
    }));
    breaches
}

/// C3 and C4: every reply has its row, and every row its reply.
fn told_and_standing(expected: &Expected, history: &History, evidence: &Evidence) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let rows = evidence.rows.iter();
    let standing: BTreeSet<(&String, &Place)> =
        rows.map(|row| (&row.user_id, &row.place)).collect();
    let seated: BTreeSet<&String> = standing.iter().map(|(user_id, _)| *user_id).collect();
    let trail = Trail::of(evidence);
    for (user_id, place) in history.told_places() {
        let excused = || {
            let trail = trail.of_grant(user_id, place);
            let is_dead_letter = trail.iter().any(|seen| seen.starts_with(DEAD_LETTER));
            let is_revoked = evidence.revoked.contains(&(user_id.clone(), place.clone()));
            is_revoked
                || is_dead_letter
                || expected.restored && (seated.contains(user_id) || trail.is_empty())
        };
        if !standing.contains(&(user_id, place)) && !excused() {
            let trail = trail.in_words(user_id, place);
            breaches.push(Breach::NoRow(user_id.clone(), place.clone(), trail));
        }
    }
    let told: BTreeSet<(&String, &Place)> = history.told_places().collect();
    // Applicants on the waitlist get no reply when they are promoted.
    let waited = |call: &&Call| matches!(call.reply, Reply::Waitlisted(_));
    let waited: BTreeSet<&String> = history
        .calls
        .iter()
        .filter(waited)
        .map(|call| &call.user_id)
        .collect();
    for (user_id, place) in &standing {
        let knows_another = expected.restored && history.places.contains_key(*user_id);
        if !told.contains(&(*user_id, *place)) && !knows_another && !waited.contains(user_id) {
            breaches.push(Breach::NobodyTold((*user_id).clone(), (*place).clone()));
        }
    }
    for ((user_id, place), _) in evidence.held() {
        let seen = trail.of_grant(&user_id, &place);
        let is_dead_letter = seen.iter().any(|seen| seen.starts_with(DEAD_LETTER));
        let has_row = standing.contains(&(&user_id, &place));
        if !has_row && !is_dead_letter && !told.contains(&(&user_id, &place)) {
            let trail = trail.in_words(&user_id, &place);
            breaches.push(Breach::NoCoupon(user_id, place, trail));
        }
    }
    breaches
}

/// C5: nothing is on its way, and no dead letter is open that the test has not caused.
fn left_behind(expected: &Expected, evidence: &Evidence) -> Vec<Breach> {
    let (failed_events, unpublished) = expected.dead_letters;
    let mut found = vec![
        ("entries in the stream", evidence.entries),
        (
            "entries that a bridge has read and not acked",
            evidence.pending,
        ),
        (
            "records that the consumers have not committed",
            evidence.lag,
        ),
        (
            "dead letters of the bridge",
            evidence.unpublished.abs_diff(unpublished),
        ),
    ];
    if !expected.restored {
        let open = evidence.failed_events.len() as u64;
        found.push(("dead letters of the consumer", open.abs_diff(failed_events)));
    }
    let found = found.into_iter().filter(|(_, count)| *count > 0);
    found
        .map(|(what, count)| Breach::LeftBehind(what, count))
        .collect()
}

/// C6. A restored campaign may have places again that were gone, and so may one with several rounds.
fn too_early(expected: &Expected, history: &History) -> Option<Breach> {
    if expected.restored || expected.due.len() > 1 {
        return None;
    }
    let found = expected.operated.too_early(history, history.told_places());
    let (loser, began, winner, place) = found?;
    Some(Breach::SoldOutTooEarly {
        loser: loser.user_id.clone(),
        winner: winner.clone(),
        place: place.clone(),
        micros: (began - loser.ended).as_micros(),
    })
}

/// No applicant was turned away for good while places are left.
fn turned_away(expected: &Expected, history: &History, evidence: &Evidence) -> Option<Breach> {
    let [given] = evidence.given.values().collect::<Vec<_>>()[..] else {
        return None;
    };
    let left = expected.quota.saturating_sub(*given) as usize + evidence.free.len();
    if expected.restored || left == 0 {
        return None;
    }
    let loser = expected.operated.turned_away_last(history)?;
    Some(Breach::SoldOutWithRoom(loser.user_id.clone(), left))
}
