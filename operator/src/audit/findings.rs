//! Compares what was read from gate, stream, topic, tables and dead letters, and returns a finding for each
//! disagreement. A pure function.

use crate::terms::{Campaign, window};
use rushgate_gate::balance::Miscount;
use rushgate_gate::projection::Projection;
use rushgate_gate::{Assignment, CampaignState, EventType, RoundId, Serial};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The gate does not know the campaign, although it was projected.
    Unknown,
    Halted,
    /// The campaign is halted in the database, but the gate still grants.
    HaltedHere,
    /// A command was begun and not finished.
    Unfinished(String),
    /// The gate has a grant or a free serial that cannot be parsed.
    Unreadable(String),
    /// A counter of the gate differs from what the gate stores.
    Miscount(Miscount),
    /// The gate would give out a serial that an applicant holds.
    HeldAndFree(Assignment),
    /// Database and gate have different states.
    State {
        database: CampaignState,
        gate: CampaignState,
    },
    /// Database and gate have different terms.
    Terms(String),
    /// The gate holds the grant, but it has no row, no event on its way and no dead letter.
    Missing {
        place: Assignment,
        /// The topic still has its record.
        in_topic: bool,
    },
    /// The gate holds the grant, but an operator has discarded its dead letter.
    Discarded(Assignment),
    /// The row is committed, but the gate does not know it.
    Unconfirmed(Assignment),
    /// The gate has revoked the grant, but its row is still active and no event is on its way.
    StillActive(Assignment),
    /// The row is active, but the gate has no such grant.
    LostByGate(Assignment),
    /// The gate holds the grant, but its row is revoked.
    RevokedInTable(Assignment),
    /// The row is revoked, but the gate has no such grant.
    RevocationLostByGate(Assignment),
    /// The gate holds the grant, and only the log says that it was revoked.
    RevocationLost(Assignment),
    /// The round has more active coupons than its quota.
    OverQuota {
        round: RoundId,
        active: u32,
        quota: u32,
    },
    /// A dead letter of the consumer is open.
    FailedEvent {
        id: u64,
        reason: String,
    },
    /// A dead letter of the bridge is open.
    Unpublished(String),
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
    for (id, (_, reason)) in &seen.failed_events {
        let (id, reason) = (*id, reason.clone());
        findings.insert(Finding::FailedEvent { id, reason });
    }
    let unpublished = seen.unpublished.keys().cloned();
    findings.extend(unpublished.map(Finding::Unpublished));
    findings
}

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

