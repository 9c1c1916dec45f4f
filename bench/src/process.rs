//! Starts a program that ends when its guard is dropped, and reads how much CPU time and memory it has used.

use crate::load::{Load, Pace, Protocol, Template, Until};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a program may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Resource usage of a process, from Linux.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub memory: u64,
    /// Peak resident memory, in bytes.
    pub peak_memory: u64,
}

impl Process {
    /// Starts `command`, with its output in a file in `directory`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Waits until `GET {path}` at `address` returns 200 and this text.
    ///
    /// # Errors
    /// When it ends first, or takes longer than a minute; with the end of its output.
    pub fn until_ready(&mut self, address: SocketAddr, path: &str, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while get(address, path).is_none_or(|page| !page.contains(text)) {
            self.check()?;
            if Instant::now() > deadline {
                bail!("{} is not ready: {}", self.name, self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// When it does not; with the end of its output.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended, {status}: {}", self.name, self.last_words()),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its usage so far.
    ///
    /// # Errors
    /// When it has ended, or this is not Linux.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.id())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Usage {
    /// The usage of the process with this pid.
    ///
    /// # Errors
    /// When there is none, or this is not Linux.
    pub fn of(process: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let stat = read("stat")?;
        // The name in parentheses may contain any character.
        let (_, fields) = stat.rsplit_once(')').context("parsing /proc/<pid>/stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>())
            .sum::<Result<_, _>>()?;
        let status = read("status")?;
        let bytes = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(number
                .with_context(|| format!("no {name}"))?
                .parse::<u64>()?
                * 1024)
        };
        Ok(Self {
            // Linux counts in hundredths of a second, whatever its own clock does.
            cpu: Duration::from_millis(ticks * 10),
            memory: bytes("VmRSS:")?,
            peak_memory: bytes("VmHWM:")?,
        })
    }
}

/// Below the ephemeral ports: the load generator uses many of these, and one of them might be the port that a program
/// is to use.
const PORTS: Range<u16> = 5_000..10_000;

/// A free local address.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    let mut ports = (0..PORTS.len()).map(|_| rand::random_range(PORTS));
    ports
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .context("no free port")?
        .local_addr()
        .context("a port without an address")
}

/// The page at `path` with head and body, if it exists and has a Content-Length.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let load = Load {
        address,
        protocol: Protocol::Http,
        templates: vec![Template::get(path)],
        first: 0,
        people: None,
        connections: 1,
        depth: 1,
        pace: Pace::Closed,
        until: Until::Requests(1),
    };
    let outcome = load.run().and_then(|outcome| outcome.all(200));
    Some(outcome.ok()?.sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.memory > 100_000 && usage.peak_memory >= usage.memory);
    }

    #[test]
    fn one_that_ends_is_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no such luck >&2; exit 3"]);
        let mut process = Process::start("thing", &mut shell, directory.path()).unwrap();
        let error = process
            .until_ready(free_address().unwrap(), "/", "")
            .unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}
