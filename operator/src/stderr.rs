//! Writes the lines on stderr: errors, warnings, and notes about what a command waits for. With `--output json` each line
//! is one JSON object.

use crate::refusal::ErrorCode;
use serde::Serialize;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

/// Set before the command runs; like the format of a log, it is the same for the whole process.
static MODE: AtomicU8 = AtomicU8::new(TEXT);

const TEXT: u8 = 0;
const JSON: u8 = 1;
const NOTHING: u8 = 2;

/// From now on every line is one JSON object.
pub fn write_json() {
    MODE.store(JSON, Ordering::Relaxed);
}

/// From now on nothing is written, because a screen is drawn.
pub fn write_nothing() {
    MODE.store(NOTHING, Ordering::Relaxed);
}

/// From now on lines are text again.
pub fn write_text() {
    MODE.store(TEXT, Ordering::Relaxed);
}

/// A line, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    message: &'a str,
    command: Option<&'a str>,
}

pub fn error(code: ErrorCode, message: &str) {
    line("error", Some(code), message);
}

pub fn warning(message: &str) {
    line("warning", None, message);
}

/// A note about what a command waits for.
pub fn note(message: &str) {
    line("note", None, message);
}

fn line(severity: &'static str, code: Option<ErrorCode>, message: &str) {
    if MODE.load(Ordering::Relaxed) == NOTHING {
        return;
    }
    // A closed stderr is not a failure of the command.
    let _ = writeln!(std::io::stderr(), "{}", shown(severity, code, message));
}

fn shown(severity: &'static str, code: Option<ErrorCode>, message: &str) -> String {
    let line = Line {
        severity,
        code,
        message,
        command: command(message),
    };
    match (MODE.load(Ordering::Relaxed), severity) {
        (JSON, _) => serde_json::to_string(&line).unwrap_or_else(|error| error.to_string()),
        (_, "note") => message.to_owned(),
        (_, _) => format!("{severity}: {message}"),
    }
}

/// The first command that a message names. Messages quote commands with backquotes.
fn command(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("`rushgate ")?;
    let (arguments, _) = rest.split_once('`')?;
    let begin = message.len() - rest.len() - "rushgate ".len();
    message.get(begin..begin + "rushgate ".len() + arguments.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_that_a_message_names_is_a_field() {
        for (message, expected) in [
            (
                "there is no campaign x: `rushgate campaign list` lists all",
                Some("rushgate campaign list"),
            ),
            (
                "`SELECT 1` failed: run `rushgate setup`, then `rushgate audit`",
                Some("rushgate setup"),
            ),
            ("say `rushgate` again", None),
            ("an open `rushgate audit", None),
        ] {
            assert_eq!(command(message), expected, "{message}");
        }
    }

    #[test]
    fn a_line_is_text_unless_json_was_chosen() {
        let error = || shown("error", Some(ErrorCode::Refused), "no \"x\"");
        assert_eq!(error(), "error: no \"x\"");
        assert_eq!(shown("note", None, "waiting"), "waiting");
        write_json();
        assert_eq!(
            error(),
            r#"{"severity":"error","code":"refused","message":"no \"x\"","command":null}"#
        );
        assert_eq!(
            shown("warning", None, "run `rushgate setup`"),
            r#"{"severity":"warning","message":"run `rushgate setup`","command":"rushgate setup"}"#
        );
        write_text();
    }
}
