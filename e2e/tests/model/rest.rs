//! That everything comes to rest: there is no way round in the states, so nothing goes on for ever.
//!
//! With that, "at rest all is drained" says that every run ends drained, whatever comes first, once no more faults
//! happen. (The `eventually` of `stateright` passes over runs that end in a circle.)

use crate::pipeline::{Action, Pipeline, State};
use stateright::Model;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A state on the way from the start to where we are, and what is still to be tried from there.
struct Visit {
    state: State,
    hash: u64,
    by: Option<Action>,
    untried: Vec<Action>,
}

impl Pipeline {
    /// Goes through all states and looks for a way from one back to itself: how many states there are, or the way
    /// there.
    pub(crate) fn find_circle(&self) -> Result<usize, Vec<Action>> {
        // Whether the state is on the way to where we are.
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
