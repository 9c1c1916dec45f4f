//! The command `cargo xtask bench`. It runs the benchmarks of `rushgate-bench` as release builds, on servers that it
//! starts for this purpose and stops afterwards.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::binaries::{BENCH, BRIDGE, CONSUMER, OPERATOR, RELEASE, WASM_HOST};
use crate::build;
use crate::handler::Host;
use crate::kafka;
use crate::packages;
use crate::run;
use crate::say;
use crate::servers::Servers;
use crate::spring;
use crate::workspace;

/// The benchmark that runs the Spring service.
const WAYS: &str = "ways";

/// The arguments of `bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The benchmark; default: all (an unknown name lists all names)
    name: Option<String>,
    /// A benchmark that a full run leaves out, such as ways, which has tables and a chart of its own; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    without: Vec<String>,
    /// Go on with the full run that was interrupted, after the last benchmark that it finished
    #[arg(long, conflicts_with_all = ["name", "quick"])]
    resume: bool,
    /// Fewer and shorter turns: all benchmarks in 15 minutes
    #[arg(long)]
    quick: bool,
}

/// Builds everything and runs the benchmarks; returns their exit code.
pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    run::survive_interrupts()?;
    packages::build_tools()?;
    packages::edge()?;
    let host = Host::find();
    // `floor` measures on wasm-host, too, where the others run on Spin.
    build::build(RELEASE, &[OPERATOR, BRIDGE, CONSUMER, WASM_HOST, BENCH])?;
    build::build_components()?;
    let is_in_full_run = !options.without.iter().any(|name| name == WAYS);
    let spring = match options.name.as_deref() {
        None if is_in_full_run => Some(spring::build()?),
        Some(WAYS) => Some(spring::build()?),
        _ => None,
    };
    let servers = Servers::start("bench-stack", &packages::servers()?)?;
    let step = say::heading(format!("Measuring ({})", host.name()));
    let mut command = Command::new(RELEASE.directory().join(BENCH.name));
    command
        .arg("run")
        .args(options.name.as_deref())
        .args(
            options
                .without
                .iter()
                .flat_map(|name| ["--without", name.as_str()]),
        )
        .args(options.resume.then_some("--resume"))
        .args(options.quick.then_some("--quick"))
        .arg("--results")
        .arg(workspace::root().join("bench/results"))
        .arg("--page")
        .arg(workspace::root().join("bench/README.md"))
        .arg("--page")
        .arg(workspace::root().join("docs/performance.md"))
        .envs(servers.env())
        .env("RUSHGATE_BIN_DIR", RELEASE.directory())
        .env("RUSHGATE_HOST", host.name())
        .env("RUSHGATE_KAFKA_VERSION", kafka::broker_version()?)
        .env(
            "RUSHGATE_KAFKA_PROCESS",
            servers.process("kafka")?.to_string(),
        )
        .env(
            "RUSHGATE_DATABASE_PROCESS",
            servers.process("database")?.to_string(),
        );
    if let Host::Spin { program, .. } = &host {
        command.env("RUSHGATE_SPIN", program);
    }
    if let Some(spring) = spring {
        command.env("RUSHGATE_SPRING", spring);
    }
    let status = run::to_its_end(&mut command)?;
    step.done();
    servers.stop()?;
    Ok(run::exit_code(status))
}
