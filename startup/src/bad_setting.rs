//! The error for a setting that cannot be used. Its message names the variable, and never contains a secret.

use crate::parse::is_blank;

/// A setting that cannot be used, and what to do about it. The message contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadSetting {
    variable: &'static str,
    problem: String,
}

impl BadSetting {
    /// `problem` continues a sentence that begins with the variable's name, such as "is not set".
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self {
            variable,
            problem: problem.into(),
        }
    }

    /// The error for a setting that needs another one.
    pub(crate) fn without(variable: &'static str, other: &str) -> Self {
        Self::new(
            variable,
            format!("is set without {other}: set both, or remove it"),
        )
    }

    /// Returns an error if the value is missing or blank.
    pub(crate) fn unless_set(variable: &'static str, value: &str) -> Result<(), Self> {
        if is_blank(value) {
            return Err(Self::new(variable, "is not set: give it a value"));
        }
        Ok(())
    }
}
