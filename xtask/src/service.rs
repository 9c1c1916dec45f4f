//! Describes a service of the stack and starts it: how it is started, how to check that it is ready, and what to
//! report if it is not.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, Identity};
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
    Pong(SocketAddr),
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
    child: Option<Child>,
    log: PathBuf,
    log_begins: u64,
    ready: Ready,
    patience: Duration,
}

impl Service {
    /// Starts the service, unless it already runs.
    pub(crate) fn start(mut self, state: &State) -> Result<Starting> {
        let log = state.log(&self.name);
        let log_begins = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let (process, child) = match state.process(&self.name)? {
            Some(process) if process.is_alive()? => (process, None),
            _ => {
                for address in &self.listens {
                    ensure_free(*address, &self.name)?;
                }
                let child = self.spawn(&log)?;
                let process = Identity::of(child.id()).with_context(|| self.name.clone())?;
                state.remember(&self.name, &process)?;
                (process, Some(child))
            }
        };
        Ok(Starting {
            name: self.name,
            process,
            child,
            log,
            log_begins,
            ready: self.ready,
            patience: self.patience,
        })
    }

    fn spawn(&mut self, log: &Path) -> Result<Child> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        self.command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        process::detach(&mut self.command);
        self.command.spawn().with_context(|| {
            let program = self.command.get_program().display();
            format!("cannot start {} ({program})", self.name)
        })
    }
}

impl Starting {
    /// Waits until the service is ready; if it dies or takes too long, the error has the end of its log.
    pub(crate) fn wait(mut self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            if self.has_died()? {
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

    fn has_died(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(!self.process.is_alive()?),
        }
    }

    fn last_words(&self) -> Result<String> {
        let lines = tail(&self.log, self.log_begins, TAIL)?;
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
            Self::Accepts(address) => connect(*address).is_some(),
            Self::Pong(address) => connect(*address).is_some_and(|mut redis| {
                let mut answer = [0; 5];
                redis.write_all(b"PING\r\n").is_ok()
                    && redis.read_exact(&mut answer).is_ok()
                    && answer == *b"+PONG"
            }),
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
    let otherwise = if service.starts_with("handler") {
        let next = SocketAddr::new(address.ip(), port.saturating_add(1));
        format!("choose another address: cargo xtask up --listen {next}")
    } else {
        "choose new ports: cargo xtask down, then cargo xtask up".to_owned()
    };
    bail!(
        "{service} cannot listen on {address}: {error}.\nStop the process that uses port {port}, or {otherwise}"
    );
}

/// The last lines of a file, none of them from before `begin` (in bytes).
pub(crate) fn tail(path: &Path, begin: u64, lines: usize) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let far_enough = file.metadata()?.len().saturating_sub(64 * 1024);
        file.seek(SeekFrom::Start(begin.max(far_enough)))?;
        file.read_to_end(&mut bytes)?;
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|&line| line.to_owned())
        .collect())
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let patience = Duration::from_secs(1);
    let stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    Some(stream)
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
    use std::net::{IpAddr, Ipv4Addr};

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
        let started = service("echo no such luck >&2; exit 3", Vec::new())
            .start(&state)
            .unwrap();
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

        process::kill_now(&[first]).unwrap();
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
