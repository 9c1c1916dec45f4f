//! Accepts settings by the names, and in the units, of the previous version, with a warning that names the new form.

use crate::duration::{number, shown};
use clap::error::{ContextKind, ContextValue, Error};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use std::time::Duration;

/// A setting that had another name in the previous version.
#[derive(Clone, Copy, Debug)]
pub struct Renamed {
    /// The old environment variable
    pub variable: &'static str,
    /// The old flag, without `--`
    pub flag: &'static str,
    /// The flag of today, without `--`
    pub now: &'static str,
    /// What has to follow the old value, such as `ms`
    pub unit: &'static str,
}

/// The command, with hidden flags for the old names.
pub(crate) fn with_old_names(command: Command, renamed: &[Renamed]) -> Command {
    command.args(renamed.iter().map(|old| {
        let arg = Arg::new(old.variable).long(old.flag).env(old.variable);
        arg.hide(true).hide_env_values(true)
    }))
}

/// The flags of today for settings that were given by their old names alone, and a warning for each old name.
pub(crate) fn replace_old_names(
    command: &Command,
    matches: &ArgMatches,
    renamed: &[Renamed],
) -> (Vec<String>, Vec<String>) {
    let (mut flags, mut warnings) = (vec![], vec![]);
    for old in renamed {
        let Some(value) = matches.get_one::<String>(old.variable) else {
            continue;
        };
        let Some(arg) = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(old.now))
        else {
            continue;
        };
        let (flag, now) = (old.now, variable(arg));
        let before = format!("{} (--{})", old.variable, old.flag);
        if is_given(matches, arg) {
            warnings.push(format!(
                "{before} is ignored because {now} (--{flag}) is set: remove the old one"
            ));
            continue;
        }
        let value = format!("{value}{}", old.unit);
        warnings.push(format!(
            "{before} was renamed and will be removed in the next version: set {now}={value} (--{flag}) instead"
        ));
        flags.push(format!("--{flag}={value}"));
    }
    (flags, warnings)
}

/// The error about a flag of [`replace_old_names`], with the name and the value that the operator has set.
pub(crate) fn with_old_name(mut error: Error, matches: &ArgMatches, renamed: &[Renamed]) -> Error {
    let Some(ContextValue::String(now)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let flag = now
        .split(' ')
        .next()
        .and_then(|flag| flag.strip_prefix("--"));
    let old = renamed.iter().find(|old| flag == Some(old.now));
    let value = old.and_then(|old| matches.get_one::<String>(old.variable));
    if let (Some(old), Some(value)) = (old, value) {
        let name = format!("{} (--{}), which is {now} today", old.variable, old.flag);
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String(value.clone()),
        );
    }
    error
}

/// A warning for each duration that was given as a number without a unit.
pub(crate) fn numbers_without_unit(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let mut warnings = vec![];
    for arg in command.get_arguments() {
        let name = arg.get_id().as_str();
        let is_duration = matches.try_get_one::<Duration>(name).ok().flatten();
        let (Some(duration), true) = (is_duration, is_given(matches, arg)) else {
            continue;
        };
        let text = matches.get_raw(name).and_then(|mut raw| raw.next());
        if let Some(number) = text.and_then(|text| text.to_str()).and_then(number) {
            let flag = arg.get_long().unwrap_or(name);
            let setting = match variable(arg) {
                "" => format!("--{flag}"),
                variable => format!("{variable} (--{flag})"),
            };
            warnings.push(format!(
                "{setting}: {number} has no unit, and will be refused in the next version: write {}",
                shown(*duration)
            ));
        }
    }
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        warnings.extend(numbers_without_unit(command, matches));
    }
    warnings
}

fn is_given(matches: &ArgMatches, arg: &Arg) -> bool {
    let source = matches.value_source(arg.get_id().as_str());
    source.is_some_and(|source| source != ValueSource::DefaultValue)
}

fn variable(arg: &Arg) -> &str {
    arg.get_env()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}
