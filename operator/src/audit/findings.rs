//! Compares what was read from gate, stream, topic, tables and dead letters, and returns a finding for each
//! disagreement. A pure function.

use super::finding::Finding;
use rushgate_gate::balance::Miscount;
use rushgate_gate::{Assignment, CampaignState, EventType, RoundId, Serial};
use std::collections::{BTreeMap, BTreeSet};

/// What was read about one campaign. The fields are read in the order in which a grant passes through the system, so a
/// grant that moves on meanwhile is seen at least once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The gate does not know the campaign, although the database says that it was projected.
    pub is_unknown: bool,
    /// Gate or database says that the campaign is halted.
    pub is_halted: bool,
    /// Grants that the gate holds, each with whether the gate knows its row to be committed.
    pub held: BTreeMap<Assignment, bool>,
    /// Gate entries that cannot be parsed.
    pub unreadable: BTreeSet<String>,
    /// Serials that the gate would give out again.
    pub free: BTreeSet<(RoundId, Serial)>,
    /// Counters of the gate that differ from what it stores.
    pub miscounts: BTreeSet<Miscount>,
    /// Grants that the gate lists as revoked.
    pub taken_back: BTreeSet<Assignment>,
    /// Events in the stream, or in Kafka and not committed yet.
    pub on_the_way: BTreeSet<(Assignment, EventType)>,
    /// Grants in Kafka, whether committed or not.
    pub in_topic: BTreeSet<Assignment>,
    /// Rows, each with whether it is active.
    pub rows: BTreeMap<Assignment, bool>,
    /// What is wrong with codes.
    pub codes: CodeProblems,
    /// Grants that are redeemed at the gate.
    pub redeemed_at_gate: BTreeSet<Assignment>,
    /// Rows that are redeemed.
    pub redeemed_rows: BTreeSet<Assignment>,
    /// Open dead letters of the consumer, by number: the grant each is about, and its reason.
    pub failed_events: BTreeMap<u64, (Option<Assignment>, String)>,
    /// Grants whose dead letters an operator has discarded.
    pub discarded: BTreeSet<Assignment>,
    /// Grants that the log lists as revoked.
    pub revoked_by_log: BTreeSet<Assignment>,
    /// Open dead letters of the bridge, by entry id: the grant each is about.
    pub unpublished: BTreeMap<String, Option<Assignment>>,
    /// Quotas in the database.
    pub quotas: BTreeMap<RoundId, u32>,
    /// The database says that the campaign is halted, and the gate does not.
    pub is_halted_here: bool,
    /// A command that was begun and not finished, while no command is running.
    pub unfinished: Option<String>,
    /// The states in the database and at the gate, if they differ and the campaign is not halted.
    pub states: Option<(CampaignState, CampaignState)>,
    /// Each difference between the terms in the database and at the gate, as text.
    pub terms: Vec<String>,
    /// Something could not be read, so what is absent here may exist all the same.
    pub is_partial: bool,
}

/// Grants whose rows lack the code that they should have, have a wrong one, or that of another row; and what is wrong with
/// a pool of codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeProblems {
    pub missing: BTreeSet<Assignment>,
    pub wrong: BTreeSet<Assignment>,
    pub shared: BTreeSet<Assignment>,
    /// Grants whose code is not loaded yet.
    pub awaited: BTreeSet<Assignment>,
    /// Grants of a program that is older than pools.
    pub unbound: BTreeSet<Assignment>,
    /// Grants to which the gate has bound the code of another one.
    pub bound_twice: BTreeSet<Assignment>,
    /// The gate has not all codes of the table, as they are there.
    pub is_uncopied: bool,
    /// The gate would give codes that are taken.
    pub is_set_back: bool,
}

