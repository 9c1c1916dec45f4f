//! Prints output for the user: results on stdout, progress on stderr.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Everything that moves on the terminal: several builds may run at a time.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line of the result.
pub(crate) fn line(text: impl Display) {
    // stdout may be closed (`… | head`).
    let _ = writeln!(stdout(), "{text}");
}

/// Prints a progress line.
pub(crate) fn note(text: impl Display) {
    BARS.suspend(|| {
        let _ = writeln!(stderr(), "{text}");
    });
}

/// A spinner, if there is a terminal.
pub(crate) fn spinner(what: &str) -> Option<ProgressBar> {
    let terminal = stderr().is_terminal();
    terminal.then(|| {
        let spinner = BARS.add(ProgressBar::new_spinner().with_message(what.to_owned()));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
        spinner
    })
}

/// A step that takes a while: a spinner on a terminal, plain lines elsewhere.
pub(crate) struct Progress {
    what: String,
    begun: Instant,
    spinner: Option<ProgressBar>,
}

/// Begins a step whose own output is hidden.
pub(crate) fn step(what: impl Into<String>) -> Progress {
    let what = what.into();
    let spinner = spinner(&what);
    if spinner.is_none() {
        note(format_args!("{what} …"));
    }
    Progress {
        what,
        begun: Instant::now(),
        spinner,
    }
}

/// Begins a step whose tool prints its progress below this line.
pub(crate) fn heading(what: impl Into<String>) -> Progress {
    let what = what.into();
    note(format_args!("{what} …"));
    Progress {
        what,
        begun: Instant::now(),
        spinner: None,
    }
}

impl Progress {
    /// Ends the step successfully.
    pub(crate) fn done(self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        note(format_args!(
            "{}: done in {}",
            self.what,
            seconds(self.begun.elapsed())
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// A duration for people.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(Duration::from_millis(240)), "0.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
