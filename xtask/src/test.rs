//! The command `cargo xtask test`, which runs every check that a change must pass, on servers that it starts for this
//! purpose.
//!
//! Its output ends with cargo's result lines, and its exit code is cargo's. Its servers do not interfere with a
//! running stack and are always stopped.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::bench;
use crate::build;
use crate::chaos::{FAILPOINTS, TestServers};
use crate::compose;
use crate::handler::Host;
use crate::packages;
use crate::pypi::SCHEMATHESIS;
use crate::run;
use crate::say;
use crate::servers::Servers;
use crate::toolchain;
use crate::workspace::{self, cargo};

/// Variables of another stack, from a shell or a `stack.env`, which tests must not see: they choose their own.
const FOREIGN: [&str; 9] = [
    "RUSHGATE_URL",
    "RUSHGATE_URLS",
    "RUSHGATE_OPERATOR",
    "KAFKA_TOPIC",
    "KAFKA_VALUE_FORMAT",
    "KAFKA_SIGNING_KEYS",
    "KAFKA_SIGNING_KEYS_FILE",
    "KAFKA_REQUIRE_SIGNATURES",
    "METRICS_LISTEN",
];

/// Runs all checks, cheap ones first; `arguments` are passed to `cargo test`.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    run::survive_interrupts()?;
    toolchain::ensure_checkers()?;
    packages::build_tools()?;
    let browser = packages::browser()?;
    let schemathesis = SCHEMATHESIS.fetch()?;
    check("Checking the format", &["fmt", "--all", "--check"])
        .context("the format differs: run `cargo fmt --all`")?;
    check(
        "Running clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            FAILPOINTS,
            "--",
            "--deny",
            "warnings",
        ],
    )?;
    if compose::compose_answers() {
        check_compose_file()?;
    }
    build::build_component()?;
    build::build_component_of(bench::HELLO)?;
    check(
        "Building everything that the tests need",
        &[
            "build",
            "--workspace",
            "--all-targets",
            "--locked",
            FAILPOINTS,
        ],
    )?;
    document()?;

    // One set for the faults and one for the planted bugs, so that neither waits for the other.
    let test_servers = [TestServers::start()?, TestServers::start()?];
    let dirs = std::env::join_paths(test_servers.each_ref().map(TestServers::dir))?;
    let servers = Servers::start("test-stack")?;
    let step = say::heading("Testing");
    let mut command = cargo(["test", "--workspace", "--locked", FAILPOINTS]);
    command.args(arguments).envs(servers.stack.env());
    command.env("RUSHGATE_BIN_DIR", workspace::target().join("debug"));
    command
        .env("RUSHGATE_CHAOS", dirs)
        .env("RUSHGATE_SASL_KAFKA", servers.sasl_kafka())
        .env("RUSHGATE_BROWSER", browser)
        .env("RUSHGATE_SCHEMATHESIS", schemathesis)
        .env("PYTHONPATH", SCHEMATHESIS.directory());
    if let Host::Spin { program, .. } = Host::find() {
        command.env("RUSHGATE_SPIN", program);
    }
    for variable in FOREIGN {
        command.env_remove(variable);
    }
    let status = run::to_its_end(&mut command)?;
    drop(step);
    servers.stop()?;
    Ok(run::exit_code(status))
}

fn check(what: &str, arguments: &[&str]) -> Result<()> {
    let step = say::heading(what);
    run::successfully(&mut cargo(arguments.iter().copied()))?;
    step.done();
    Ok(())
}

fn document() -> Result<()> {
    let step = say::heading("Building the documentation");
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    run::successfully(command.env("RUSTDOCFLAGS", "--deny warnings"))?;
    step.done();
    Ok(())
}

fn check_compose_file() -> Result<()> {
    let step = say::step("Checking docker-compose.yml");
    run::quietly(
        compose::compose(["config", "--quiet"])
            .envs([("MYSQL_PASSWORD", "x"), ("MYSQL_ROOT_PASSWORD", "x")]),
    )?;
    step.done();
    Ok(())
}