/// Everything that certainly disagrees, in a fixed order.
pub fn findings(seen: &Seen) -> BTreeSet<Finding> {
    let mut findings = BTreeSet::new();
    if seen.is_unknown {
        findings.insert(Finding::Unknown);
    }
    if seen.is_halted {
        findings.insert(Finding::Halted);
    }
    if seen.is_halted_here {
        findings.insert(Finding::HaltedHere);
    }
    findings.extend(seen.unreadable.iter().cloned().map(Finding::Unreadable));
    // A halted gate will be rebuilt anyway.
    if !seen.is_halted {
        findings.extend(seen.miscounts.iter().cloned().map(Finding::Miscount));
        let held = seen.held.keys();
        let is_free = |held: &&Assignment| seen.free.contains(&(held.round.clone(), held.serial));
        findings.extend(held.filter(is_free).cloned().map(Finding::HeldAndFree));
    }
    findings.extend(seen.unfinished.clone().map(Finding::Unfinished));
    let states = seen.states;
    findings.extend(states.map(|(database, gate)| Finding::State { database, gate }));
    findings.extend(seen.terms.iter().cloned().map(Finding::Terms));
    let failed_events = seen
        .failed_events
        .values()
        .filter_map(|(place, _)| place.as_ref());
    let unpublished = seen.unpublished.values().filter_map(Option::as_ref);
    let dead: BTreeSet<&Assignment> = failed_events.chain(unpublished).collect();
    let on_the_way = |place: &Assignment, what| seen.on_the_way.contains(&(place.clone(), what));

    for (place, issued) in &seen.held {
        let finding = match seen.rows.get(place) {
            Some(false) => Some(Finding::RevokedInTable(place.clone())),
            _ if seen.is_partial => None,
            _ if seen.revoked_by_log.contains(place) && !on_the_way(place, EventType::Revoked) => {
                Some(Finding::RevocationLost(place.clone()))
            }
            Some(true) if *issued => None,
            Some(true) if on_the_way(place, EventType::Granted) => None,
            Some(true) => Some(Finding::Unconfirmed(place.clone())),
            None if on_the_way(place, EventType::Granted) || dead.contains(place) => None,
            None if seen.discarded.contains(place) => Some(Finding::Discarded(place.clone())),
            None => Some(Finding::Missing {
                place: place.clone(),
                in_topic: seen.in_topic.contains(place),
            }),
        };
        findings.extend(finding);
    }
    let seated: BTreeSet<_> = seen
        .held
        .keys()
        .map(|held| (&held.round, &held.applicant))
        .collect();
    let mut active: BTreeMap<&RoundId, u32> = BTreeMap::new();
    for (place, is_active) in &seen.rows {
        if !is_active {
            // An applicant with another serial got it from a restore.
            let is_known = seen.is_partial
                || seated.contains(&(&place.round, &place.applicant))
                || seen.taken_back.contains(place)
                || [EventType::Granted, EventType::Revoked].map(|what| on_the_way(place, what))
                    != [false; 2];
            if !is_known {
                findings.insert(Finding::RevocationLostByGate(place.clone()));
            }
            continue;
        }
        *active.entry(&place.round).or_default() += 1;
        if seen.is_partial || seen.held.contains_key(place) || on_the_way(place, EventType::Revoked)
        {
            continue;
        }
        findings.insert(if seen.taken_back.contains(place) {
            Finding::StillActive(place.clone())
        } else {
            Finding::LostByGate(place.clone())
        });
    }
    for (round, active) in active {
        let quota = seen.quotas.get(round).copied().unwrap_or_default();
        if active > quota {
            let round = round.clone();
            findings.insert(Finding::OverQuota {
                round,
                active,
                quota,
            });
        }
    }
    let codes = &seen.codes;
    findings.extend(codes.missing.iter().cloned().map(Finding::NoCode));
    findings.extend(codes.wrong.iter().cloned().map(Finding::WrongCode));
    findings.extend(codes.shared.iter().cloned().map(Finding::SharedCode));
    findings.extend(codes.awaited.iter().cloned().map(Finding::AwaitsCode));
    findings.extend(codes.unbound.iter().cloned().map(Finding::NeverCoded));
    findings.extend(
        codes
            .bound_twice
            .iter()
            .cloned()
            .map(Finding::CodeBoundTwice),
    );
    if !seen.is_halted {
        findings.extend(codes.is_uncopied.then_some(Finding::CodesUncopied));
        findings.extend(codes.is_set_back.then_some(Finding::CodesSetBack));
    }
    let active = seen.held.keys();
    let active = active.filter(|place| seen.rows.get(*place) == Some(&true));
    for place in active {
        let [at_gate, in_table] =
            [&seen.redeemed_at_gate, &seen.redeemed_rows].map(|redeemed| redeemed.contains(place));
        match (at_gate, in_table) {
            (true, false) => findings.insert(Finding::HalfRedeemed(place.clone())),
            (false, true) => findings.insert(Finding::RedemptionLost(place.clone())),
            _ => false,
        };
    }
    for (id, (_, reason)) in &seen.failed_events {
        let (id, reason) = (*id, reason.clone());
        findings.insert(Finding::FailedEvent { id, reason });
    }
    let unpublished = seen.unpublished.keys().cloned();
    findings.extend(unpublished.map(Finding::Unpublished));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(serial: u32, user_id: &str) -> Assignment {
        Assignment {
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            applicant: user_id.parse().expect("a user id"),
        }
    }

    /// One grant that has passed through the whole system.
    fn agreed() -> Seen {
        Seen {
            held: [(place(1, "a"), true)].into(),
            in_topic: [place(1, "a")].into(),
            rows: [(place(1, "a"), true)].into(),
            quotas: [(RoundId::once(), 2)].into(),
            ..Seen::default()
        }
    }

    fn found(change: impl FnOnce(&mut Seen)) -> Vec<Finding> {
        let mut seen = agreed();
        change(&mut seen);
        findings(&seen).into_iter().collect()
    }

    #[test]
    fn what_agrees_or_is_on_its_way_is_nothing() {
        assert_eq!(found(|_| {}), []);
        let granted = (place(1, "a"), EventType::Granted);
        let still_to_come = |seen: &mut Seen| {
            seen.rows.clear();
            seen.on_the_way.insert(granted);
        };
        assert_eq!(found(still_to_come), []);
        let revoked = (place(1, "a"), EventType::Revoked);
        let being_revoked = |seen: &mut Seen| {
            seen.held.clear();
            seen.taken_back.insert(place(1, "a"));
            seen.on_the_way.insert(revoked);
        };
        assert_eq!(found(being_revoked), []);
    }

    #[test]
    fn each_disagreement_is_told_from_the_others() {
        let a = || place(1, "a");
        assert_eq!(
            found(|seen| seen.rows.clear()),
            [Finding::Missing {
                place: a(),
                in_topic: true
            }]
        );
        assert_eq!(
            found(|seen| {
                seen.held.insert(a(), false);
            }),
            [Finding::Unconfirmed(a())]
        );
        assert_eq!(
            found(|seen| {
                seen.held.clear();
                seen.taken_back.insert(a());
            }),
            [Finding::StillActive(a())]
        );
        assert_eq!(
            found(|seen| seen.free = [(a().round, a().serial)].into()),
            [Finding::HeldAndFree(a())]
        );
        assert_eq!(found(|seen| seen.held.clear()), [Finding::LostByGate(a())]);
        assert_eq!(
            found(|seen| {
                seen.rows.insert(a(), false);
            }),
            [Finding::RevokedInTable(a())]
        );
        assert_eq!(
            found(|seen| {
                seen.held.clear();
                seen.rows.insert(a(), false);
            }),
            [Finding::RevocationLostByGate(a())]
        );
        let lost = |seen: &mut Seen| seen.revoked_by_log = [a()].into();
        assert_eq!(found(lost), [Finding::RevocationLost(a())]);
        let codes = |seen: &mut Seen| {
            seen.codes.missing.insert(a());
            seen.codes.wrong.insert(a());
            seen.codes.shared.insert(a());
            seen.codes.awaited.insert(a());
            seen.codes.unbound.insert(a());
            seen.codes.bound_twice.insert(a());
            seen.codes.is_uncopied = true;
            seen.codes.is_set_back = true;
        };
        assert_eq!(
            found(codes),
            [
                Finding::NoCode(a()),
                Finding::WrongCode(a()),
                Finding::SharedCode(a()),
                Finding::AwaitsCode(a()),
                Finding::NeverCoded(a()),
                Finding::CodeBoundTwice(a()),
                Finding::CodesUncopied,
                Finding::CodesSetBack,
            ]
        );
        let half = |seen: &mut Seen| seen.redeemed_at_gate = [a()].into();
        assert_eq!(found(half), [Finding::HalfRedeemed(a())]);
        let lost = |seen: &mut Seen| seen.redeemed_rows = [a()].into();
        assert_eq!(found(lost), [Finding::RedemptionLost(a())]);
        let over = Finding::OverQuota {
            round: RoundId::once(),
            active: 1,
            quota: 0,
        };
        assert_eq!(found(|seen| seen.quotas.clear()), [over]);
    }

    #[test]
    fn a_campaign_that_gives_nothing_is_told_also_if_it_has_given_nothing_yet() {
        let of = |is_unknown, is_halted| {
            let seen = Seen {
                is_unknown,
                is_halted,
                ..Seen::default()
            };
            findings(&seen).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of(true, false), [Finding::Unknown]);
        assert_eq!(of(false, true), [Finding::Halted]);
        assert_eq!(of(false, false), []);
    }

    #[test]
    fn a_command_states_and_terms_are_told() {
        let seen = Seen {
            unfinished: Some("pause by kim".to_owned()),
            states: Some((CampaignState::Paused, CampaignState::Running)),
            terms: vec!["waitlist".to_owned()],
            ..Seen::default()
        };
        let found: Vec<String> = findings(&seen).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a command was interrupted: pause by kim",
                "the campaign is paused in the database and running at the gate",
                "waitlist",
            ]
        );
    }

    #[test]
    fn a_dead_letter_explains_what_is_missing_and_is_a_finding_itself() {
        let reason = "row_refused".to_owned();
        let failed_event = |seen: &mut Seen| {
            seen.rows.clear();
            seen.failed_events
                .insert(17, (Some(place(1, "a")), reason.clone()));
        };
        let expected = Finding::FailedEvent {
            id: 17,
            reason: reason.clone(),
        };
        assert_eq!(found(failed_event), [expected]);
        let unpublished = |seen: &mut Seen| {
            seen.rows.clear();
            let id = "welcome/5-0".to_owned();
            seen.unpublished.insert(id, Some(place(1, "a")));
        };
        assert_eq!(
            found(unpublished),
            [Finding::Unpublished("welcome/5-0".to_owned())]
        );
    }

    #[test]
    fn what_could_not_be_seen_makes_no_finding() {
        let granted = (place(1, "a"), false);
        let no_topic = |seen: &mut Seen| {
            seen.is_partial = true;
            seen.rows.clear();
            seen.held = [granted].into();
        };
        assert_eq!(found(no_topic), [], "its record may be in Kafka");
        let no_gate = |seen: &mut Seen| {
            seen.is_partial = true;
            seen.held.clear();
        };
        assert_eq!(found(no_gate), [], "the gate may hold it");
        // A contradiction is certain even if some servers did not answer.
        let contradiction = |seen: &mut Seen| {
            seen.is_partial = true;
            seen.rows = [(place(1, "a"), false)].into();
        };
        assert_eq!(
            found(contradiction),
            [Finding::RevokedInTable(place(1, "a"))]
        );
    }
}
