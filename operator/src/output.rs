//! The output of a command: its report, as text or as JSON, what is unknown because servers did not answer, errors, and
//! the exit code.

use crate::unknown::exit_code;
use clap::ValueEnum;
use rushgate_gate::Applicant;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt;

/// Printed in place of a figure that no server returned.
pub const UNKNOWN: &str = "unknown";

/// The figure, or [`UNKNOWN`].
pub fn figure(found: Option<impl fmt::Display>) -> String {
    found.map_or_else(|| UNKNOWN.to_owned(), |found| found.to_string())
}

/// A user id in a command that is printed, and that an operator may paste into a shell. Applicants choose their user ids,
/// and these may have characters that a shell acts on.
pub fn quoted(user_id: &Applicant) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    match user_id.as_str() {
        plain if plain.bytes().all(is_plain) => plain.to_owned(),
        text => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people (`coupon list`: CSV)
    #[value(alias = "csv")]
    Text,
    /// JSON: one object, or one object a line where there may be many; errors and warnings, too
    Json,
}

/// What a command reports. Text and JSON are made of the same value.
pub trait Report: fmt::Display {
    /// A line for each item of a list; anything else is one line.
    ///
    /// # Errors
    /// When the value cannot be represented in JSON.
    fn json_lines(&self) -> serde_json::Result<Vec<String>>;
}

impl<T: Serialize + fmt::Display> Report for T {
    fn json_lines(&self) -> serde_json::Result<Vec<String>> {
        let json = serde_json::to_string(self)?;
        if !json.starts_with('[') {
            return Ok(vec![json]);
        }
        let items: Vec<&RawValue> = serde_json::from_str(&json)?;
        Ok(items.iter().map(|item| item.get().to_owned()).collect())
    }
}

/// What a command prints.
#[derive(Default)]
pub struct CommandOutput {
    /// Printed on stdout; `None` if the command has printed it already.
    pub report: Option<Box<dyn Report>>,
    pub missing: Missing,
    /// `audit` only: something does not agree.
    pub disagrees: bool,
    /// Printed on stderr: why some of the requested work was not done.
    pub errors: Vec<anyhow::Error>,
}

impl CommandOutput {
    pub fn of(report: impl Report + 'static) -> Self {
        Self {
            report: Some(Box::new(report)),
            ..Self::default()
        }
    }

    /// With what is unknown.
    pub fn without(report: impl Report + 'static, missing: Missing) -> Self {
        Self {
            missing,
            ..Self::of(report)
        }
    }

    /// 2 if something does not agree, however much is unknown; 3 if an effect is unknown; 1 if something was not done
    /// or not found out; otherwise 0.
    pub fn exit_code(&self) -> u8 {
        match self.errors.iter().map(exit_code).max() {
            _ if self.disagrees => 2,
            Some(code) => code,
            None => u8::from(!self.missing.is_empty()),
        }
    }
}

/// What is unknown, grouped by reason. Printed on stderr.
#[derive(Debug, Default)]
pub struct Missing(Vec<(String, Vec<String>)>);

impl Missing {
    /// Most items named for one reason; the others are counted.
    const SHOWN: usize = 8;

    /// Whether everything is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `what` is unknown, because of `why`.
    pub fn add(&mut self, what: &str, why: &str) {
        let what = what.to_owned();
        match self.0.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, things)) if things.contains(&what) => {}
            Some((_, things)) => things.push(what),
            None => self.0.push((why.to_owned(), vec![what])),
        }
    }
}

impl fmt::Display for Missing {
    /// One line for each reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (why, things)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            let shown = things.get(..Self::SHOWN).unwrap_or(things);
            write!(f, "{separator}{}", shown.join(", "))?;
            if things.len() > shown.len() {
                write!(f, " and {} more", things.len() - shown.len())?;
            }
            write!(f, ": {UNKNOWN}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_user_id_as_one_word() {
        for (user_id, expected) in [
            ("kim@example.com", "kim@example.com"),
            ("auth0|66f0", "'auth0|66f0'"),
            ("$(reboot)", "'$(reboot)'"),
            ("o'neil;", r"'o'\''neil;'"),
        ] {
            assert_eq!(quoted(&user_id.parse().expect(user_id)), expected);
        }
    }

    #[test]
    fn what_is_unknown_for_one_reason_stands_in_one_line() {
        let mut missing = Missing::default();
        missing.add("granted", "no Redis");
        missing.add("in Kafka", "no Kafka");
        missing.add("granted", "no Redis");
        missing.add("in the stream", "no Redis");
        assert_eq!(
            missing.to_string(),
            "granted, in the stream: unknown: no Redis\nin Kafka: unknown: no Kafka"
        );
        for number in 0..8 {
            missing.add(&format!("c{number}"), "no Redis");
        }
        let text = missing.to_string();
        assert!(
            text.contains("c4, c5 and 2 more: unknown: no Redis"),
            "{text}"
        );
    }

    #[test]
    fn a_list_is_one_object_a_line() {
        #[derive(Serialize)]
        struct List(Vec<(u8, &'static str)>);

        impl fmt::Display for List {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} items", self.0.len())
            }
        }

        let lines = |list: List| list.json_lines().expect("JSON");
        assert_eq!(lines(List(vec![])), [""; 0]);
        assert_eq!(
            lines(List(vec![(1, "a,\n]"), (2, "b")])),
            [r#"[1,"a,\n]"]"#, r#"[2,"b"]"#]
        );
        assert_eq!(7.json_lines().expect("JSON"), ["7"]);
    }

    #[test]
    fn the_exit_code_says_yes_no_or_unknown() {
        let mut output = CommandOutput::default();
        assert_eq!(output.exit_code(), 0);
        output.missing.add("in Kafka", "no Kafka");
        assert_eq!(output.exit_code(), 1);
        output.disagrees = true;
        assert_eq!(output.exit_code(), 2);
    }
}
