//! The interfaces of Spin that a component may import.

pub(crate) mod redis;
pub(crate) mod variables;
