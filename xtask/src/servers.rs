//! Starts a Redis, a Kafka and a database for one command. They stop when the command ends, also after an error or a
//! panic.

use anyhow::{Context, Result};
use rushgate_testbed::servers::kafka::SASL_USER;

use crate::native;
use crate::packages;
use crate::say;
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// A Redis, a Kafka and a database for this command alone.
pub(crate) struct Servers {
    pub(crate) stack: Stack,
    sasl: u16,
    state: State,
    _lock: std::fs::File,
}

impl Servers {
    /// Starts the servers, with their data in the directory `name` under `target/`.
    pub(crate) fn start(name: &str, chosen: &packages::Servers) -> Result<Self> {
        let state = State::at(workspace::target().join(name));
        state.create()?;
        let lock = state.lock()?;
        // A killed run may have left servers behind.
        native::down(&state)?;
        state.clear()?;
        match native::up_servers(chosen, &state) {
            Ok((stack, sasl)) => Ok(Self {
                stack,
                sasl,
                state,
                _lock: lock,
            }),
            Err(error) => {
                take_down(&state)?;
                Err(error)
            }
        }
    }

    /// The listener of Kafka that requires a login, with its credentials: `user:password@host:port`.
    pub(crate) fn sasl_kafka(&self) -> String {
        let (password, port) = (&self.stack.password, self.sasl);
        format!("{SASL_USER}:{password}@127.0.0.1:{port}")
    }

    /// The pid of a server.
    pub(crate) fn process(&self, service: &str) -> Result<u32> {
        let process = self.state.process(service)?;
        Ok(process
            .with_context(|| format!("{service} is not running"))?
            .pid)
    }

    /// Stops the servers and removes their data.
    pub(crate) fn stop(self) -> Result<()> {
        take_down(&self.state)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Err(error) = take_down(&self.state) {
            say::note(format_args!("The servers may still run: {error:#}"));
        }
    }
}

fn take_down(state: &State) -> Result<()> {
    native::down(state)?;
    state.remove()
}
