//! Checks that every run ends: the states have no cycle, so no run goes on for ever.
//!
//! Together with the property "everything is drained at rest" this means: once no more faults happen, every run ends
//! with everything drained, whatever happened before. (The `eventually` of `stateright` does not cover runs that end
//! in a cycle.)

use crate::pipeline::{Action, Pipeline, State};
use stateright::Model;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A state on the path from the start, with the actions that are still to be tried from it.
struct Visit {
    state: State,
    hash: u64,
    by: Option<Action>,
    untried: Vec<Action>,
}

impl Pipeline {
    /// Searches all states for a path from a state back to itself; returns the number of states, or the path.
    pub(crate) fn find_circle(&self) -> Result<usize, Vec<Action>> {
        // Whether the state is on the present path.
        let mut seen: HashMap<u64, bool> = HashMap::new();
        let mut way = vec![self.visit(self.start(), None)];
        while let Some(visit) = way.last_mut() {
            seen.entry(visit.hash).or_insert(true);
            let Some(action) = visit.untried.pop() else {
                seen.insert(visit.hash, false);
                way.pop();
                continue;
            };
            let Some(next) = self.next_state(&visit.state, action) else {
                continue;
            };
            let next = self.visit(next, Some(action));
            match seen.get(&next.hash) {
                None => way.push(next),
                Some(false) => {}
                Some(true) => {
                    way.push(next);
                    return Err(way.into_iter().filter_map(|visit| visit.by).collect());
                }
            }
        }
        Ok(seen.len())
    }

    fn visit(&self, state: State, by: Option<Action>) -> Visit {
        let mut untried = vec![];
        self.actions(&state, &mut untried);
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        Visit {
            hash: hasher.finish(),
            state,
            by,
            untried,
        }
    }
}
