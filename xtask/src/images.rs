//! The command `cargo xtask test --images`. It builds the images, starts them with Docker Compose as a project of its
//! own, and runs the test that breaks the containers. Without a Docker engine it runs one of its own, on Debian 12; where
//! images cannot be pulled, it builds base images from Debian packages. It stops and removes everything that it started.

mod engine;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use rushgate_testbed::{port, program};

use crate::build::FAILPOINTS;
use crate::handler::Host;
use crate::kafka;
use crate::packages;
use crate::run;
use crate::say;
use crate::stack::{Runner, Stack};
use crate::stages::Stages;
use crate::state::State;
use crate::suites;
use crate::workspace::{self, cargo};
use engine::Engine;

const PROJECT: &str = "rushgate-images";

/// Builds, starts, breaks and removes the containers; returns the exit code of the test.
pub(crate) fn test() -> Result<ExitCode> {
    run::survive_interrupts()?;
    let state = State::at(workspace::target().join("images"));
    state.create()?;
    let _lock = state.lock()?;
    let mut stages = Stages::new("test-images", 5);
    stages.begin("engine");
    let engine = Engine::find_or_start()?;
    let mut containers = Containers::planned(engine)?;
    stages.begin("base images");
    if !containers.can_pull() {
        containers.build_bases()?;
    }
    stages.begin("images");
    run::successfully(&mut containers.compose(&["build"]))
        .context("building the images: `docker compose build` shows the same")?;
    containers.show_sizes()?;
    stages.begin("test programs");
    let cargo_test = [
        "test",
        "--workspace",
        "--test=images",
        "--locked",
        FAILPOINTS,
    ];
    run::successfully(cargo(cargo_test).arg("--no-run"))?;
    stages.begin("containers");
    let mut command = cargo(cargo_test);
    command.args(["--", "--ignored", "--nocapture"]);
    let status = run::to_its_end(containers.settings(&mut command))?;
    if status.success() {
        stages.end();
    } else {
        containers.show_state();
    }
    containers.down()?;
    containers.engine.stop()?;
    Ok(run::exit_code(status))
}

/// The containers of the test. Dropping this removes them.
struct Containers {
    stack: Stack,
    engine: Engine,
    files: &'static str,
    may_run: bool,
}

impl Containers {
    fn planned(engine: Engine) -> Result<Self> {
        let handler = ([127, 0, 0, 1], port::for_stack()?).into();
        Ok(Self {
            stack: Stack {
                runner: Runner::Docker,
                handlers: vec![handler],
                ..Stack::servers()?
            },
            engine,
            files: "docker-compose.yml",
            may_run: true,
        })
    }

    /// Sets the engine, the project, its ports and passwords, and what clients need. No setting of another stack is kept.
    fn settings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let stack = &self.stack;
        suites::without_foreign(command);
        self.engine.settings(command);
        command
            .envs(stack.env())
            .env("COMPOSE_PROJECT_NAME", PROJECT)
            .env("COMPOSE_FILE", self.files)
            .env("COMPOSE_DISABLE_ENV_FILE", "1")
            .env("MYSQL_PASSWORD", &stack.password)
            .env("MYSQL_ROOT_PASSWORD", &stack.password)
            .env("REDIS_PORT", stack.redis.to_string())
            .env("KAFKA_PORT", stack.kafka.to_string())
            .env("MYSQL_PORT", stack.database.to_string());
        for listen in &stack.handlers {
            command.env("RUSHGATE_LISTEN", listen.to_string());
        }
        // Here all applicants have one address.
        for limit in ["CONNECTIONS", "REQUESTS", "APPLICATIONS"] {
            command.env(format!("EDGE_{limit}_PER_ADDRESS"), "1000000");
        }
        command
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).current_dir(workspace::root());
        self.settings(&mut command);
        command
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        self.docker(&[&["compose"], arguments].concat())
    }

    /// Whether the engine gets the images of the servers from their registries.
    fn can_pull(&self) -> bool {
        let step = say::step("Pulling the images of the servers");
        let pulled = run::quietly(&mut self.compose(&["pull", "--ignore-buildable"]));
        match pulled {
            Ok(_) => step.done(),
            Err(_) => {
                say::note("They cannot be pulled: building base images from Debian packages.")
            }
        }
        pulled.is_ok()
    }

    fn build_bases(&mut self) -> Result<()> {
        packages::servers()?;
        kafka::fetch()?;
        let spin = match Host::find() {
            Host::Spin { program, .. } => program,
            Host::WasmHost => {
                let build = [
                    "build",
                    "--workspace",
                    "--bin=wasm-host",
                    "--locked",
                    FAILPOINTS,
                ];
                run::successfully(&mut cargo(build))?;
                workspace::target().join("debug/wasm-host")
            }
        };
        let step = say::step("Building the base images");
        let mut bases = Command::new(workspace::root().join("testbed/images/bases"));
        bases.arg(kafka::jars()?).arg(spin);
        run::quietly(self.settings(&mut bases))
            .context("building base images, which needs Debian 12 and root")?;
        step.done();
        self.files = "docker-compose.yml:testbed/images/override.yml";
        Ok(())
    }

    fn show_sizes(&self) -> Result<()> {
        let mut images = run::quietly(&mut self.compose(&["config", "--images"]))?;
        images.push('\n');
        let mut images: Vec<_> = images.lines().collect();
        images.sort_unstable();
        images.dedup();
        for image in images {
            let format = "{{.Repository}}:{{.Tag}}  {{.Size}}";
            say::line(run::quietly(
                &mut self.docker(&["images", "--format", format, image]),
            )?);
        }
        Ok(())
    }

    /// Prints which containers run, and the end of their logs, after a failure.
    fn show_state(&self) {
        for arguments in [&["ps", "--all"][..], &["logs", "--no-color", "--tail=20"]] {
            // The failure itself is reported.
            let _ = run::to_its_end(&mut self.compose(arguments));
        }
    }

    /// Removes containers, volumes and networks, also after an interrupt.
    fn down(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.may_run) {
            return Ok(());
        }
        let step = say::step("Removing the containers");
        program::run(&mut self.compose(&["down", "--volumes", "--remove-orphans", "--timeout=1"]))
            .with_context(|| format!("removing the containers: try `docker compose --project-name {PROJECT} down --volumes`"))?;
        step.done();
        Ok(())
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            say::note(format_args!("Containers may be left: {error:#}"));
        }
    }
}
