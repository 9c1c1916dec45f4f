//! Compares what gate and table say about the pool codes of a campaign.

use super::findings::CodeProblems;
use crate::codes::digest;
use crate::database::Database;
use crate::gate::Gate;
use crate::servers::Servers;
use rushgate_gate::load_codes::{CodeCounts, MAX_CODES};
use rushgate_gate::{Assignment, CampaignId, Ordinal, PoolCode};
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of the codes of grants; `None` where there is none.
pub(super) type Numbers = BTreeMap<Assignment, Option<Ordinal>>;

/// Reads the codes, and compares them and these numbers: of grants at the gate, and of rows. `rows` has each row's number
/// and whether it is active. Read last, because numbers that are taken meanwhile are no problem.
pub(super) async fn pool_problems(
    servers: &mut Servers,
    id: &CampaignId,
    held: &Numbers,
    rows: &BTreeMap<Assignment, (Option<Ordinal>, bool)>,
) -> CodeProblems {
    let what = format!("the codes of campaign {id} at the gate");
    let at_gate = async |gate: &mut Gate| {
        let counts = gate.code_counts(id).await?;
        let page = async |after: u32| gate.codes(id, after + 1, MAX_CODES).await;
        Ok((counts, digest(page).await?))
    };
    let at_gate = servers.gate(&what, at_gate).await;
    let what = format!("the codes of campaign {id}");
    let in_table = async |database: &mut Database| {
        let loaded = database.pool_size(id).await?.loaded;
        let page = async |after: u32| {
            let codes = database.pool_codes(id, after, MAX_CODES).await?.into_iter();
            anyhow::Ok(codes.map(PoolCode::into_text).collect())
        };
        Ok((loaded, digest(page).await?))
    };
    let in_table = servers.database(&what, in_table).await;
    let (Some((Some(counts), here)), Some((loaded, there))) = (at_gate, in_table) else {
        return CodeProblems::default();
    };
    CodeProblems {
        is_uncopied: here != there,
        ..problems(held, rows, CodeCounts { loaded, ..counts })
    }
}

fn problems(
    held: &Numbers,
    rows: &BTreeMap<Assignment, (Option<Ordinal>, bool)>,
    counts: CodeCounts,
) -> CodeProblems {
    let mut problems = CodeProblems::default();
    let mut holders: BTreeMap<Ordinal, &Assignment> = BTreeMap::new();
    for (place, number) in held {
        let row = rows.get(place).filter(|(_, active)| *active);
        let Some(number) = *number else {
            problems.unbound.insert(place.clone());
            continue;
        };
        match row {
            Some((None, _)) => {
                problems.missing.insert(place.clone());
            }
            Some((Some(other), _)) if *other != number => {
                problems.wrong.insert(place.clone());
            }
            _ => {}
        }
        if number.get() > counts.loaded {
            problems.awaited.insert(place.clone());
        }
        if let Some(other) = holders.insert(number, place) {
            problems.bound_twice.extend([place.clone(), other.clone()]);
        }
    }
    let of_rows = rows.values().filter_map(|(number, _)| *number);
    let numbers: BTreeSet<Ordinal> = of_rows.chain(holders.into_keys()).collect();
    let highest = numbers.last().map_or(0, |number| number.get());
    problems.is_set_back = counts.taken < highest;
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use rushgate_gate::RoundId;

    fn place(serial: u32) -> Assignment {
        Assignment {
            round: RoundId::once(),
            serial: serial.try_into().expect("a serial"),
            applicant: format!("user-{serial}").parse().expect("a user id"),
        }
    }

    fn number(number: u32) -> Option<Ordinal> {
        Ordinal::try_from(number).ok()
    }

    #[test]
    fn each_problem_is_told_from_the_others() {
        let counts = CodeCounts {
            loaded: 3,
            taken: 3,
        };
        let held: Numbers = [(place(1), number(1)), (place(2), number(3))].into();
        // Serial 2 was revoked once: its first holder had code 2.
        let revoked = Assignment {
            applicant: "before".parse().expect("a user id"),
            ..place(2)
        };
        let rows: BTreeMap<_, _> = [
            (place(1), (number(1), true)),
            (revoked, (number(2), false)),
            (place(2), (number(3), true)),
        ]
        .into();
        let found = |change: &dyn Fn(&mut Numbers, &mut BTreeMap<_, _>, &mut CodeCounts)| {
            let (mut held, mut rows, mut counts) = (held.clone(), rows.clone(), counts);
            change(&mut held, &mut rows, &mut counts);
            problems(&held, &rows, counts)
        };
        let one: BTreeSet<_> = [place(1)].into();
        assert_eq!(found(&|_, _, _| {}), CodeProblems::default());
        let missing = found(&|_, rows, _| {
            rows.insert(place(1), (None, true));
        });
        assert_eq!(
            missing,
            CodeProblems {
                missing: one.clone(),
                ..CodeProblems::default()
            }
        );
        let wrong = found(&|_, rows, _| {
            rows.insert(place(1), (number(9), true));
        });
        assert_eq!(wrong.wrong, one);
        let unbound = found(&|held, _, _| {
            held.insert(place(1), None);
        });
        assert_eq!(
            unbound,
            CodeProblems {
                unbound: one,
                ..CodeProblems::default()
            }
        );
        let awaited = found(&|_, _, counts| counts.loaded = 2);
        assert_eq!(
            awaited,
            CodeProblems {
                awaited: [place(2)].into(),
                ..CodeProblems::default()
            }
        );
        let set_back = found(&|_, _, counts| counts.taken = 2);
        assert_eq!(
            set_back,
            CodeProblems {
                is_set_back: true,
                ..CodeProblems::default()
            }
        );
        let twice = found(&|held, rows, _| {
            held.insert(place(2), number(1));
            rows.insert(place(2), (number(1), true));
        });
        let both = [place(1), place(2)].into();
        assert_eq!(
            twice,
            CodeProblems {
                bound_twice: both,
                ..CodeProblems::default()
            }
        );
    }
}
