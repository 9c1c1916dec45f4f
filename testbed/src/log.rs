//! Log files of programs.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes from the end of a file that [`tail`] looks at.
const NEAR_THE_END: u64 = 64 * 1024;

/// Appends the output of `command` to this file. The command gets no input.
///
/// # Errors
/// When the file cannot be written.
pub fn redirect(command: &mut Command, log: &Path) -> Result<()> {
    let output = File::options().create(true).append(true).open(log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    Ok(())
}

/// The last lines of a file, none of them from before `begin` (in bytes). Empty if there is no such file.
///
/// # Errors
/// When the file cannot be read.
pub fn tail(path: &Path, begin: u64, lines: usize) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let near = file.metadata()?.len().saturating_sub(NEAR_THE_END);
        file.seek(SeekFrom::Start(begin.max(near)))?;
        file.read_to_end(&mut bytes)?;
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    Ok(last.iter().map(|&line| line.to_owned()).collect())
}
