//! Runs `cargo build` and shows how much of it is done, and about how long the rest takes: a bar on a terminal, a line
//! now and then elsewhere. cargo's list of crates is hidden; its warnings and errors are not.

use std::io::{self, BufReader, PipeReader, Read};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rushgate_testbed::program::shown;

use crate::run;
use crate::say;

/// Makes cargo write its own bar into a pipe.
const BAR: [(&str, &str); 2] = [
    ("CARGO_TERM_PROGRESS_WHEN", "always"),
    ("CARGO_TERM_PROGRESS_WIDTH", "80"),
];

/// What the bar says instead.
const HIDDEN: [&str; 6] = [
    "Blocking ",
    "Compiling ",
    "Downloading ",
    "Downloaded ",
    "Finished ",
    "Updating ",
];

/// The bar, once the number of crates is known.
const TEMPLATE: &str = "{spinner} {msg} [{bar:20}] {pos} of {len} crates, {elapsed}{prefix}";

/// Time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// Before that, an estimate is not worth much.
const EARLY: Duration = Duration::from_secs(10);

/// Runs a command that runs `cargo build`.
pub(crate) fn build(what: &str, mut command: Command) -> Result<()> {
    let (output, input) = io::pipe().context("cannot make a pipe")?;
    command.envs(BAR).stderr(input);
    let begun = Instant::now();
    let bar = Bar::new(what, begun);
    let show = thread::spawn(|| show(output, bar));
    let status = run::to_its_end(&mut command)?;
    let command_line = shown(&command);
    // Closes our end of the pipe. cargo's has no other: it waits for its children.
    drop(command);
    let _ = show.join();
    if !status.success() {
        bail!("{command_line} ended with {status}");
    }
    say::note(format_args!(
        "{what}: done in {}",
        say::seconds(begun.elapsed())
    ));
    Ok(())
}

/// About how long the rest takes, once enough is done to tell. Most of the time, units are done evenly. The last tenth is
/// large crates and the programs, for which no two cores have work: it takes a quarter of the time.
fn left(spent: Duration, done: u64, total: u64) -> Option<String> {
    if spent < EARLY || done == 0 {
        return None;
    }
    let units = done as f64 / total as f64;
    let share = 0.75 * units + 0.25 * units.powi(8);
    let left = spent.div_f64(share).saturating_sub(spent);
    Some(match (left.as_secs() + 30) / 60 {
        0 => "less than a minute left".to_owned(),
        minutes => format!("about {minutes} min left"),
    })
}

fn show(output: PipeReader, mut bar: Bar) {
    let mut line = Vec::new();
    for byte in BufReader::new(output).bytes().map_while(io::Result::ok) {
        // cargo ends a state of its bar with \r, and anything else with \n.
        if !matches!(byte, b'\r' | b'\n') {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        match units(&text) {
            Some((done, total)) => bar.moves(done, total, Instant::now()),
            None if HIDDEN
                .iter()
                .any(|word| text.trim_start().starts_with(word)) => {}
            None => say::note(&text),
        }
        line.clear();
    }
}

/// The numbers in a state of cargo's bar, such as `Building [==>  ] 12/245: serde, syn`.
fn units(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line
        .trim_start()
        .strip_prefix("Building [")?
        .split_once("] ")?;
    let (done, total) = rest.split(':').next()?.trim_end().split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

struct Bar {
    what: String,
    begun: Instant,
    /// Units that needed no compiling: those of the first second.
    fresh: u64,
    said: Instant,
    terminal: Option<ProgressBar>,
}

impl Bar {
    fn new(what: &str, begun: Instant) -> Self {
        let terminal = say::spinner(what);
        if terminal.is_none() {
            say::note(format_args!("{what} …"));
        }
        Self {
            what: what.to_owned(),
            begun,
            fresh: 0,
            said: begun,
            terminal,
        }
    }

    fn moves(&mut self, done: u64, total: u64, now: Instant) {
        let spent = now - self.begun;
        if spent < Duration::from_secs(1) {
            self.fresh = done;
        }
        let left = left(spent, done - self.fresh, total - self.fresh);
        let left = left.map(|left| format!(", {left}")).unwrap_or_default();
        if let Some(bar) = &self.terminal {
            if bar.length().is_none()
                && let Ok(style) = ProgressStyle::with_template(TEMPLATE)
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(total);
            bar.set_position(done);
            bar.set_prefix(left);
        } else if now - self.said >= PAUSE {
            self.said = now;
            let (what, spent) = (&self.what, say::seconds(spent));
            say::note(format_args!(
                "{what}: {done} of {total} crates, {spent}{left}"
            ));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.terminal {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_bar_says_how_many_units_are_done() {
        let line = "    Building [=====>          ] 12/245: serde, syn(build)      ";
        assert_eq!(units(line), Some((12, 245)));
        assert_eq!(units("    Building [====] 245/245:   "), Some((245, 245)));
        assert_eq!(units("    Building [====] 2/2"), Some((2, 2)));
        assert_eq!(units("   Compiling serde v1.0.229"), None);
        assert_eq!(units("warning: unused [brackets] 1/2"), None);
    }

    #[test]
    fn an_estimate_follows_from_what_is_done() {
        let after = |seconds, done, total| left(Duration::from_secs(seconds), done, total);
        // Two builds on two cores, whose rest took 8 and 2 minutes.
        assert_eq!(after(62, 81, 515).unwrap(), "about 8 min left");
        assert_eq!(after(95, 121, 191).unwrap(), "about 2 min left");
        assert_eq!(after(200, 199, 200).unwrap(), "less than a minute left");
        assert_eq!(after(5, 100, 200), None);
        assert_eq!(after(60, 0, 200), None);
    }
}
