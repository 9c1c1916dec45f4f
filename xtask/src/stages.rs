//! The stages of a command that takes minutes. Each is announced with its number, and with how long it took last time.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::say;
use crate::workspace;

pub(crate) struct Stages {
    total: usize,
    number: usize,
    current: Option<(String, Instant)>,
    /// The seconds of each stage, from earlier runs.
    seconds: toml::Table,
    file: PathBuf,
}

impl Stages {
    /// The stages of a command; their times are kept in `target/`, in a file with the command's name.
    pub(crate) fn new(command: &str, total: usize) -> Self {
        let file = workspace::target().join(format!("stages-{command}.toml"));
        let text = fs::read_to_string(&file).unwrap_or_default();
        Self {
            total,
            number: 0,
            current: None,
            seconds: text.parse().unwrap_or_default(),
            file,
        }
    }

    /// Ends the current stage successfully, and begins the next one.
    pub(crate) fn begin(&mut self, name: &str) {
        self.end();
        self.number += 1;
        say::note(self.heading(name));
        self.current = Some((name.to_owned(), Instant::now()));
    }

    /// Ends the current stage successfully. Nothing is recorded for a stage that fails.
    pub(crate) fn end(&mut self) {
        let Some((name, begun)) = self.current.take() else {
            return;
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.seconds.insert(name, seconds.into());
        // Without the file, the next run shows no times.
        let _ = fs::write(&self.file, self.seconds.to_string());
    }

    fn heading(&self, name: &str) -> String {
        let seconds = self.seconds.get(name).and_then(toml::Value::as_float);
        let last = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let last = last.map(|last| format!(" (last time: {})", say::seconds(last)));
        let last = last.unwrap_or_default();
        let (number, total) = (self.number, self.total);
        format!("Stage {number} of {total}: {name}{last} …")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_says_its_number_and_its_last_time() {
        let mut stages = Stages {
            total: 2,
            number: 1,
            current: None,
            seconds: "clippy = 83.2\nformat = \"?\"".parse().unwrap(),
            file: PathBuf::new(),
        };
        assert_eq!(
            stages.heading("clippy"),
            "Stage 1 of 2: clippy (last time: 1 min 23 s) …"
        );
        stages.number = 2;
        assert_eq!(stages.heading("format"), "Stage 2 of 2: format …");
    }
}
