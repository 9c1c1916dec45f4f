//! Runs `cargo test` so that each test says how long it took, remembers the times, and shows cargo's output as it is
//! without them.

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::run;
use crate::say;

/// Times are an unstable option of test programs. Only these get the variable that allows it: cargo would compile
/// everything again.
const RUNNER: &str = r#"target.'cfg(unix)'.runner = ["sh", "-c", 'exec env RUSTC_BOOTSTRAP=1 "$0" "$@" -Zunstable-options --report-time']"#;

/// How long the output may still come after cargo has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// A test and its time in seconds.
type Timed = (String, f64);

/// Arguments of cargo that make each test print its time.
pub(crate) fn arguments() -> [&'static str; 2] {
    ["--config", RUNNER]
}

/// Runs the command to its end; returns also the times that its tests printed.
pub(crate) fn to_its_end(mut command: Command) -> Result<(ExitStatus, Vec<Timed>)> {
    let (output, input) = io::pipe().context("cannot make a pipe")?;
    command.stdout(input);
    let shown = thread::spawn(|| show(output));
    let status = run::to_its_end(&mut command)?;
    // Ends the output, unless a process that a test has left behind still holds it.
    drop(command);
    let deadline = Instant::now() + PATIENCE;
    while !shown.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let times = shown.is_finished().then(|| shown.join().ok()).flatten();
    Ok((status, times.unwrap_or_default()))
}

/// Prints the slowest ten.
pub(crate) fn show_slowest(mut times: Vec<Timed>) {
    times.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    say::line("\nThe slowest tests:\n");
    for (name, seconds) in times.iter().take(10) {
        say::line(format_args!("{seconds:>8.1} s  {name}"));
    }
    say::line("");
}

fn show(output: PipeReader) -> Vec<Timed> {
    let mut output = BufReader::new(output);
    let mut times = Vec::new();
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        let mut shown = io::stdout().lock();
        let _ = match split(&text) {
            Some((plain, time)) => {
                times.push(time);
                writeln!(shown, "{plain}")
            }
            None => shown.write_all(&line),
        }
        .and_then(|()| shown.flush());
        line.clear();
    }
    times
}

/// Splits a line like `test a::b ... ok <1.234s>` into what cargo prints without the option, and the time.
fn split(line: &str) -> Option<(&str, Timed)> {
    let (plain, seconds) = line.trim_end().strip_suffix("s>")?.rsplit_once(" <")?;
    let (name, _) = plain.strip_prefix("test ")?.split_once(" ... ")?;
    Some((plain, (name.to_owned(), seconds.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_from_the_lines_of_tests() {
        let read = |line| split(line).map(|(plain, (name, time))| format!("{plain}|{name}|{time}"));
        assert_eq!(
            read("test a::b ... ok <61.234s>\n").unwrap(),
            "test a::b ... ok|a::b|61.234"
        );
        assert_eq!(
            read("test c - should panic ... FAILED <0.001s>\n").unwrap(),
            "test c - should panic ... FAILED|c - should panic|0.001"
        );
        assert_eq!(read("test d ... ignored\n"), None);
        assert_eq!(read("test e has been running for over 60 seconds\n"), None);
        assert_eq!(read("test result: ok. 1 passed; finished in 0.00s\n"), None);
    }
}
