//! HAProxy with the production settings of `deploy/edge/haproxy.cfg`, in front of handlers on this machine.
//!
//! It runs as a master with one worker, which ends with the master. SIGUSR2 reloads it, SIGUSR1 stops it gracefully.

use crate::process::Process;
use crate::program::{find, printed_version, version_after};
use anyhow::{Context, Result};
use semver::Version;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const OLDEST: Version = Version::new(2, 6, 0);

/// It answers this path itself, with 200 if a handler is up.
pub const READY: &str = "/edge/readyz";

const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/edge/haproxy.cfg");

const PATIENCE: Duration = Duration::from_secs(60);

/// The installed program, if it is new enough.
pub fn program() -> Option<PathBuf> {
    find("haproxy").filter(|haproxy| {
        printed_version(haproxy, "-v")
            .and_then(|text| version_after("version ", &text))
            .is_some_and(|version| version >= OLDEST)
    })
}

/// An edge, which may run or not.
#[derive(Clone, Debug)]
pub struct HaProxy {
    pub listen: SocketAddr,
    /// The list of its handlers, and in tests its log.
    pub directory: PathBuf,
}

impl HaProxy {
    /// The command that starts it in front of these handlers. Environment variables override settings.
    ///
    /// # Errors
    /// When the list of the handlers cannot be written.
    pub fn command(&self, program: &Path, handlers: &[SocketAddr]) -> Result<Command> {
        let directory = &self.directory;
        let list = directory.join("handlers.cfg");
        let servers = (1..).zip(handlers);
        let servers: String = servers
            .map(|(number, handler)| format!("    server handler{number} {handler}\n"))
            .collect();
        std::fs::create_dir_all(directory)
            .and_then(|()| {
                std::fs::write(
                    &list,
                    format!("backend handlers from to_handlers\n{servers}"),
                )
            })
            .with_context(|| format!("cannot write {}", list.display()))?;
        let mut command = Command::new(program);
        command.args(["-W", "-f", SETTINGS, "-f"]).arg(list);
        command.env("EDGE_LISTEN", self.listen.to_string());
        Ok(command)
    }

    /// Starts it for a test, with environment variables, and waits until a handler is up.
    ///
    /// # Errors
    /// When HAProxy is not installed or does not start; with the end of its log, `edge.log` in its directory.
    pub fn start(&self, handlers: &[SocketAddr], settings: &[(&str, &str)]) -> Result<Process> {
        let program = program();
        let program = program.with_context(|| {
            format!("haproxy {OLDEST} or newer is not installed: run `cargo xtask test`")
        })?;
        let mut command = self.command(&program, handlers)?;
        command.envs(settings.iter().copied());
        let mut process = Process::start(&mut command, self.directory.join("edge.log"))?;
        process.until_ready(PATIENCE, || self.is_ready())?;
        Ok(process)
    }

    /// Whether it answers, and has a handler that is up.
    pub fn is_ready(&self) -> bool {
        let mut status = [0; 12];
        let mut ask = |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            write!(stream, "GET {READY} HTTP/1.1\r\nhost: edge\r\n\r\n")?;
            stream.read_exact(&mut status)
        };
        let asked = TcpStream::connect(self.listen).and_then(|mut stream| ask(&mut stream));
        asked.is_ok() && status.ends_with(b" 200")
    }
}

/// The processes that a running edge's master has started: the worker, and after a reload for a while the old one.
///
/// # Errors
/// When it has ended, or this is not Linux.
pub fn workers(master: &Process) -> Result<Vec<u32>> {
    let path = format!("/proc/{0}/task/{0}/children", master.id());
    let children = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let numbers = children.split_whitespace().map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .with_context(|| format!("{path}: {children}"))
}
