//! Reading a program's settings, with one rule for variables that are set but empty.

use clap::error::ErrorKind;
use clap::{Command, Parser};

/// The settings of a program, from flags and environment. A variable that is set but empty counts as unset, as Compose
/// hands on what nobody has set.
///
/// # Errors
/// When clap refuses them, or was asked for help.
pub fn try_parse<T: Parser>() -> Result<T, clap::Error> {
    let matches = without_empty_variables(T::command()).try_get_matches();
    let parsed = matches.and_then(|matches| T::from_arg_matches(&matches));
    match parsed {
        // Help names every variable, also those that are empty.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => T::try_parse(),
        parsed => parsed,
    }
}

fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        match value.is_some_and(|value| value.is_empty()) {
            true => arg.env(None),
            false => arg,
        }
    });
    command.mut_subcommands(without_empty_variables)
}
