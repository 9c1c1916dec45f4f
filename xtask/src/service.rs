//! Describes a service of the stack and starts it: how it is started, how to check that it is ready, and what to
//! report if it is not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rushgate_testbed::detached::Identity;
use rushgate_testbed::log;
use rushgate_testbed::servers::redis::Redis;

use crate::stack::EDGE;
use crate::state::State;
use crate::workspace;

/// Lines of the log that are shown when a service fails.
const TAIL: usize = 15;

pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) command: Command,
    pub(crate) listens: Vec<SocketAddr>,
    pub(crate) ready: Ready,
    /// How long it may take to become ready.
    pub(crate) patience: Duration,
}

/// The readiness check.
pub(crate) enum Ready {
    Accepts(SocketAddr),
    /// Redis answers a PING.
    Redis(Redis),
    /// A GET returns 200 and a body that contains this text.
    Page {
        url: String,
        text: &'static str,
    },
}

/// A service that runs but is not known to be ready.
pub(crate) struct Starting {
    name: String,
    process: Identity,
    log: PathBuf,
    log_begins: u64,
    ready: Ready,
    patience: Duration,
}

impl Service {
    /// Starts the service, unless it already runs.
    pub(crate) fn start(self, state: &State) -> Result<Starting> {
        let log = state.log(&self.name);
        let log_begins = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let process = match state.process(&self.name)? {
            Some(process) if process.is_alive()? => process,
            _ => {
                for address in &self.listens {
                    ensure_free(*address, &self.name)?;
                }
                let process = Identity::start(self.command, &log)
                    .with_context(|| format!("starting {}", self.name))?;
                state.remember(&self.name, &process)?;
                process
            }
        };
        Ok(Starting {
            name: self.name,
            process,
            log,
            log_begins,
            ready: self.ready,
            patience: self.patience,
        })
    }
}

impl Starting {
    /// Waits until the service is ready; if it dies or takes too long, the error has the end of its log.
    pub(crate) fn wait(self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            if !self.process.is_alive()? {
                bail!(
                    "starting {}: it ended at once. {}",
                    self.name,
                    self.last_words()?
                );
            }
            if self.ready.is_so() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "starting {}: it runs, but was not ready within {} s. {}",
                    self.name,
                    self.patience.as_secs(),
                    self.last_words()?
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn last_words(&self) -> Result<String> {
        let lines = log::tail(&self.log, self.log_begins, TAIL)?;
        let log = workspace::from_root(&self.log).display();
        Ok(if lines.is_empty() {
            format!("It wrote nothing to {log}.")
        } else {
            format!("The end of {log}:\n\n{}\n", lines.join("\n"))
        })
    }
}

impl Ready {
    fn is_so(&self) -> bool {
        match self {
            Self::Accepts(address) => {
                TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
            }
            Self::Redis(redis) => redis.answers(),
            Self::Page { url, text } => get(url).is_some_and(|body| body.contains(text)),
        }
    }
}

/// Fails, with advice, if another process listens on this address.
pub(crate) fn ensure_free(address: SocketAddr, service: &str) -> Result<()> {
    let Err(error) = TcpListener::bind(address) else {
        return Ok(());
    };
    let port = address.port();
    let otherwise = if matches!(service, EDGE | "handler-1") {
        let next = SocketAddr::new(address.ip(), port.saturating_add(1));
        format!("choose another address: cargo xtask up --listen {next}")
    } else {
        "choose new ports: cargo xtask down, then cargo xtask up".to_owned()
    };
    bail!(
        "{service} cannot listen on {address}: {error}.\nStop the process that uses port {port}, or {otherwise}"
    );
}

/// The address of a port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn get(url: &str) -> Option<String> {
    let mut answer = ureq::get(url)
        .config()
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .call()
        .ok()?;
    answer.body_mut().read_to_string().ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn state(name: &str) -> State {
        let state =
            State::at(std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id())));
        state.create().unwrap();
        state
    }

    /// No process listens on port 1. (A port that was free a moment ago would not do: a process that another test is
    /// starting may still hold it.)
    const UNUSED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn service(script: &str, listens: Vec<SocketAddr>) -> Service {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Service {
            name: "thing".into(),
            command,
            listens,
            ready: Ready::Accepts(UNUSED),
            patience: Duration::from_millis(300),
        }
    }

    #[test]
    fn a_part_that_dies_shows_its_last_lines() {
        let state = state("dies");
        fs::write(state.log("thing"), "from an earlier run\n").unwrap();
        let dies = Service {
            patience: Duration::from_secs(60),
            ..service("echo no such luck >&2; exit 3", Vec::new())
        };
        let started = dies.start(&state).unwrap();
        let message = started.wait().unwrap_err().to_string();
        assert!(message.contains("it ended at once"), "{message}");
        assert!(message.contains("no such luck"), "{message}");
        assert!(!message.contains("earlier run"), "{message}");
        state.remove().unwrap();
    }

    #[test]
    fn a_part_that_is_never_ready_is_told_from_a_dead_one_and_is_kept() {
        let state = state("slow");
        let started = service("exec sleep 60", Vec::new()).start(&state).unwrap();
        let message = started.wait().unwrap_err().to_string();
        assert!(message.contains("was not ready"), "{message}");

        let first = state.process("thing").unwrap().unwrap();
        service("exec sleep 60", Vec::new()).start(&state).unwrap();
        assert_eq!(state.process("thing").unwrap(), Some(first.clone()));

        rushgate_testbed::detached::kill_now(&[first]).unwrap();
        state.remove().unwrap();
    }

    #[test]
    fn an_address_in_use_is_named() {
        let state = state("taken");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = service("true", vec![address])
            .start(&state)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        state.remove().unwrap();
    }
}
