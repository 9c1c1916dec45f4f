//! Parses flags and environment variables, with one rule for all programs: a blank variable counts as unset.

use clap::error::ErrorKind;
use clap::{Command, Parser};

/// Parses the settings of a program. A variable that is set but blank counts as unset, because Compose passes
/// on variables without a value as blank ones.
///
/// # Errors
/// When clap refuses a setting, or `--help` or `--version` was given.
pub fn try_parse<T: Parser>() -> Result<T, clap::Error> {
    let matches = without_blank_variables(T::command()).try_get_matches();
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    match parsed {
        // Parse again for `--help`, which lists every variable, including blank ones.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => T::try_parse(),
        parsed => parsed,
    }
}

fn without_blank_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        match value.is_some_and(|value| value.to_str().is_some_and(is_blank)) {
            true => arg.env(None),
            false => arg,
        }
    });
    command.mut_subcommands(without_blank_variables)
}

pub(crate) fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}
