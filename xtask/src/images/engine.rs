//! The Docker engine of the test: the one that answers, or one of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rushgate_testbed::program;

use crate::compose::{self, Unusable};
use crate::env_file;
use crate::run;
use crate::say;
use crate::workspace;

/// An engine. Dropping this stops it if it was started here.
pub(crate) struct Engine {
    /// How a client finds it; nothing for the one that every client finds.
    env: Vec<(String, String)>,
    was_started: bool,
}

impl Engine {
    pub(crate) fn find_or_start() -> Result<Self> {
        match compose::usable() {
            Ok(()) => {
                return Ok(Self {
                    env: vec![],
                    was_started: false,
                });
            }
            Err(Unusable::Absent(_)) => {}
            Err(why) => bail!("{why}"),
        }
        let env = env_file::parse(&run::quietly(script().arg("env"))?);
        let mut engine = Self {
            env: env.into_iter().collect(),
            was_started: false,
        };
        let mut ask = Command::new("docker");
        if run::quietly(engine.settings(ask.arg("version"))).is_ok() {
            say::note("An engine of this checkout runs already, and will be left running.");
            return Ok(engine);
        }
        engine.was_started = true;
        run::successfully(script().arg("start")).context(
            "starting a Docker engine: install Docker, or run this command as root on Debian 12",
        )?;
        Ok(engine)
    }

    /// Makes the command use this engine. If it is one of ours, the command may also restart it.
    pub(crate) fn settings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if !self.env.is_empty() {
            command
                .envs(self.env.iter().cloned())
                .env("RUSHGATE_ENGINE_SCRIPT", path());
        }
        command
    }

    /// Stops it if it was started here, also after an interrupt.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if std::mem::take(&mut self.was_started) {
            program::run(script().arg("stop")).context("stopping the Docker engine")?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            say::note(format_args!("The Docker engine may still run: {error:#}"));
        }
    }
}

fn path() -> PathBuf {
    workspace::root().join("testbed/images/engine")
}

fn script() -> Command {
    Command::new(path())
}
