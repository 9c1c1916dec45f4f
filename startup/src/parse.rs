//! Parses flags and environment variables, with one rule for all programs: a blank variable counts as unset.

use crate::old_names::{
    Renamed, numbers_without_unit, replace_old_names, with_old_name, with_old_names,
};
use clap::error::ErrorKind;
use clap::{Command, Parser};
use std::ffi::OsString;

/// The settings of a program.
pub trait Settings: Parser {
    /// The settings whose old names still work.
    const RENAMED: &'static [Renamed] = &[];
}

/// Settings, and what the operator should change in them before the next version.
#[derive(Debug)]
pub struct Parsed<T> {
    pub settings: T,
    pub warnings: Vec<String>,
}

/// Parses the settings of a program. A variable that is set but blank counts as unset, because Compose passes
/// on variables without a value as blank ones.
///
/// # Errors
/// When clap refuses a setting, or `--help` or `--version` was given.
pub fn parse<T: Settings>() -> Result<Parsed<T>, clap::Error> {
    match parse_from(std::env::args_os().collect()) {
        // Parse again for `--help`, which lists every variable, including blank ones.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            T::try_parse().map(|settings| Parsed {
                settings,
                warnings: vec![],
            })
        }
        parsed => parsed,
    }
}

/// Like [`parse`], with these arguments, of which the first is the name of the program.
///
/// # Errors
/// As [`parse`].
pub fn parse_from<T: Settings>(mut arguments: Vec<OsString>) -> Result<Parsed<T>, clap::Error> {
    let mut command = without_blank_variables(with_old_names(T::command(), T::RENAMED));
    let mut matches = command.try_get_matches_from_mut(&arguments)?;
    let (flags, mut warnings) = replace_old_names(&command, &matches, T::RENAMED);
    if !flags.is_empty() {
        let first = arguments.len().min(1);
        arguments.splice(first..first, flags.into_iter().map(OsString::from));
        let again = command.try_get_matches_from_mut(&arguments);
        matches = again.map_err(|error| with_old_name(error, &matches, T::RENAMED))?;
    }
    warnings.extend(numbers_without_unit(&command, &matches));
    let settings = T::from_arg_matches(&matches)?;
    Ok(Parsed { settings, warnings })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::{duration, duration_or_number_of};
    use clap::Subcommand;
    use std::ops::RangeInclusive;
    use std::time::Duration;

    const LIMITS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Debug, Parser)]
    struct Program {
        #[arg(long, env = "PROGRAM_AGE", default_value = "20ms", value_parser = duration(LIMITS))]
        age: Duration,
        #[arg(long, env = "PROGRAM_IDLE", default_value = "60s")]
        #[arg(value_parser = duration_or_number_of(SECOND, LIMITS))]
        idle: Duration,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, Subcommand)]
    enum Command {
        Run {
            #[arg(long, default_value = "5s", value_parser = duration_or_number_of(SECOND, LIMITS))]
            wait: Duration,
        },
    }

    impl Settings for Program {
        const RENAMED: &'static [Renamed] = &[Renamed {
            variable: "PROGRAM_AGE_MS",
            flag: "age-ms",
            now: "age",
            unit: "ms",
        }];
    }

    fn parsed(arguments: &[&str]) -> Result<Parsed<Program>, String> {
        let arguments = ["program"].iter().chain(arguments).map(OsString::from);
        parse_from(arguments.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_old_name_works_with_a_warning_and_the_new_name_wins() {
        let renamed = "PROGRAM_AGE_MS (--age-ms) was renamed and will be removed in the next version: set \
                       PROGRAM_AGE=5ms (--age) instead";
        let ignored = "PROGRAM_AGE_MS (--age-ms) is ignored because PROGRAM_AGE (--age) is set: remove the old one";
        for (arguments, age, warnings) in [
            (&[][..], 20, &[][..]),
            (&["--age", "7ms"], 7, &[]),
            (&["--age-ms", "5"], 5, &[renamed]),
            (&["--age-ms", "5", "run"], 5, &[renamed]),
            (&["--age-ms", "5", "--age", "7ms"], 7, &[ignored]),
        ] {
            let program = parsed(arguments).expect("parses");
            assert_eq!(
                program.settings.age,
                Duration::from_millis(age),
                "{arguments:?}"
            );
            assert_eq!(program.warnings, warnings, "{arguments:?}");
        }
    }

    #[test]
    fn an_error_names_the_setting_and_the_value_that_were_given() {
        let old = "PROGRAM_AGE_MS (--age-ms), which is --age <AGE> today";
        for (argument, value, setting) in [
            ("--age-ms=old", "old", old),
            ("--age-ms=-1", "-1", old),
            ("--age=7", "7", "--age <AGE>"),
            ("--age=old", "old", "--age <AGE>"),
        ] {
            let error = parsed(&[argument]).expect_err(argument);
            let expected = format!("error: invalid value '{value}' for '{setting}': ");
            assert!(error.starts_with(&expected), "{argument}: {error}");
        }
    }

    #[test]
    fn a_number_without_a_unit_works_with_a_warning_where_it_used_to() {
        let program = parsed(&["--idle", "7", "run", "--wait", "90"]).expect("parses");
        assert_eq!(program.settings.idle, 7 * SECOND);
        let Some(Command::Run { wait }) = program.settings.command else {
            panic!("run: {program:?}");
        };
        assert_eq!(wait, 90 * SECOND);
        assert_eq!(
            program.warnings,
            [
                "PROGRAM_IDLE (--idle): 7 has no unit, and will be refused in the next version: write 7s",
                "--wait: 90 has no unit, and will be refused in the next version: write 1m 30s",
            ]
        );
        let program = parsed(&["--idle", "7s", "run"]).expect("parses");
        assert_eq!(program.warnings, [""; 0]);
    }
}
