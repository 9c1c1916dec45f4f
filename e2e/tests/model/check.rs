//! Describes the pipeline as a `stateright` model, and searches through all its states.

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

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// The number of steps to the farthest state.
    pub(crate) depth: usize,
    /// Properties that do not hold, each with a shortest path to a state that breaks it.
    pub(crate) broken: BTreeMap<&'static str, Vec<Action>>,
}

impl Pipeline {
    /// Searches all states by their distance from the start, or until the given properties are broken.
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

    /// Whether nothing more happens without a fault.
    pub(crate) fn is_at_rest(&self, state: &State) -> bool {
        let mut actions = vec![];
        self.work(state, &mut actions);
        !actions
            .into_iter()
            .any(|action| self.next_state(state, action).is_some())
    }
}
