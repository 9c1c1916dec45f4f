//! Finds the programs of this machine and their versions, and runs one until it ends.

use anyhow::{Context, Result, bail};
use semver::Version;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories with servers that are often not on the PATH.
const MORE_DIRECTORIES: &str =
    "/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin:/opt/homebrew/opt/openjdk/bin";

/// The full path of a program.
pub fn find(name: &str) -> Option<PathBuf> {
    let on_the_path = which::which(name);
    on_the_path
        .or_else(|_| which::which_in(name, Some(MORE_DIRECTORIES), "/"))
        .ok()
}

/// What the program prints about its version, to stdout or stderr.
pub fn printed_version(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&both).into_owned())
}

/// The version after `word` in the output of a program, as in `Redis server v=7.0.15 sha=…` after `v=`. Missing parts
/// are 0; what follows the numbers is left out.
pub fn version_after(word: &str, output: &str) -> Option<Version> {
    let (_, rest) = output.split_once(word)?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = rest[..end.unwrap_or(rest.len())].split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    Some(Version::new(next()?, next()?, next()?))
}

/// Runs the command without showing its output. Returns what it wrote to stdout.
///
/// # Errors
/// When it fails; with its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}\n{}",
            shown(command),
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    Ok(text(&output.stdout))
}

/// The command as typed in a shell.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_print_versions_in_many_ways() {
        for (word, output, version) in [
            (
                "v=",
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=a",
                Some(Version::new(7, 0, 15)),
            ),
            (
                "version \"",
                "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment",
                Some(Version::new(17, 0, 15)),
            ),
            (
                "version \"",
                "java version \"25\" 2025-09-16 LTS",
                Some(Version::new(25, 0, 0)),
            ),
            (
                "version \"",
                "java version \"1.8.0_402\"",
                Some(Version::new(1, 8, 0)),
            ),
            (
                "Ver",
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu",
                Some(Version::new(10, 11, 19)),
            ),
            (
                "spin ",
                "spin 4.1.0 (a1b2c3d 2026-05-12)",
                Some(Version::new(4, 1, 0)),
            ),
            ("spin ", "Spin Version 6.5.2 -- 6 December 2019", None),
            ("spin ", "spin canary", None),
        ] {
            assert_eq!(version_after(word, output), version, "{output}");
        }
    }

    #[test]
    fn a_failure_is_named_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 7"]);
        let message = run(&mut command).unwrap_err().to_string();
        for part in ["`sh -c", "exit 7", "out", "err", "status: 7"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find("sh").is_some_and(|shell| shell.is_absolute()));
        assert_eq!(find("no-such-program"), None);
    }
}
