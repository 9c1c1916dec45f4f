//! The command `cargo xtask logs`, which shows the end of the services' logs, and follows them if asked to.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rushgate_testbed::log;

use crate::compose;
use crate::run;
use crate::say;
use crate::stack::Runner;
use crate::state::State;

/// Lines shown of each log.
const LINES: usize = 40;

/// Shows the end of one log or of all logs, and then what is appended, if asked to.
pub(crate) fn logs(service: Option<&str>, follow: bool, state: &State) -> Result<()> {
    let stack = state.running_stack()?;
    if stack.runner == Runner::Docker {
        let mut command = compose::compose(["logs"]);
        command.args(follow.then_some("--follow"));
        command.args(service.map(compose::service_name));
        return run::successfully(&mut command);
    }
    let services = match service {
        Some(service) => state.select(service)?,
        None => state.services()?,
    };
    let alone = services.len() == 1;
    let mut followed = Vec::new();
    for service in services {
        let path = state.log(&service);
        let end = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        for line in log::tail(&path, 0, LINES)? {
            show(&service, alone, &line);
        }
        followed.push(Followed {
            service,
            path,
            seen: end,
        });
    }
    if !follow {
        return Ok(());
    }
    loop {
        for log in &mut followed {
            let text = log.what_is_new()?;
            text.lines()
                .for_each(|line| show(&log.service, alone, line));
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn show(service: &str, alone: bool, line: &str) {
    if alone {
        say::line(line);
    } else {
        say::line(format_args!("{service:<10} | {line}"));
    }
}

struct Followed {
    service: String,
    path: PathBuf,
    /// Bytes already shown.
    seen: u64,
}

impl Followed {
    /// Complete lines written since the last call; an incomplete line waits.
    fn what_is_new(&mut self) -> Result<String> {
        let mut bytes = read_from(&self.path, self.seen)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        bytes.truncate(whole);
        self.seen += u64::try_from(whole)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn read_from(path: &Path, position: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.seek(SeekFrom::Start(position))?;
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_whole_lines_are_shown_and_each_once() {
        let path = std::env::temp_dir().join(format!("xtask-follow-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut log = Followed {
            service: "thing".into(),
            path: path.clone(),
            seen: 0,
        };
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(log.what_is_new().unwrap(), "one\n");
        assert_eq!(log.what_is_new().unwrap(), "");
        file.write_all(b"o\n").unwrap();
        assert_eq!(log.what_is_new().unwrap(), "two\n");
        fs::remove_file(path).unwrap();
    }
}
