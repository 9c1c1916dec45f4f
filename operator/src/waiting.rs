//! Sets time limits for servers, and prints progress while a command waits.
//!
//! A wait of less than a second prints nothing. Then a line on stderr says what the command waits for, and for how
//! long at most. If the reason for waiting changes, another line follows, but at most one every 3 s. If it does not
//! change, a line follows every 10 s.

use crate::stderr;
use anyhow::Result;
use rushgate_startup::duration_or_number_of;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest time for one request. Operators ask most during a rush, when servers are slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// No note before that.
const SILENCE: Duration = Duration::from_secs(1);

/// Shortest time between two notes.
const GAP: Duration = Duration::from_secs(3);

/// When an unchanged note is repeated.
const REPEAT: Duration = Duration::from_secs(10);

/// How a `--wait` is parsed. It used to be a number of seconds.
pub fn wait() -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let limits = Duration::ZERO..=Duration::from_hours(24 * 7);
    duration_or_number_of(Duration::from_secs(1), limits)
}

/// A server did not answer within [`PATIENCE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has not answered within {patience} s", patience = PATIENCE.as_secs())]
pub struct NoAnswer(&'static str);

/// The server's answer, if it arrives within [`PATIENCE`].
///
/// # Errors
/// [`NoAnswer`], or the error of the request itself.
pub async fn within<T>(
    server: &'static str,
    question: impl Future<Output = Result<T>>,
) -> Result<T> {
    let what = format!("{server} has not answered yet");
    let answer = noting(&what, Some(PATIENCE), timeout(PATIENCE, question)).await;
    answer.unwrap_or_else(|_| Err(NoAnswer(server).into()))
}

/// The output of `work`, which takes at most `limit`, with notes for the operator meanwhile.
pub async fn noting<T>(what: &str, limit: Option<Duration>, work: impl Future<Output = T>) -> T {
    let mut notes = Notes::begin(limit);
    let mut work = pin!(work);
    loop {
        match timeout_at(notes.due(), &mut work).await {
            Ok(output) => return output,
            Err(_) => notes.say(what),
        }
    }
}

/// Notes about one wait.
#[derive(Debug)]
pub struct Notes {
    begun: Instant,
    limit: Option<Duration>,
    said: Option<(Instant, String)>,
}

impl Notes {
    /// For a wait that begins now and takes at most `limit`.
    pub fn begin(limit: Option<Duration>) -> Self {
        Self {
            begun: Instant::now(),
            limit,
            said: None,
        }
    }

    /// Prints what the command waits for, if a note is due.
    pub fn say(&mut self, what: &str) {
        if let Some(line) = self.line(what, Instant::now()) {
            stderr::note(&line);
        }
    }

    /// When an unchanged note is due.
    fn due(&self) -> Instant {
        match &self.said {
            None => self.begun + SILENCE,
            Some((at, _)) => *at + REPEAT,
        }
    }

    fn line(&mut self, what: &str, now: Instant) -> Option<String> {
        let due = match &self.said {
            Some((at, said)) if said != what => *at + GAP,
            _ => self.due(),
        };
        if now < due {
            return None;
        }
        self.said = Some((now, what.to_owned()));
        let waited = now - self.begun;
        Some(match self.limit {
            Some(limit) => {
                let left = limit.saturating_sub(waited).as_secs_f64();
                format!("{what}: waiting up to {left:.0} s more")
            }
            None => format!("{what}: {:.0} s so far", waited.as_secs_f64()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_after_a_second_then_when_something_has_changed_and_every_ten_seconds() {
        let mut notes = Notes::begin(Some(Duration::from_secs(60)));
        let begun = notes.begun;
        let mut at = |tenths: u64, what: &str| {
            let now = begun + Duration::from_millis(tenths * 100);
            notes.line(what, now)
        };
        let line = |what: &str, left: u32| Some(format!("{what}: waiting up to {left} s more"));
        assert_eq!(at(9, "3 left"), None);
        assert_eq!(at(10, "3 left"), line("3 left", 59));
        assert_eq!(at(39, "2 left"), None, "too soon after the first");
        assert_eq!(at(40, "2 left"), line("2 left", 56));
        assert_eq!(at(139, "2 left"), None, "nothing has changed");
        assert_eq!(at(140, "2 left"), line("2 left", 46));
        assert_eq!(at(700, "2 left"), line("2 left", 0));
    }

    #[test]
    fn without_a_limit_it_says_for_how_long_it_has_waited() {
        let mut notes = Notes::begin(None);
        let now = notes.begun + Duration::from_secs(12);
        let line = notes.line("reading the topic", now);
        assert_eq!(line.as_deref(), Some("reading the topic: 12 s so far"));
    }
}
