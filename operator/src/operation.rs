//! Runs a command on one campaign so that it may be interrupted at any point.
//!
//! The command first stores what it is about to do (an [intention](crate::intention)), then changes the gate, and then
//! records the result and removes the intention in one transaction. The next command on the campaign, whichever it is,
//! first finishes a stored intention, or explains why it cannot. So every change that was begun is either finished or
//! reported. Suppose that a command is frozen, and another command takes over the campaign. When the first one
//! continues, it does no harm: the gate rejects its fencing token, and its intention is gone.

mod agreement;
mod creation;
mod interrupted;
mod outcome;
mod projecting;
mod running;
mod stored;
mod tasks;

pub(crate) use creation::unknown_creation;
pub(crate) use outcome::{Done, Reported, halted, is_refused, lost, moved_up};
pub(crate) use running::{BEAT_EVERY, Operation, Reserved};
