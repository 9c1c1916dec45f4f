//! Splits a batch into steps. The events of one step do not depend on each other, so they may be written in any order;
//! the steps are written one after the other. All functions are pure.

use rushgate_gate::{
    Applicant, CampaignId, Codes, CouponCode, Event, EventType, OnePer, Ordinal, Quota, RoundId,
    Serial,
};
use std::collections::{HashMap, HashSet};

/// A round's terms from the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundInForce {
    pub quota: Quota,
    pub one_per: OnePer,
    /// Of the campaign.
    pub codes: Codes,
}

/// An event that may be written, and the place of its record in the batch.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub place: usize,
    pub event: &'a Event,
    pub round: RoundInForce,
    /// The signed code of its row.
    pub code: Option<CouponCode>,
}

/// One step. Its events may be written in any order, because they are independent of each other.
#[derive(Debug)]
pub enum Step<'a> {
    /// Insert these grants. No two of them have the same serial or person.
    Grants(Vec<Planned<'a>>),
    /// Revoke this coupon.
    Revoke(Planned<'a>),
}

/// The steps of a batch, and the records that share the outcome of another record.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// In the order in which they must be written.
    pub steps: Vec<Step<'a>>,
    /// Places of repeated grants, each with the place of the first one in the same step.
    pub repeats: Vec<(usize, usize)>,
}

impl<'a> Planned<'a> {
    /// The scope within which a person may win once: the round, or `""` for the whole campaign.
    pub fn person_scope(&self) -> &'a str {
        match self.round.one_per {
            OnePer::Campaign => "",
            OnePer::Round => self.event.round.as_str(),
        }
    }

    /// The number of the code of its row, in a campaign with pool codes.
    pub(crate) fn code_number(&self) -> Option<u32> {
        let number = self.event.code_number.map(Ordinal::get);
        number.filter(|_| self.round.codes == Codes::Pool)
    }
}

/// Splits events, in the order in which they were read, into steps.
///
/// A step ends before an event that would collide with one in it. So each event is judged by the rows in the
/// database after everything before it was written, and never by rows that are still to be written.
pub fn plan<'a>(events: impl IntoIterator<Item = Planned<'a>>) -> Plan<'a> {
    let events = events.into_iter();
    let most = events.size_hint().0;
    let mut plan = Plan::default();
    let mut grants: Vec<Planned<'a>> = Vec::with_capacity(most);
    let mut serials: HashMap<(&CampaignId, &RoundId, Serial), (usize, &Applicant)> =
        HashMap::with_capacity(most);
    let mut people: HashSet<(&CampaignId, &str, &Applicant)> = HashSet::with_capacity(most);
    for planned in events {
        let event = planned.event;
        let serial = (&event.campaign, &event.round, event.serial);
        let person = (&event.campaign, planned.person_scope(), &event.applicant);
        if event.event_type == EventType::Granted {
            let holder = serials.get(&serial).copied();
            if let Some((first, _)) = holder.filter(|(_, holder)| *holder == &event.applicant) {
                plan.repeats.push((planned.place, first));
                continue;
            }
            if holder.is_none() && !people.contains(&person) {
                serials.insert(serial, (planned.place, &event.applicant));
                people.insert(person);
                grants.push(planned);
                continue;
            }
        }
        if !grants.is_empty() {
            plan.steps.push(Step::Grants(std::mem::take(&mut grants)));
            serials.clear();
            people.clear();
        }
        if event.event_type == EventType::Granted {
            serials.insert(serial, (planned.place, &event.applicant));
            people.insert(person);
            grants.push(planned);
        } else {
            plan.steps.push(Step::Revoke(planned));
        }
    }
    if !grants.is_empty() {
        plan.steps.push(Step::Grants(grants));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::model::{Table, history};
    use proptest::prelude::*;

    /// The model of the table, and the outcome of each event.
    struct Rows {
        table: Table,
        outcomes: HashMap<usize, &'static str>,
    }

    impl Rows {
        fn new(one_per: OnePer) -> Self {
            Self {
                table: Table::new(one_per),
                outcomes: HashMap::new(),
            }
        }

        fn take(&mut self, planned: &Planned<'_>) {
            let outcome = self.table.take(planned.event);
            self.outcomes.insert(planned.place, outcome);
        }
    }

    proptest! {
        /// Written step by step, in any order within a step, a batch has the same result as event by event.
        #[test]
        fn the_steps_do_what_the_events_do(
            one_per in prop_oneof![Just(OnePer::Campaign), Just(OnePer::Round)],
            moves in prop::collection::vec((0u8..8, 0u8..5), 0..40), order: prop::sample::Index, seed: u64,
        ) {
            let mut events = history(one_per, &moves);
            events.extend(events.clone());
            let turn = order.index(events.len().max(1));
            events.rotate_left(turn);
            let round = RoundInForce { quota: Quota::try_from(100u32).expect("a quota"), one_per, codes: Codes::None };
            let planned = || {
                let events = events.iter().enumerate();
                events.map(|(place, event)| Planned { place, event, round, code: None })
            };
            let (mut expected, mut rows) = (Rows::new(one_per), Rows::new(one_per));
            planned().for_each(|planned| expected.take(&planned));
            let plan = plan(planned());
            for step in plan.steps {
                match step {
                    Step::Grants(mut grants) => {
                        let turn = usize::try_from(seed % grants.len() as u64).expect("small");
                        grants.rotate_left(turn);
                        grants.iter().for_each(|planned| rows.take(planned));
                    }
                    Step::Revoke(planned) => rows.take(&planned),
                }
            }
            for (place, first) in plan.repeats {
                let outcome = match rows.outcomes[&first] { "inserted" => "done", other => other };
                rows.outcomes.insert(place, outcome);
            }
            prop_assert_eq!(rows.outcomes, expected.outcomes);
            prop_assert_eq!(rows.table.contents(), expected.table.contents());
        }
    }
}
