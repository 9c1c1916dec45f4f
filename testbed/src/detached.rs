//! Starts processes that keep running after the command has ended, and finds them again.
//!
//! Each process leads its own session, so Ctrl-C and a closed terminal do not reach it, and its children belong to its
//! session. It is identified by its pid *and* its start time. So if the system has given the pid to another program,
//! that program is never mistaken for ours, and never signalled.

use crate::log;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid as Group;
use process_wrap::std::{CommandWrap, ProcessSession};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// Identifies a process until the machine is rebooted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Seconds after the boot of the machine: unlike the time of day, they do not change with the clock.
    started: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Identity {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = text.trim().split_once(' ');
        let (pid, started) = words.context("expected a pid and a start time")?;
        Ok(Self {
            pid: pid.parse().context("expected a pid")?,
            started: started.parse().context("expected a start time")?,
        })
    }
}

impl Identity {
    /// Starts `command` in a session of its own, and appends its output to `log`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        log::redirect(&mut command, log)?;
        let mut command = CommandWrap::from(command);
        let child = command.wrap(ProcessSession).spawn().with_context(|| {
            let program = command.command().get_program().display();
            format!("cannot start {program}")
        })?;
        // If it has ended already, it is still in the table: its parent has not asked for its status.
        Self::of(child.id())
    }

    /// The process that has this pid now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> Result<Self> {
        let table = Table::read()?;
        let process = table.system.process(Pid::from_u32(pid));
        let process = process.with_context(|| format!("process {pid} has ended"))?;
        Ok(table.identity(process))
    }

    /// Whether it still runs; false for a zombie.
    ///
    /// # Errors
    /// When the process table cannot be read.
    pub fn is_alive(&self) -> Result<bool> {
        let table = Table::read()?;
        let process = table.system.process(Pid::from_u32(self.pid));
        Ok(process.is_some_and(|process| table.identity(process) == *self && runs(process)))
    }
}

/// Ends the processes and their children: SIGTERM first, SIGKILL after the deadline.
///
/// # Errors
/// When one may not be signalled, or survives.
pub fn stop(processes: &[Identity], patience: Duration) -> Result<()> {
    signal_sessions(processes, Signal::SIGTERM)?;
    if !are_gone_within(processes, patience)? {
        kill_now(processes)?;
    }
    Ok(())
}

/// Kills the processes and their children at once, as in a crash (`kill -9`).
///
/// # Errors
/// When one may not be signalled, or survives.
pub fn kill_now(processes: &[Identity]) -> Result<()> {
    signal_sessions(processes, Signal::SIGKILL)?;
    if !are_gone_within(processes, Duration::from_secs(10))? {
        bail!("a process survived SIGKILL: {processes:?}; it may hang in a system call");
    }
    Ok(())
}

/// Sends SIGTERM to this process and all its descendants.
///
/// # Errors
/// When the process table cannot be read.
pub fn terminate_tree(root: u32) -> Result<()> {
    signal_tree(root, sysinfo::Signal::Term).map(drop)
}

/// Kills this process and all its descendants, and waits until none of them runs.
///
/// # Errors
/// When the process table cannot be read, or one survives.
pub(crate) fn kill_tree(root: u32) -> Result<()> {
    let killed = signal_tree(root, sysinfo::Signal::Kill)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let table = Table::read()?;
        let now = |pid: &Pid| table.system.process(*pid);
        if !killed.iter().filter_map(now).any(runs) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("a process of {killed:?} survived SIGKILL");
        }
        sleep(Duration::from_millis(5));
    }
}

fn signal_tree(root: u32, signal: sysinfo::Signal) -> Result<Vec<Pid>> {
    let table = Table::read()?;
    let found = tree(&table.system, Pid::from_u32(root));
    for process in found.iter().filter_map(|pid| table.system.process(*pid)) {
        // It may have ended meanwhile, which is fine.
        process.kill_with(signal);
    }
    Ok(found)
}

/// A process and all its descendants.
pub(crate) fn tree(system: &System, root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let all = system.processes().values();
        // Its threads are in the table, too.
        let children = all
            .filter(|process| process.parent() == Some(parent) && process.thread_kind().is_none());
        found.extend(children.map(Process::pid));
        next += 1;
    }
    found
}

fn signal_sessions(processes: &[Identity], signal: Signal) -> Result<()> {
    let table = Table::read()?;
    for process in processes {
        if !table.has_members(process) {
            continue;
        }
        match killpg(Group::from_raw(i32::try_from(process.pid)?), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => bail!("cannot signal process {}: {error}", process.pid),
        }
    }
    Ok(())
}

fn are_gone_within(processes: &[Identity], patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let table = Table::read()?;
        if !processes.iter().any(|process| table.has_members(process)) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(30));
    }
}

struct Table {
    system: System,
    boot_time: u64,
}

impl Table {
    fn read() -> Result<Self> {
        let mut system = System::new().context("reading the process table")?;
        let nothing_more = ProcessRefreshKind::nothing();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, nothing_more);
        Ok(Self {
            system,
            boot_time: System::boot_time().context("reading when the machine was booted")?,
        })
    }

    fn identity(&self, process: &Process) -> Identity {
        Identity {
            pid: process.pid().as_u32(),
            started: process.start_time().saturating_sub(self.boot_time),
        }
    }

    /// Whether processes of its session run: itself or its children, also after its own end.
    fn has_members(&self, leader: &Identity) -> bool {
        let pid = Pid::from_u32(leader.pid);
        let now = self.system.process(pid);
        let is_recycled = now.is_some_and(|process| self.identity(process) != *leader);
        let mut all = self.system.processes().values();
        !is_recycled && all.any(|process| process.session_id() == Some(pid) && runs(process))
    }
}

fn runs(process: &Process) -> bool {
    !matches!(
        process.status(),
        ProcessStatus::Zombie | ProcessStatus::Dead
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until_blocking;

    fn sleepers(script: &str) -> Identity {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Identity::start(command, Path::new("/dev/null")).unwrap()
    }

    #[test]
    fn identities_survive_writing() {
        let identity = Identity {
            pid: 7,
            started: 123,
        };
        assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        assert!("seven".parse::<Identity>().is_err());
    }

    #[test]
    fn a_process_is_found_again_and_ended_with_what_it_started() {
        let process = sleepers("sleep 600 & sleep 600");
        assert_eq!(Identity::of(process.pid).unwrap(), process);
        assert!(process.is_alive().unwrap());

        stop(std::slice::from_ref(&process), Duration::from_secs(60)).unwrap();

        assert!(!process.is_alive().unwrap());
        assert!(!Table::read().unwrap().has_members(&process));
    }

    #[test]
    fn children_are_members_after_the_end_of_their_leader() {
        let process = sleepers("sleep 600 & exit");
        until_blocking("the leader has ended", || !process.is_alive().unwrap());
        assert!(Table::read().unwrap().has_members(&process));
        kill_now(std::slice::from_ref(&process)).unwrap();
        assert!(!Table::read().unwrap().has_members(&process));
    }

    #[test]
    fn a_recycled_pid_is_another_process() {
        let process = sleepers("exec sleep 600");
        let earlier = Identity {
            started: process.started + 1,
            ..process
        };
        assert!(!earlier.is_alive().unwrap());
        stop(std::slice::from_ref(&earlier), Duration::ZERO).unwrap();
        assert!(process.is_alive().unwrap());
        kill_now(&[process]).unwrap();
    }
}
