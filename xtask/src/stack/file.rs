//! Writes and reads the file `stack.env`, which keeps a stack's addresses for its next `up`, and for shells.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Runner, Stack};
use crate::env_file;

impl Stack {
    /// The text of `stack.env`.
    pub(crate) fn render(&self) -> String {
        let runner = match self.runner {
            Runner::Native => "native",
            Runner::Docker => "docker",
        };
        format!(
            "# Written by `cargo xtask up`. In a shell: set -a; . .rushgate/stack.env; set +a\n{}\n\
             # For xtask itself.\n{}",
            env_file::render(self.env()),
            env_file::render([
                ("XTASK_RUNNER", runner.to_owned()),
                (
                    "XTASK_PORTS",
                    joined(&[self.redis, self.kafka, self.controller, self.database])
                ),
                ("XTASK_PASSWORD", self.password.clone()),
                ("XTASK_EDGE", joined(self.edge.as_slice())),
                ("XTASK_HANDLERS", joined(&self.handlers)),
                ("XTASK_BRIDGES", joined(&self.bridges)),
                ("XTASK_CONSUMERS", joined(&self.consumers)),
            ])
        )
    }

    /// Parses the output of [`Stack::render`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let values = env_file::parse(text);
        let [redis, kafka, controller, database] = list(&values, "XTASK_PORTS")?
            .try_into()
            .ok()
            .context("XTASK_PORTS must have four ports")?;
        Ok(Self {
            runner: match value(&values, "XTASK_RUNNER")? {
                "docker" => Runner::Docker,
                _ => Runner::Native,
            },
            redis,
            kafka,
            controller,
            database,
            password: value(&values, "XTASK_PASSWORD")?.to_owned(),
            // Older ones do not have it.
            edge: list(&values, "XTASK_EDGE").unwrap_or_default().pop(),
            handlers: list(&values, "XTASK_HANDLERS")?,
            bridges: list(&values, "XTASK_BRIDGES")?,
            consumers: list(&values, "XTASK_CONSUMERS")?,
        })
    }
}

fn joined(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

fn value<'a>(values: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    values.get(key).map(String::as_str).with_context(|| {
        format!("{key} is missing: `cargo xtask down`, then `cargo xtask up`, write it again")
    })
}

fn list<T>(values: &BTreeMap<String, String>, key: &str) -> Result<Vec<T>>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    value(values, key)?
        .split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            item.parse()
                .with_context(|| format!("{key} contains {item:?}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{behind_an_edge, stack};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(Stack::parse(&stack().render()).unwrap(), stack());
        let behind = behind_an_edge();
        assert_eq!(Stack::parse(&behind.render()).unwrap(), behind);
        let servers = Stack::servers().unwrap();
        assert_eq!(Stack::parse(&servers.render()).unwrap(), servers);
    }

    #[test]
    fn a_damaged_file_names_what_is_missing() {
        let error = Stack::parse("REDIS_URL=redis://127.0.0.1:1\n").unwrap_err();
        assert!(error.to_string().contains("XTASK_PORTS"), "{error}");
    }
}
