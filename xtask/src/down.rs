//! The command `cargo xtask down`, which stops every process and removes every file that `up` has created.

use anyhow::Result;

use crate::compose;
use crate::native;
use crate::say;
use crate::stack::Runner;
use crate::state::State;

/// Takes the stack down, if there is one.
pub(crate) fn down(state: &State) -> Result<()> {
    if !state.exists() {
        say::line("Nothing is running.");
        return Ok(());
    }
    let _lock = state.lock()?;
    let step = say::step("Stopping the stack");
    // Without a readable stack.env there may still be processes to end.
    let runner = state.stack().ok().flatten().map(|stack| stack.runner);
    if runner == Some(Runner::Docker) {
        compose::down()?;
    }
    native::down(state)?;
    state.remove()?;
    step.done();
    Ok(())
}
