//! CPU time and memory of a process.

use crate::detached::tree;
use anyhow::{Context, Result};
use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub memory: u64,
    /// Peak resident memory, in bytes; of several processes, the sum of their peaks.
    pub peak_memory: u64,
}

impl Usage {
    /// The usage so far of the process with this pid.
    ///
    /// # Errors
    /// When there is none, or this is not Linux.
    pub fn of(process: u32) -> Result<Self> {
        let pid = Pid::from_u32(process);
        let system = read(ProcessesToUpdate::Some(&[pid]))?;
        Self::in_table(&system, pid)
    }

    /// The same with all its descendants: `spin up`, for example, serves in a child.
    ///
    /// # Errors
    /// When there is none, or this is not Linux.
    pub fn of_tree(process: u32) -> Result<Self> {
        let root = Pid::from_u32(process);
        let system = read(ProcessesToUpdate::All)?;
        let mut sum = Self::in_table(&system, root)?;
        for pid in tree(&system, root).into_iter().skip(1) {
            // One that has ended meanwhile does not count.
            if let Ok(more) = Self::in_table(&system, pid) {
                sum.cpu += more.cpu;
                sum.memory += more.memory;
                sum.peak_memory += more.peak_memory;
            }
        }
        Ok(sum)
    }

    /// Begins the peak of a process anew.
    ///
    /// # Errors
    /// When there is none, or this is not Linux.
    pub fn forget_peak(process: u32) -> Result<()> {
        let path = format!("/proc/{process}/clear_refs");
        std::fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    fn in_table(system: &System, pid: Pid) -> Result<Self> {
        let row = system.process(pid);
        let row = row.with_context(|| format!("process {pid} has ended"))?;
        Ok(Self {
            cpu: Duration::from_millis(row.accumulated_cpu_time()),
            memory: row.memory(),
            peak_memory: peak_memory(pid.as_u32())?,
        })
    }
}

/// Reads CPU time and memory of these processes.
fn read(processes: ProcessesToUpdate<'_>) -> Result<System> {
    let mut system = System::new().context("reading the process table")?;
    let cpu_and_memory = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(processes, true, cpu_and_memory);
    Ok(system)
}

/// The high-water mark of the resident set.
fn peak_memory(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes = kibibytes.with_context(|| format!("no VmHWM in {path}"))?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_and_time() {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {}
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(
            usage.memory > 100_000 && usage.peak_memory >= usage.memory,
            "{usage:?}"
        );
        assert!(usage.cpu > Duration::ZERO, "{usage:?}");
    }
}
