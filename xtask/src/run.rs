//! Runs a tool in the foreground until it ends. After `survive_interrupts`, Ctrl-C and SIGTERM end the tool but not
//! this process, so that it can clean up.

use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rushgate_testbed::detached;
use rushgate_testbed::program::{self, shown};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C and SIGTERM end the running tool, not this process, so that this process can clean up.
pub(crate) fn survive_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))
        .context("cannot install a signal handler")
}

/// Fails if an interrupt has arrived.
pub(crate) fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs the command with our stdout and stderr.
pub(crate) fn to_its_end(command: &mut Command) -> Result<ExitStatus> {
    check_interrupt()?;
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            check_interrupt()?;
            return Ok(status);
        }
        if INTERRUPTED.load(Ordering::SeqCst) && !asked {
            asked = true;
            detached::terminate_tree(child.id())?;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the command; any exit code but 0 is an error.
pub(crate) fn successfully(command: &mut Command) -> Result<()> {
    let status = to_its_end(command)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs the command without showing its output; if it fails, the output is the error.
pub(crate) fn quietly(command: &mut Command) -> Result<String> {
    check_interrupt()?;
    program::run(command)
}

/// The tool's exit code as ours; 1 if a signal ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Raises the limit of open files for this process and its children: a rush uses thousands of connections.
pub(crate) fn raise_open_files_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Some systems allow less than their hard limit; the usual limit is enough for a smaller rush.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most);
    }
}
