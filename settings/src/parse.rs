//! Reading a program's settings, with one rule for variables that are set but blank.

use clap::error::ErrorKind;
use clap::{Command, Parser};

/// The settings of a program, from flags and environment. A variable that is set but blank counts as unset, as Compose
/// hands on what nobody has set.
///
/// # Errors
/// When clap refuses them, or was asked for help.
pub fn try_parse<T: Parser>() -> Result<T, clap::Error> {
    let matches = without_blank_variables(T::command()).try_get_matches();
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    match parsed {
        // Help names every variable, also those that are blank.
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

/// Whether a value says nothing.
pub(crate) fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}
