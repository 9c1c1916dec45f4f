//! Starts processes that keep running after the command has ended, and finds them again.
//!
//! Each process leads its own session, so Ctrl-C and a closed terminal do not reach it, and its children belong to its
//! process group. It is identified by its pid *and* its start time. So if the system has given the pid to another
//! program, that program is never mistaken for ours, and never signalled.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Identifies a process until the machine is rebooted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    started: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Identity {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (pid, started) = text
            .trim()
            .split_once(' ')
            .context("expected a pid and a start time")?;
        Ok(Self {
            pid: pid.parse().context("expected a pid")?,
            started: started.to_owned(),
        })
    }
}

impl Identity {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid)?;
        let row = table()?
            .into_iter()
            .find(|row| row.pid == pid)
            .with_context(|| format!("process {pid} has ended"))?;
        Ok(Self {
            pid,
            started: row.started,
        })
    }

    /// Whether it still runs; false for a zombie.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(self.is_leading(&table()?))
    }

    fn is_leading(&self, table: &[Row]) -> bool {
        table
            .iter()
            .any(|row| row.pid == self.pid && row.started == self.started && !row.zombie)
    }

    /// The running processes of its group: itself and its children, also after its own end.
    fn members(&self, table: &[Row]) -> Vec<i32> {
        let recycled = table
            .iter()
            .any(|row| row.pid == self.pid && row.started != self.started);
        if recycled {
            return Vec::new();
        }
        table
            .iter()
            .filter(|row| row.group == self.pid && !row.zombie)
            .map(|row| row.pid)
            .collect()
    }
}

/// Makes the command the leader of its own session when it starts.
pub(crate) fn detach(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid is one, and the closure touches no
    // memory of the parent.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
}

/// Ends the processes and their children: SIGTERM first, SIGKILL after the deadline.
pub(crate) fn stop(processes: &[Identity], patience: Duration) -> Result<()> {
    if signal_groups(processes, Signal::SIGTERM)? && !are_gone_within(processes, patience)? {
        kill_now(processes)?;
    }
    Ok(())
}

/// Kills the processes and their children at once, as in a crash (`kill -9`).
pub(crate) fn kill_now(processes: &[Identity]) -> Result<()> {
    signal_groups(processes, Signal::SIGKILL)?;
    if !are_gone_within(processes, Duration::from_secs(10))? {
        bail!("a process survived SIGKILL: {processes:?}; it may hang in a system call");
    }
    Ok(())
}

/// Sends SIGTERM to this process and all its descendants.
pub(crate) fn terminate_tree(root: u32) -> Result<()> {
    let table = table()?;
    let mut found = vec![i32::try_from(root)?];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            table
                .iter()
                .filter(|row| row.parent == parent)
                .map(|row| row.pid),
        );
        next += 1;
    }
    for pid in found {
        // It may have ended meanwhile, which is fine.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    Ok(())
}

fn signal_groups(processes: &[Identity], signal: Signal) -> Result<bool> {
    let table = table()?;
    let mut any = false;
    for process in processes
        .iter()
        .filter(|process| !process.members(&table).is_empty())
    {
        any = true;
        match killpg(Pid::from_raw(process.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot signal process {}", process.pid));
            }
        }
    }
    Ok(any)
}

fn are_gone_within(processes: &[Identity], patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let table = table()?;
        if processes
            .iter()
            .all(|process| process.members(&table).is_empty())
        {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(30));
    }
}

/// A row of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    pid: i32,
    parent: i32,
    group: i32,
    zombie: bool,
    started: String,
}

fn table() -> Result<Vec<Row>> {
    if cfg!(target_os = "linux") {
        let mut rows = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot list /proc")? {
            // A process may end between the listing and the read.
            let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
                continue;
            };
            rows.extend(parse_stat(&stat));
        }
        Ok(rows)
    } else {
        let output = Command::new("ps")
            .args(["-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="])
            .output()
            .context("cannot run ps")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(parse_ps).collect())
    }
}

/// Parses `/proc/<pid>/stat`, see proc_pid_stat(5). The name in parentheses may contain any character.
fn parse_stat(stat: &str) -> Option<Row> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Row {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        started: (*fields.get(19)?).to_owned(),
    })
}

fn parse_ps(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace();
    let (pid, parent, group, state) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    Some(Row {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        group: group.parse().ok()?,
        zombie: state.starts_with('Z'),
        started: fields.collect::<Vec<_>>().join("-"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_process_calls_itself() {
        let stat =
            "4242 (a) b (c) S 1 4240 4240 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 11 12 13";
        let row = parse_stat(stat).unwrap();
        assert_eq!(
            row,
            Row {
                pid: 4242,
                parent: 1,
                group: 4240,
                zombie: false,
                started: "987654".into()
            }
        );
        assert!(parse_stat(&stat.replace(") S ", ") Z ")).unwrap().zombie);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn ps_lines_are_read() {
        let row = parse_ps("  77     1    77 Ss   Fri Nov 20 19:33:00 2026").unwrap();
        assert_eq!((row.pid, row.group, row.zombie), (77, 77, false));
        assert_eq!(row.started, "Fri-Nov-20-19:33:00-2026");
    }

    #[test]
    fn identities_survive_writing() {
        let identity = Identity {
            pid: 7,
            started: "123".into(),
        };
        assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        assert!("seven".parse::<Identity>().is_err());
    }

    #[test]
    fn a_recycled_pid_has_no_members() {
        let row = |pid, group, started: &str, zombie| Row {
            pid,
            parent: 1,
            group,
            zombie,
            started: started.into(),
        };
        let ours = Identity {
            pid: 7,
            started: "100".into(),
        };

        let running = [row(7, 7, "100", false), row(8, 7, "101", false)];
        assert!(ours.is_leading(&running));
        assert_eq!(ours.members(&running), [7, 8]);

        let leader_killed = [row(8, 7, "101", false)];
        assert!(!ours.is_leading(&leader_killed));
        assert_eq!(ours.members(&leader_killed), [8]);

        let recycled = [row(7, 7, "555", false), row(9, 7, "556", false)];
        assert!(!ours.is_leading(&recycled));
        assert!(ours.members(&recycled).is_empty());

        let zombie = [row(7, 7, "100", true)];
        assert!(!ours.is_leading(&zombie));
        assert!(ours.members(&zombie).is_empty());
    }

    #[test]
    fn a_process_is_found_again_and_ended_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]);
        detach(&mut command);
        let mut child = command.spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_alive().unwrap());

        stop(std::slice::from_ref(&identity), Duration::from_secs(5)).unwrap();

        assert!(!identity.is_alive().unwrap());
        assert!(identity.members(&table().unwrap()).is_empty());
        child.wait().unwrap();
    }
}
