//! Groups findings for the report. Similar findings share a line.

use super::finding::{Finding, shown};
use crate::dead_letter::UNPUBLISHED;
use rushgate_gate::CampaignId;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::mem::discriminant;

/// A finding, or several similar ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) kind: &'static str,
    pub(super) count: usize,
    /// The first of them, in words.
    pub(super) message: String,
    /// The others.
    #[serde(skip)]
    pub(super) also: String,
    pub(super) advice: String,
    /// The command that helps.
    pub(super) command: Option<String>,
    /// Whether `--repair` puts it right.
    pub(super) repairable: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {}", self.message, self.also, self.advice)
    }
}

/// One line for each finding; similar findings share a line, unless `all` are requested.
pub(super) fn lines(campaign: &CampaignId, found: &BTreeSet<Finding>, all: bool) -> Vec<Line> {
    let mut groups: Vec<Vec<&Finding>> = vec![];
    for finding in found {
        let group = groups.iter_mut().find(|group| {
            let first = group.first();
            !all && first.is_some_and(|first| are_alike(first, finding))
        });
        match group {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    let groups = groups.iter();
    groups
        .filter_map(|group| {
            let (first, others) = group.split_first()?;
            let more = match others {
                [] => String::new(),
                [second] => format!("; also {}", subject(second)),
                [second, rest @ ..] => format!(
                    "; also {} and {} more ({} in all)",
                    subject(second),
                    rest.len(),
                    group.len()
                ),
            };
            let list = match others {
                [_, _, ..] => format!("; `{}` lists them", list(campaign, first)),
                _ => String::new(),
            };
            Some(Line {
                kind: first.kind(),
                count: group.len(),
                message: first.to_string(),
                also: more,
                advice: format!("{}{list}", first.advice()),
                command: first.command(campaign),
                repairable: first.is_repairable(),
            })
        })
        .collect()
}

/// Whether two findings differ only in the grant that they are about.
fn are_alike(one: &Finding, other: &Finding) -> bool {
    match (one, other) {
        (
            Finding::Missing { in_topic: one, .. },
            Finding::Missing {
                in_topic: other, ..
            },
        ) => one == other,
        (Finding::FailedEvent { reason: one, .. }, Finding::FailedEvent { reason: other, .. }) => {
            one == other
        }
        (Finding::OverQuota { .. } | Finding::Terms(_) | Finding::Miscount(_), _) => false,
        _ => discriminant(one) == discriminant(other),
    }
}

fn subject(finding: &Finding) -> String {
    match finding {
        Finding::Missing { place, .. }
        | Finding::Unconfirmed(place)
        | Finding::StillActive(place)
        | Finding::LostByGate(place)
        | Finding::RevokedInTable(place)
        | Finding::RevocationLostByGate(place)
        | Finding::RevocationLost(place)
        | Finding::HeldAndFree(place)
        | Finding::NoCode(place)
        | Finding::WrongCode(place)
        | Finding::SharedCode(place)
        | Finding::AwaitsCode(place)
        | Finding::NeverCoded(place)
        | Finding::CodeBoundTwice(place)
        | Finding::HalfRedeemed(place)
        | Finding::RedemptionLost(place)
        | Finding::Discarded(place) => shown(place),
        Finding::Unreadable(entry) => entry.clone(),
        Finding::FailedEvent { id, .. } => id.to_string(),
        Finding::Unpublished(id) => id.clone(),
        Finding::Unknown | Finding::Halted | Finding::HaltedHere => finding.to_string(),
        Finding::CodesUncopied | Finding::CodesSetBack => finding.to_string(),
        Finding::OverQuota { .. } | Finding::Unfinished(_) => finding.to_string(),
        Finding::State { .. } | Finding::Terms(_) | Finding::Miscount(_) => finding.to_string(),
    }
}

/// The command that lists all similar findings.
fn list(campaign: &CampaignId, finding: &Finding) -> String {
    let failed =
        |reason: &str| format!("rushgate failed list --campaign {campaign} --reason {reason}");
    match finding {
        Finding::FailedEvent { reason, .. } => failed(reason),
        Finding::Unpublished(_) => failed(UNPUBLISHED),
        _ => format!("rushgate audit {campaign} --all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::{Assignment, RoundId};

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.iter().map(Line::to_string).collect()
    }

    fn missing(serial: u32, in_topic: bool) -> Finding {
        let place = Assignment {
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            applicant: "a".parse().expect("a user id"),
        };
        Finding::Missing { place, in_topic }
    }

    #[test]
    fn findings_that_are_alike_are_counted_with_two_examples() {
        let campaign: CampaignId = "launch".parse().expect("an id");
        let failed_event = |id: u64, reason: &str| Finding::FailedEvent {
            id,
            reason: reason.to_owned(),
        };
        let mut found: BTreeSet<Finding> =
            (1..=100).map(|id| failed_event(id, "over_quota")).collect();
        found.insert(failed_event(101, "undecodable"));
        found.extend([missing(1, false), missing(2, false)]);
        assert_eq!(
            texts(lines(&campaign, &found, false)),
            [
                "once/1 of a is held at the gate and has no row: it has left the stream, and Kafka holds no record of \
                 it now; also once/2 of a: --repair puts it back on the stream",
                "dead letter 1 is open: over_quota; also 2 and 98 more (100 in all): `rushgate failed show` shows it; \
                 `rushgate failed list --campaign launch --reason over_quota` lists them",
                "dead letter 101 is open: undecodable: `rushgate failed show` shows it",
            ]
        );
        assert_eq!(lines(&campaign, &found, true).len(), 103);
    }

    #[test]
    fn what_is_known_of_kafka_is_not_mixed() {
        let campaign: CampaignId = "launch".parse().expect("an id");
        let found = [missing(1, false), missing(2, true), missing(3, true)].into();
        let said = texts(lines(&campaign, &found, false));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[1].contains("the consumers have committed past it; also once/3 of a: "));
    }
}
