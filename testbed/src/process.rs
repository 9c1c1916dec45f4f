//! Runs a program that ends with its guard, and sends signals to it.
//!
//! It stays in the process group of its parent, so that Ctrl-C ends both. A program that outlives its parent is a
//! [`crate::detached::Identity`].

use crate::detached::kill_tree;
use crate::log;
use crate::usage::Usage;
use crate::wait::until_blocking;
use anyhow::{Context, Result, bail, ensure};
pub use nix::sys::signal::Signal;
use process_wrap::std::ChildWrapper;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Lines of the log in errors.
const LAST_WORDS: usize = 15;

/// A running program. It is killed with its descendants when this is dropped. If a test fails meanwhile, its log is
/// printed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Its pid may belong to another process by now.
    has_ended: bool,
}

impl Process {
    /// Starts `command`, and appends its output to `log`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(command: &mut Command, log: impl Into<PathBuf>) -> Result<Self> {
        let log = log.into();
        log::redirect(command, &log)?;
        let child = command.spawn().with_context(|| {
            let program = command.get_program().display();
            format!("cannot start {program}; `cargo xtask` builds and finds all programs")
        })?;
        Ok(Self {
            child,
            log,
            has_ended: false,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(!self.has_ended, "{signal} to {}: it has ended", self.name());
        ChildWrapper::signal(&self.child, signal as i32)
            .with_context(|| format!("{signal} to {}", self.name()))
    }

    /// Kills it at once, as in a crash.
    pub fn crash(self) {
        drop(self);
    }

    /// Kills it and its descendants, and waits until none of them runs.
    pub fn kill(&mut self) {
        if !self.has_ended {
            // What can be done about it follows.
            let _ = kill_tree(self.id());
        }
        // It may have ended already.
        let _ = self.child.kill();
        self.has_ended |= self.child.wait().is_ok();
    }

    /// Sends SIGTERM, and waits until it ends. Returns its exit code; none if a signal has ended it.
    pub fn terminate(mut self) -> Option<i32> {
        // It may have ended already.
        let _ = self.signal(Signal::SIGTERM);
        self.wait().code()
    }

    /// Waits until it ends; panics if that takes too long.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name());
        until_blocking(&what, || self.ended())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // A parent can always ask this.
        let status = self.child.try_wait().ok().flatten();
        self.has_ended |= status.is_some();
        status
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!("{} has ended, {status}: {}", self.name(), self.last_words()),
        }
    }

    /// Waits until `is_ready`.
    ///
    /// # Errors
    /// When it ends first, or takes longer; with the end of its log.
    pub fn until_ready(
        &mut self,
        patience: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !is_ready() {
            self.check()?;
            if Instant::now() > deadline {
                bail!("{} is not ready: {}", self.name(), self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The usage so far of it and its descendants.
    ///
    /// # Errors
    /// When it has ended, or this is not Linux.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of_tree(self.id())
    }

    /// Everything in its log, also of earlier processes with this log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn name(&self) -> String {
        let name = self.log.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn last_words(&self) -> String {
        let lines = log::tail(&self.log, 0, LAST_WORDS);
        lines.unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn shell(script: &str) -> Process {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        Process::start(
            command.args(["-c", script]),
            log.into_temp_path().keep().unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn one_that_ends_before_it_is_ready_is_quoted() {
        let mut process = shell("echo no such luck >&2; exit 3");
        let error = process.until_ready(Duration::MAX / 1_000_000, || false);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no such luck") && error.contains("status: 3"),
            "{error}"
        );
        assert!(process.signal(Signal::SIGKILL).is_err(), "it has ended");
        fs::remove_file(&process.log).unwrap();
    }

    #[test]
    fn its_children_are_measured_and_killed_with_it() {
        let mut process = shell("sleep 600 & echo child $!; wait");
        let child = until_blocking("it has a child", || {
            let log = process.log();
            let line = log.strip_prefix("child ")?.strip_suffix('\n')?;
            line.parse::<u32>().ok()
        });
        let (both, one) = (process.usage().unwrap(), Usage::of(child).unwrap());
        assert!(both.memory > one.memory, "{both:?}, {one:?}");
        process.kill();
        assert!(Usage::of(child).is_err());
        fs::remove_file(&process.log).unwrap();
    }

    #[test]
    fn signals_and_exit_codes() {
        let mut process = shell("trap 'exit 7' TERM; echo begun; while :; do sleep 0.01; done");
        until_blocking("it has begun", || process.log().contains("begun"));
        assert!(process.ended().is_none());
        let log = process.log.clone();
        assert_eq!(process.terminate(), Some(7));
        fs::remove_file(log).unwrap();

        let mut process = shell("exec sleep 600");
        process.signal(Signal::SIGKILL).unwrap();
        assert_eq!(process.wait().code(), None);
        fs::remove_file(&process.log).unwrap();
    }
}
