//! Whether gate, stream, topic, tables and dead letters agree: a pure function over what was seen of them.

use rushgate_gate::{EventType, Place, RoundId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What was seen of one campaign. The order in which these were looked at is the order in which a grant passes
/// through them, so that one which moves on meanwhile is seen at least once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether the gate, which was told of the campaign, does not know it.
    pub is_unknown: bool,
    /// Whether gate or database say that it is halted.
    pub is_halted: bool,
    /// What the gate says is held, and whether it knows the coupon to be committed.
    pub held: BTreeMap<Place, bool>,
    /// What the gate says was taken back.
    pub taken_back: BTreeSet<Place>,
    /// In the stream, or in Kafka and not committed yet.
    pub on_the_way: BTreeSet<(Place, EventType)>,
    /// In Kafka, whether committed or not.
    pub in_topic: BTreeSet<Place>,
    /// Rows, and whether they are active.
    pub rows: BTreeMap<Place, bool>,
    /// Open dead letters of the consumer, by number: what they are about, and why.
    pub letters: BTreeMap<u64, (Option<Place>, String)>,
    /// Open dead letters of the bridge, by entry id: what they are about.
    pub unpublished: BTreeMap<String, Option<Place>>,
    /// Quotas, as the database has them.
    pub quotas: BTreeMap<RoundId, u32>,
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The gate was told of the campaign and does not know it.
    Unknown,
    /// The campaign is halted.
    Halted,
    /// The gate holds it, and there is neither a row, nor anything on the way, nor a dead letter.
    Missing {
        /// What.
        place: Place,
        /// Whether Kafka had it.
        was_in_topic: bool,
    },
    /// It has its row, and the gate does not know.
    Unconfirmed(Place),
    /// The gate has taken it back, the row is still active, and nothing is on the way.
    StillActive(Place),
    /// The row is active, and the gate has never heard of the grant.
    LostByGate(Place),
    /// The gate holds it, and the row says that it was taken back.
    RevokedInTable(Place),
    /// More coupons than the round has.
    OverQuota {
        /// The round.
        round: RoundId,
        /// Active rows.
        active: u32,
        /// Its quota.
        quota: u32,
    },
    /// A dead letter of the consumer is open.
    Letter {
        /// Its number.
        id: u64,
        /// Why.
        reason: String,
    },
    /// A dead letter of the bridge is open.
    Unpublished(String),
}

/// Everything that does not agree, in a fixed order.
pub fn findings(seen: &Seen) -> BTreeSet<Finding> {
    let mut findings = BTreeSet::new();
    if seen.is_unknown {
        findings.insert(Finding::Unknown);
    }
    if seen.is_halted {
        findings.insert(Finding::Halted);
    }
    let letters = seen
        .letters
        .values()
        .filter_map(|(place, _)| place.as_ref());
    let unpublished = seen.unpublished.values().filter_map(Option::as_ref);
    let dead: BTreeSet<&Place> = letters.chain(unpublished).collect();
    let on_the_way = |place: &Place, what| seen.on_the_way.contains(&(place.clone(), what));

    for (place, issued) in &seen.held {
        let finding = match seen.rows.get(place) {
            Some(true) if *issued => None,
            Some(true) if on_the_way(place, EventType::Granted) => None,
            Some(true) => Some(Finding::Unconfirmed(place.clone())),
            Some(false) => Some(Finding::RevokedInTable(place.clone())),
            None if on_the_way(place, EventType::Granted) || dead.contains(place) => None,
            None => Some(Finding::Missing {
                place: place.clone(),
                was_in_topic: seen.in_topic.contains(place),
            }),
        };
        findings.extend(finding);
    }
    let mut active: BTreeMap<&RoundId, u32> = BTreeMap::new();
    for (place, is_active) in &seen.rows {
        if !is_active {
            continue;
        }
        *active.entry(&place.round).or_default() += 1;
        if seen.held.contains_key(place) || on_the_way(place, EventType::Revoked) {
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
    for (id, (_, reason)) in &seen.letters {
        let (id, reason) = (*id, reason.clone());
        findings.insert(Finding::Letter { id, reason });
    }
    let unpublished = seen.unpublished.keys().cloned();
    findings.extend(unpublished.map(Finding::Unpublished));
    findings
}

impl Finding {
    /// What to do about it, beyond `--repair`.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "--repair puts it back on the stream",
            Self::Unconfirmed(_) => "--repair confirms it",
            Self::StillActive(_) => "--repair puts the revocation back on the stream",
            Self::Unknown => "Redis has lost it: `rushgate restore`",
            Self::Halted => "Redis has lost grants: `rushgate restore`",
            Self::LostByGate(_) => "Redis has lost grants: `rushgate restore --halt`",
            Self::RevokedInTable(_) => {
                "gate and table contradict each other: `rushgate coupon find` shows both"
            }
            Self::OverQuota { .. } => {
                "the table's keys do not allow that: were they changed by hand?"
            }
            Self::Letter { .. } | Self::Unpublished(_) => "`rushgate failed show` tells more",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the gate does not know the campaign"),
            Self::Halted => f.write_str("the campaign is halted, and gives nothing"),
            Self::Missing {
                place,
                was_in_topic,
            } => {
                let seen = if *was_in_topic {
                    "was in Kafka"
                } else {
                    "was never seen in Kafka"
                };
                write!(
                    f,
                    "{} is held at the gate, {seen}, and has no row",
                    shown(place)
                )
            }
            Self::Unconfirmed(place) => {
                write!(f, "{} has its row, and the gate was not told", shown(place))
            }
            Self::StillActive(place) => {
                write!(
                    f,
                    "{} was taken back at the gate, and its row is active",
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
            Self::OverQuota {
                round,
                active,
                quota,
            } => write!(
                f,
                "round {round} has {active} active coupons for a quota of {quota}"
            ),
            Self::Letter { id, reason } => write!(f, "dead letter {id} is open: {reason}"),
            Self::Unpublished(id) => write!(f, "dead letter {id} of the bridge is open"),
        }
    }
}

fn shown(place: &Place) -> String {
    format!("{}/{} of {}", place.round, place.serial, place.applicant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(serial: u32, user_id: &str) -> Place {
        Place {
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            applicant: user_id.parse().expect("a user id"),
        }
    }

    /// One grant that has come all the way.
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
                was_in_topic: true
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
        assert_eq!(found(|seen| seen.held.clear()), [Finding::LostByGate(a())]);
        assert_eq!(
            found(|seen| {
                seen.rows.insert(a(), false);
            }),
            [Finding::RevokedInTable(a())]
        );
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
    fn a_dead_letter_explains_what_is_missing_and_is_a_finding_itself() {
        let reason = "row_refused".to_owned();
        let letter = |seen: &mut Seen| {
            seen.rows.clear();
            seen.letters
                .insert(17, (Some(place(1, "a")), reason.clone()));
        };
        let expected = Finding::Letter {
            id: 17,
            reason: reason.clone(),
        };
        assert_eq!(found(letter), [expected]);
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
}
