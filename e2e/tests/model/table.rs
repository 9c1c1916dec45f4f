//! Models the table. [`plan`] orders the rows of a batch, and [`judge`] decides about collisions; both are the
//! consumer's real code. The model does not enforce the unique keys: a property checks that they would have held.

use crate::gate::Grant;
use rushgate_consumer::rejection::Rival;
use rushgate_consumer::table::judge::{ExistingRow, JudgeVerdict, judge};
use rushgate_consumer::table::plan::{Planned, RoundInForce, Step, plan};
use rushgate_gate::{Codes, Event, EventType, Millis, OnePer, Ordinal, Quota, RoundId, Serial};
use std::collections::BTreeSet;

/// Coupons and dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    rows: BTreeSet<Row>,
    failed: BTreeSet<Grant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Row {
    grant: Grant,
    active: bool,
}

impl Table {
    /// One transaction. For each grant, the grant that has its row now: itself, or the one that stood in its way. With
    /// `ignore`, collisions are ignored silently, as INSERT IGNORE does.
    pub(crate) fn write(
        &mut self,
        grants: &[Grant],
        quota: u8,
        ignore: bool,
    ) -> Vec<Option<Grant>> {
        let events: Vec<Event> = grants.iter().map(|grant| event(*grant)).collect();
        let round = RoundInForce {
            quota: Quota::try_from(u32::from(quota)).expect("a quota"),
            one_per: OnePer::Campaign,
            codes: Codes::None,
        };
        let planned = events.iter().enumerate().map(|(place, event)| Planned {
            place,
            event,
            round,
            code: None,
        });
        let plan = plan(planned);
        let mut have_rows = vec![None; grants.len()];
        for step in plan.steps {
            let Step::Grants(step) = step else { continue };
            for planned in step {
                let place = planned.place;
                have_rows[place] = self.insert(planned.event, grants[place], quota, ignore);
            }
        }
        for (place, first) in plan.repeats {
            have_rows[place] = have_rows[first];
        }
        have_rows
    }

    fn insert(&mut self, event: &Event, grant: Grant, quota: u8, ignore: bool) -> Option<Grant> {
        if grant.serial > quota {
            self.failed.insert(grant);
            return None;
        }
        let of_serial: Vec<ExistingRow> = self
            .rows
            .iter()
            .filter(|row| row.grant.serial == grant.serial)
            .map(met)
            .collect();
        let of_person = self
            .rows
            .iter()
            .find(|row| row.active && row.grant.person == grant.person)
            .map(met);
        match judge(event, &of_serial, of_person.as_ref()) {
            JudgeVerdict::AlreadyInserted
            | JudgeVerdict::AlreadyRevoked
            | JudgeVerdict::Fill(_) => Some(grant),
            JudgeVerdict::Insert {
                supersedes,
                revoked_at,
            } => {
                for id in supersedes {
                    let rows = std::mem::take(&mut self.rows);
                    self.rows = rows
                        .into_iter()
                        .map(|row| Row {
                            active: row.active && met(&row).id != id,
                            ..row
                        })
                        .collect();
                }
                self.rows.insert(Row {
                    grant,
                    active: revoked_at.is_none(),
                });
                Some(grant)
            }
            // With IGNORE, the consumer takes the row for written.
            JudgeVerdict::Rejected(_) if ignore => Some(grant),
            JudgeVerdict::Rejected(refusal) => {
                self.failed.insert(grant);
                refusal.rival.map(granted)
            }
        }
    }

    /// The grants that hold a coupon.
    pub(crate) fn coupons(&self) -> impl Iterator<Item = Grant> {
        self.rows
            .iter()
            .filter(|row| row.active)
            .map(|row| row.grant)
    }

    /// Whether the grant has a row.
    pub(crate) fn has_row(&self, grant: Grant) -> bool {
        self.rows.iter().any(|row| row.grant == grant)
    }

    /// Whether the grant is a dead letter that an operator can see.
    pub(crate) fn is_dead_letter(&self, grant: Grant) -> bool {
        self.failed.contains(&grant)
    }
}

fn granted(rival: Rival) -> Grant {
    Grant {
        serial: u8::try_from(rival.serial.get()).expect("a serial of ours"),
        person: rival.applicant.as_str().parse().expect("a person of ours"),
    }
}

fn met(row: &Row) -> ExistingRow {
    let Grant { serial, person } = row.grant;
    ExistingRow {
        id: u64::from(serial) << 8 | u64::from(person),
        round: RoundId::once().to_string(),
        serial: u32::from(serial),
        user_id: person.to_string(),
        active: row.active,
        turn: Ordinal::FIRST,
        win: Ordinal::FIRST,
        granted_at: Some(at()),
    }
}

fn event(grant: Grant) -> Event {
    Event {
        event_type: EventType::Granted,
        campaign: "welcome".parse().expect("a campaign"),
        round: RoundId::once(),
        serial: Serial::try_from(u32::from(grant.serial)).expect("a serial"),
        turn: Ordinal::FIRST,
        applicant: grant.person.to_string().parse().expect("an applicant"),
        win: Ordinal::FIRST,
        code_number: None,
        at: at(),
    }
}

fn at() -> Millis {
    Millis::try_from(1_796_086_800_123).expect("an instant")
}
