//! A part of a state that several states share until it changes. Its hash is computed only once.
//!
//! Most actions change one or two parts. Without sharing, each state would need about thirty allocations and a hash of
//! all its parts, and the model checker creates hundreds of thousands of states.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A value that is cheap to clone, to hash and to compare.
#[derive(Clone)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T: Hash> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        let hash = hash_of(&value);
        Self {
            value: Arc::new(value),
            hash,
        }
    }
}

impl<T: Hash + Clone> Shared<T> {
    /// Changes this value, and none that it was cloned from.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let outcome = change(Arc::make_mut(&mut self.value));
        self.hash = hash_of(&*self.value);
        outcome
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
            || (self.hash == other.hash && self.value == other.value)
    }
}

impl<T: PartialEq> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
