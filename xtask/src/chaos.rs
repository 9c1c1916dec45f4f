//! The command `cargo xtask chaos`. It injects faults of every kind while applicants send requests, on servers that
//! exist only for this test.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rushgate_testbed::servers::kafka::Sasl;
use rushgate_testbed::{port, secret};

use crate::build::{self, FAILPOINTS};
use crate::database;
use crate::kafka;
use crate::packages;
use crate::run;
use crate::say;
use crate::stack::Stack;
use crate::state::State;
use crate::workspace::{self, cargo};

/// The arguments of `chaos`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Seed of the random choices, to repeat a run; default: a random seed, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Minutes during which faults are injected
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Only faults whose name begins with this (an unknown name lists all names)
    #[arg(long, value_name = "FAULT")]
    only: Option<String>,
    /// One rush of this many applicants on one campaign, however long it takes, instead of episodes
    #[arg(long, conflicts_with = "minutes", requires = "quota")]
    applicants: Option<u32>,
    /// Coupons in that rush
    #[arg(long, requires = "applicants")]
    quota: Option<u32>,
}

/// Builds everything and runs the chaos test; returns its exit code.
pub(crate) fn chaos(options: &Options) -> Result<ExitCode> {
    run::survive_interrupts()?;
    packages::build_tools()?;
    let step = say::heading("Building everything");
    build::beside_component(build::build_component, build::build_all_targets)?;
    step.done();
    let test_servers = TestServers::start(&packages::servers()?)?;
    let mut command = cargo([
        "test",
        "--workspace",
        "--test=chaos",
        "--locked",
        FAILPOINTS,
    ]);
    command.args(["--", "--exact", "chaos", "--nocapture"]);
    command
        .env("RUSHGATE_BIN_DIR", workspace::target().join("debug"))
        .env("RUSHGATE_CHAOS", test_servers.dir())
        .env("RUSHGATE_CHAOS_MINUTES", options.minutes.to_string());
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64().context("choosing a seed")?,
    };
    command.env("RUSHGATE_SEED", seed.to_string());
    if let Some(only) = &options.only {
        command.env("RUSHGATE_CHAOS_ONLY", only);
    }
    if let (Some(applicants), Some(quota)) = (options.applicants, options.quota) {
        command.env("RUSHGATE_CHAOS_RUSH", format!("{applicants}/{quota}"));
    }
    Ok(run::exit_code(run::to_its_end(&mut command)?))
}

/// A Kafka and a database, prepared but not started: the test that breaks them starts them. Removed when this is
/// dropped.
pub(crate) struct TestServers {
    state: State,
}

impl TestServers {
    pub(crate) fn start(servers: &packages::Servers) -> Result<Self> {
        kafka::fetch()?;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = workspace::target().join(format!("chaos-{}-{number}", std::process::id()));
        let test_servers = Self {
            state: State::at(dir),
        };
        let state = &test_servers.state;
        state.create()?;
        let step = say::step("Preparing a Kafka and a database for the faults");
        let stack = Stack::servers()?;
        let (door, listens) = (port::for_stack()?, port::for_stack()?);
        let database = database::service(&servers.database, &stack, None, state)?;
        test_servers.keep("database", &database.command)?;
        // The programs log in through a proxy that can be closed: Kafka advertises the address of the proxy.
        let sasl = Sasl {
            port: door,
            behind: Some(listens),
            password: stack.password.clone(),
            tls: None,
        };
        let kafka = kafka::service(&servers.java, &stack, Some(sasl), state)?;
        test_servers.keep("kafka", &kafka.command)?;
        let ports = format!(
            "{} {listens} {door} {}\n{}\n",
            stack.kafka, stack.database, stack.password
        );
        secret::write(&state.path("ports"), &ports).context("cannot write the ports")?;
        step.done();
        Ok(test_servers)
    }

    pub(crate) fn dir(&self) -> std::path::PathBuf {
        self.state.path("")
    }

    /// Writes how a server is started: its directory, its program and its arguments, one on each line.
    fn keep(&self, name: &str, command: &Command) -> Result<()> {
        let dir = command.get_current_dir().unwrap_or(Path::new("."));
        let mut lines = vec![
            dir.display().to_string(),
            command.get_program().display().to_string(),
        ];
        lines.extend(
            command
                .get_args()
                .map(|argument| argument.display().to_string()),
        );
        let path = self.state.path(format!("{name}.command"));
        fs::write(&path, lines.join("\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for TestServers {
    fn drop(&mut self) {
        if let Err(error) = self.state.remove() {
            say::note(format_args!("{error:#}"));
        }
    }
}