impl Finding {
    /// Whether a command was interrupted.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Unfinished(_))
    }

    /// Whether `--repair` can put it right.
    pub fn is_repairable(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Unconfirmed(_) | Self::StillActive(_) => true,
            Self::Unfinished(_) | Self::State { .. } | Self::Terms(_) => true,
            Self::HaltedHere => true,
            Self::Discarded(_) | Self::Unreadable(_) => false,
            Self::Miscount(_) | Self::HeldAndFree(_) => false,
            Self::Unknown | Self::Halted | Self::LostByGate(_) => false,
            Self::RevokedInTable(_) | Self::RevocationLostByGate(_) => false,
            Self::RevocationLost(_) => false,
            Self::OverQuota { .. } | Self::FailedEvent { .. } | Self::Unpublished(_) => false,
        }
    }

    /// What to do about it, besides `--repair`.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "--repair puts it back on the stream",
            Self::Discarded(_) => "`rushgate revoke` gives its serial back",
            Self::Unconfirmed(_) => "--repair confirms it",
            Self::StillActive(_) => "--repair puts the revocation back on the stream",
            Self::Unknown => "Redis has lost it: `rushgate restore`",
            Self::Halted => "Redis has lost grants: `rushgate restore`",
            Self::Unfinished(_) => "--repair finishes it, and so does `rushgate campaign finish`",
            Self::State { .. } => "--repair sets the gate to the state in the database",
            Self::Terms(_) => {
                "--repair gives the gate the terms of the database, raised to what the gate has granted"
            }
            Self::HaltedHere => "--repair halts the gate; then run `rushgate restore`",
            Self::Unreadable(_) => "`rushgate restore --halt` rebuilds the gate without it",
            Self::Miscount(_) | Self::HeldAndFree(_) => {
                "Redis has lost data: `rushgate restore --halt` rebuilds it"
            }
            Self::LostByGate(_) => "Redis has lost grants: `rushgate restore --halt`",
            Self::RevokedInTable(_) | Self::RevocationLostByGate(_) => {
                "Redis has lost a revocation: `rushgate restore --halt`"
            }
            Self::RevocationLost(_) => {
                "Redis has lost the revocation: `rushgate revoke` revokes it again"
            }
            Self::OverQuota { .. } => {
                "the table's keys do not allow that: were they changed by hand?"
            }
            Self::FailedEvent { .. } | Self::Unpublished(_) => "`rushgate failed show` shows it",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the gate does not know the campaign"),
            Self::Halted => f.write_str("the campaign is halted and grants nothing"),
            Self::HaltedHere => {
                f.write_str("the campaign is halted in the database, and the gate still grants")
            }
            Self::Unfinished(what) => write!(f, "a command was interrupted: {what}"),
            Self::Unreadable(entry) => write!(f, "the gate's entry {entry} cannot be parsed"),
            Self::Miscount(miscount) => miscount.fmt(f),
            Self::HeldAndFree(place) => {
                write!(
                    f,
                    "{} is held, and also free to be given again",
                    shown(place)
                )
            }
            Self::State { database, gate } => {
                write!(
                    f,
                    "the campaign is {database} in the database and {gate} at the gate"
                )
            }
            Self::Terms(difference) => f.write_str(difference),
            Self::Missing { place, in_topic } => {
                // An event that left the stream reached Kafka, unless Redis lost it or it was deleted by hand; Kafka drops
                // records after the topic's retention.
                let kafka = if *in_topic {
                    "its record is in Kafka, and the consumers have committed past it"
                } else {
                    "it has left the stream, and Kafka holds no record of it now"
                };
                write!(
                    f,
                    "{} is held at the gate and has no row: {kafka}",
                    shown(place)
                )
            }
            Self::Discarded(place) => write!(
                f,
                "{} is held at the gate, and its dead letter was discarded",
                shown(place)
            ),
            Self::Unconfirmed(place) => {
                write!(
                    f,
                    "{} has a committed row that the gate does not know of",
                    shown(place)
                )
            }
            Self::RevocationLost(place) => write!(
                f,
                "{} is held at the gate, although the log says that it was revoked",
                shown(place)
            ),
            Self::StillActive(place) => {
                write!(
                    f,
                    "{} is revoked at the gate, and its row is active",
                    shown(place)
                )
            }
            Self::LostByGate(place) => {
                write!(
                    f,
                    "{} has an active row, and the gate does not know it",
                    shown(place)
                )
            }
            Self::RevokedInTable(place) => {
                write!(
                    f,
                    "{} is held at the gate, and its row is revoked",
                    shown(place)
                )
            }
            Self::RevocationLostByGate(place) => {
                write!(
                    f,
                    "{} has a revoked row, and the gate does not know it",
                    shown(place)
                )
            }
            Self::OverQuota {
                round,
                active,
                quota,
            } => write!(
                f,
                "round {round} has {active} active coupons for a quota of {quota}"
            ),
            Self::FailedEvent { id, reason } => write!(f, "dead letter {id} is open: {reason}"),
            Self::Unpublished(id) => write!(f, "dead letter {id} of the bridge is open"),
        }
    }
}

pub(super) fn shown(place: &Assignment) -> String {
    format!("{}/{} of {}", place.round, place.serial, place.applicant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{OnePer, Round, Terms, UserIds};

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
        };
        let campaign = Campaign {
            id: "c".parse().expect("an id"),
            state: CampaignState::Running,
            terms: terms(1, UserIds::Numeric),
            daily: None,
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
        projection.terms = Some(terms(2, UserIds::Unstated));
        projection.rounds = vec![(round("b", 25), 9), (round("c", 5), 0)];
        assert_eq!(
            differing_terms(&campaign, &projection),
            [
                "waitlist: 1 in the database, 2 at the gate",
                "user ids: numeric in the database, unstated at the gate",
                "round a: opens now, closes never in the database, none at the gate",
                "quota of round b: 5 in the database, 25 at the gate",
                "round c: none in the database, opens now, closes never at the gate",
            ]
        );
        projection.terms = None;
        assert_eq!(differing_terms(&campaign, &projection), [""; 0]);
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
