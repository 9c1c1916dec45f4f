//! Starts a Redis, a Kafka and a database for one command. They stop when the command ends, also after an error or a
//! panic.

use anyhow::{Context, Result};
use rushgate_testbed::servers::kafka::{SASL_USER, Sasl, TLS_LISTENERS};

use crate::native;
use crate::packages;
use crate::say;
use crate::stack::Stack;
use crate::state::State;
use crate::workspace;

/// A Redis, a Kafka and a database for this command alone.
pub(crate) struct Servers {
    pub(crate) stack: Stack,
    sasl: Sasl,
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

    /// The addresses of the servers. `RUSHGATE_SASL_KAFKA` is the listener of Kafka that requires a login, with its
    /// credentials, `user:password@host:port`; `RUSHGATE_TLS_KAFKA` has those with TLS, each as `name=host:port`.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let Sasl { port, password, .. } = &self.sasl;
        let login = format!("{SASL_USER}:{password}@127.0.0.1:{port}");
        let mut env = self.stack.env();
        // Otherwise clients would use TLS, because this server offers it: slower, and not what a proxy can break request
        // by request.
        let database = self.stack.database_url() + "?ssl-mode=DISABLED";
        env.extend([("DATABASE_URL", database), ("RUSHGATE_SASL_KAFKA", login)]);
        if let Some(tls) = &self.sasl.tls {
            let listeners = TLS_LISTENERS.iter().zip(tls.ports);
            let listeners = listeners.map(|((name, ..), port)| format!("{name}=127.0.0.1:{port} "));
            env.extend([
                ("RUSHGATE_TLS_KAFKA", listeners.collect()),
                ("RUSHGATE_CERTIFICATES", tls.certificates.directory()),
            ]);
        }
        env
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
