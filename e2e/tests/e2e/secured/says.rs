//! What a program says about a server that it cannot use.

use rushgate_testbed::process::Process;
use rushgate_testbed::wait::until;
use std::time::Duration;
use tokio::time::timeout;

/// Lines about one thing that is wrong, however long it lasts.
const MOST: usize = 2;

/// What a running program logs from now on.
pub(crate) struct Log<'a> {
    name: &'static str,
    process: &'a Process,
    begin: usize,
}

impl<'a> Log<'a> {
    pub(crate) fn now(name: &'static str, process: &'a Process) -> Self {
        Self {
            name,
            process,
            begin: process.log().len(),
        }
    }

    /// What it has logged since it started.
    pub(crate) fn all(name: &'static str, process: &'a Process) -> Self {
        Self {
            name,
            process,
            begin: 0,
        }
    }

    fn text(&self) -> String {
        self.process.log().split_off(self.begin)
    }

    /// Waits until one line has all these words.
    pub(crate) async fn says(&self, words: &[&str]) {
        let what = format!("{} says {words:?}", self.name);
        until(&what, async || says(self.name, &self.text(), words).ok()).await;
    }

    /// Whether one line has all these words within two seconds.
    pub(crate) async fn says_soon(&self, words: &[&str]) -> bool {
        timeout(Duration::from_secs(2), self.says(words))
            .await
            .is_ok()
    }

    /// It has not said it at every attempt.
    pub(crate) fn is_short(&self, words: &[&str]) {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(words[0]));
        assert!(lines.count() <= MOST, "{}: {text}", self.name);
    }
}

/// One line has all these words.
pub(crate) fn says(name: &str, text: &str, words: &[&str]) -> Result<(), String> {
    let mut lines = text.lines();
    let said = lines.any(|line| words.iter().all(|word| line.contains(word)));
    said.then_some(())
        .ok_or_else(|| format!("{name} does not say {words:?}: {text}"))
}
