//! The command `cargo xtask rush`, which runs the `rush` program of `rushgate-e2e` on the running stack.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::binaries::{LOCAL, OPERATOR, RUSH};
use crate::build;
use crate::run;
use crate::state::State;

/// Builds the rush and runs it with these arguments; returns its exit code.
pub(crate) fn rush(arguments: &[String], state: &State) -> Result<ExitCode> {
    let only_asks = arguments
        .iter()
        .any(|argument| matches!(argument.as_str(), "--help" | "-h"));
    let env = match state.running_stack() {
        Ok(stack) => stack.env(),
        Err(_) if only_asks => Vec::new(),
        Err(error) => return Err(error),
    };
    build::build(LOCAL, &[OPERATOR, RUSH])?;
    let status = run::to_its_end(
        Command::new(RUSH.path())
            .args(arguments)
            .envs(env)
            .env("RUSHGATE_OPERATOR", OPERATOR.path()),
    )?;
    Ok(run::exit_code(status))
}
