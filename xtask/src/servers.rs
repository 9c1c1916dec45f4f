//! Servers of a command's own. They end with it, in whatever way it ends.

use anyhow::{Context, Result};

use crate::kafka::SASL_USER;
use crate::native;
use crate::say;
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// A Redis, a Kafka and a database that nobody else uses.
pub(crate) struct Servers {
    pub(crate) stack: Stack,
    sasl: u16,
    state: State,
    _lock: std::fs::File,
}

impl Servers {
    /// Starts them, with their data in a directory of that name under `target/`.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let state = State::at(workspace::target().join(name));
        state.create()?;
        let lock = state.lock()?;
        // A run that was killed may have left some behind.
        native::down(&state)?;
        state.clear()?;
        match native::up_servers(&state) {
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

    /// Where Kafka asks for a login, and with which it is content: `user:password@host:port`.
    pub(crate) fn sasl_kafka(&self) -> String {
        let (password, port) = (&self.stack.password, self.sasl);
        format!("{SASL_USER}:{password}@127.0.0.1:{port}")
    }

    /// The process of one of them.
    pub(crate) fn process(&self, service: &str) -> Result<i32> {
        let process = self.state.process(service)?;
        Ok(process
            .with_context(|| format!("{service} was not started"))?
            .pid)
    }

    /// Ends them, and removes what they wrote.
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
