//! The pipeline as `stateright` wants it, and the search through all of its states.

use crate::pipeline::{Action, Pipeline, State};
use crate::properties;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeMap;

impl Model for Pipeline {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.work(state, actions);
        self.faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.perform(&mut next, action);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let all = properties::ALL.into_iter();
        all.map(|(name, holds)| Property::always(name, holds))
            .collect()
    }
}

/// What a search has come across.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// How many steps the longest of the shortest ways takes.
    pub(crate) depth: usize,
    /// The properties that do not hold, each with a shortest way to where it does not.
    pub(crate) broken: BTreeMap<&'static str, Vec<Action>>,
}

impl Pipeline {
    /// Goes through all states, in the order of their distance from the start, or up to what it is to find.
    pub(crate) fn explore(&self, until: HasDiscoveries) -> Explored {
        let checker = self.clone().checker().finish_when(until);
        let checker = checker.spawn_bfs().join();
        let broken = checker.discoveries().into_iter();
        Explored {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            broken: broken
                .map(|(property, path)| (property, path.into_actions()))
                .collect(),
        }
    }

    /// Whether nothing more happens, unless something fails.
    pub(crate) fn is_at_rest(&self, state: &State) -> bool {
        let mut actions = vec![];
        self.work(state, &mut actions);
        !actions
            .into_iter()
            .any(|action| self.next_state(state, action).is_some())
    }
}
