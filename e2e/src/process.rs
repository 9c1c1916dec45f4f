//! Runs a program that ends with the test, and sends signals to it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;

pub struct Process {
    child: Child,
    log: PathBuf,
}

/// A signal, named as in `kill`.
#[derive(Clone, Copy)]
pub enum Signal {
    /// `SIGKILL`.
    Kill,
    /// `SIGTERM`.
    Terminate,
    /// `SIGSTOP`.
    Stop,
    /// `SIGCONT`.
    Continue,
}

impl Process {
    /// Starts `command`, with its output in `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {command:?}: {error}; run `cargo xtask test`")
            });
        Self { child, log }
    }

    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("kill");
        assert!(status.success(), "kill {name} {id}");
    }

    /// Kills it at once, as in a crash.
    pub fn crash(mut self) {
        self.signal(Signal::Kill);
        self.child.wait().expect("ended");
    }

    /// Sends SIGTERM and waits for the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::Terminate);
        self.child.wait().expect("ended").code()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Its peak memory in bytes: the high-water mark of the resident set, from Linux.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).expect("a process that runs, on Linux");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kibibytes| kibibytes.parse::<u64>().ok());
        peak.expect("VmHWM") * 1024
    }

    /// Everything that it has logged, since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// One of our own programs.
pub fn program(name: &str) -> PathBuf {
    match std::env::var_os("RUSHGATE_BIN_DIR") {
        Some(directory) => Path::new(&directory).join(name),
        // Beside `deps`, where cargo puts test binaries.
        None => std::env::current_exe()
            .expect("this test")
            .parent()
            .and_then(Path::parent)
            .expect("a target directory")
            .join(name),
    }
}

/// Below the ephemeral ports, so that a killed server finds its port free when it restarts, and apart from those of
/// `cargo xtask` (20,000 and up).
const PORTS: Range<u16> = 10_000..20_000;

/// A port that is free now and was not returned before in this process.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN
        .lock()
        .expect("no thread panics while it holds the lock");
    loop {
        let port = rand::random_range(PORTS);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
