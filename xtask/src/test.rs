//! The command `cargo xtask test`, which runs every check that a change must pass, on servers that it starts for this
//! purpose.
//!
//! Its output ends with cargo's result lines, and its exit code is cargo's. Its servers do not interfere with a
//! running stack and are always stopped. `--fast` runs only what needs no server.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::{self, FAILPOINTS};
use crate::compose;
use crate::matrix;
use crate::packages;
use crate::run;
use crate::stages::Stages;
use crate::suites::{Suites, Tools, without_foreign};
use crate::timed;
use crate::toolchain;
use crate::workspace::cargo;

/// Runs all checks, cheap ones first; `arguments` are passed to `cargo test`.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    run::survive_interrupts()?;
    let everything = arguments.is_empty();
    let mut stages = Stages::new("test", if everything { 8 } else { 6 });
    stages.begin("tools");
    toolchain::ensure_checkers()?;
    packages::build_tools()?;
    let tools = Tools::find()?;
    stages.begin("format");
    check_format()?;
    if compose::compose_answers() {
        check_compose_file()?;
    }
    build::beside_component(build::build_components, || {
        stages.begin("clippy, and the components");
        clippy()?;
        stages.begin("build");
        build::build_all_targets()
    })?;
    stages.begin("documentation");
    document()?;

    stages.begin(if everything { "tests" } else { "chosen tests" });
    // One set of test servers for the faults and one for the planted bugs, so that neither waits for the other.
    let suites = Suites::start("test-stack", packages::servers()?, &tools, 2)?;
    let mut command = suites.cargo_test(&timed::arguments())?;
    // The tests of the documentation are the last stage: they cannot print their times.
    command
        .args(everything.then_some("--tests"))
        .args(arguments);
    let (mut status, times) = timed::to_its_end(command)?;
    if everything && status.success() {
        timed::show_slowest(times);
        stages.begin("newer servers");
        if !matrix::bounded(&tools)? {
            suites.stop()?;
            return Ok(ExitCode::FAILURE);
        }
        stages.begin("tests of the documentation");
        status = run::to_its_end(&mut suites.cargo_test(&["--doc"])?)?;
        if status.success() {
            stages.end();
        }
    }
    suites.stop()?;
    Ok(run::exit_code(status))
}

/// Runs the checks that need no server, no browser and no download.
pub(crate) fn fast() -> Result<ExitCode> {
    run::survive_interrupts()?;
    toolchain::ensure_checkers()?;
    packages::build_tools()?;
    let mut stages = Stages::new("test-fast", 3);
    stages.begin("format");
    check_format()?;
    stages.begin("clippy");
    clippy()?;
    stages.begin("tests");
    let mut command = cargo(["test", "--workspace", "--locked", FAILPOINTS]);
    without_foreign(&mut command);
    command
        .args(["--lib", "--bins"])
        .args(["docs", "manifests", "structure", "model"].map(|name| format!("--test={name}")))
        .env("RUSHGATE_MODEL", "smallest");
    let status = run::to_its_end(&mut command)?;
    if status.success() {
        stages.end();
    }
    Ok(run::exit_code(status))
}

fn check_format() -> Result<()> {
    run::successfully(&mut cargo(["fmt", "--all", "--check"]))
        .context("the format differs: run `cargo fmt --all`")
}

fn clippy() -> Result<()> {
    run::successfully(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        FAILPOINTS,
        "--",
        "--deny",
        "warnings",
    ]))
}

fn document() -> Result<()> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    run::successfully(command.env("RUSTDOCFLAGS", "--deny warnings"))
}

fn check_compose_file() -> Result<()> {
    run::quietly(
        compose::compose(["config", "--quiet"])
            .envs([("MYSQL_PASSWORD", "x"), ("MYSQL_ROOT_PASSWORD", "x")]),
    )
    .context("checking docker-compose.yml")
    .map(drop)
}
