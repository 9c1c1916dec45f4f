//! Docker and Docker Compose, as an operator uses them. `cargo xtask test --images` sets the engine, the files, the
//! project and the ports in the environment.

use anyhow::{Result, bail};
use rushgate_testbed::wait::until_within;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Longest time for anything in containers. Kafka has needed four minutes to start on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program; returns what it printed.
pub(crate) async fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String> {
    let output = command(&program, arguments).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let program = program.as_ref().display();
        let said = [text(&output.stdout), text(&output.stderr)].join("\n");
        bail!(
            "{program} {}: {}\n{said}",
            arguments.join(" "),
            output.status
        );
    }
    Ok(text(&output.stdout))
}

pub(crate) async fn docker(arguments: &[&str]) -> String {
    run("docker", arguments).await.expect("docker")
}

pub(crate) async fn compose(arguments: &[&str]) -> String {
    docker(&[&["compose"], arguments].concat()).await
}

/// Starts everything, and waits until it is healthy.
pub(crate) async fn up() {
    compose(&["up", "--detach", "--wait"]).await;
    healthy().await;
}

/// Runs the `rushgate` command in a container.
pub(crate) async fn rushgate(arguments: &[&str]) -> String {
    let run = ["run", "--rm", "--no-TTY", "rushgate"];
    compose(&[&run, arguments].concat()).await
}

/// The services that keep running.
pub(crate) async fn services() -> Vec<String> {
    let services = compose(&["ps", "--services"]).await;
    services.lines().map(str::to_owned).collect()
}

/// What `docker inspect` says of the container of a service.
pub(crate) async fn inspect(service: &str, format: &str) -> String {
    let container = compose(&["ps", "--all", "--quiet", service]).await;
    docker(&["inspect", "--format", format, &container]).await
}

/// Waits until each container that runs is healthy, and no other one should run.
pub(crate) async fn healthy() {
    until_within(PATIENCE, "all services are healthy", async || {
        let all = [
            "compose",
            "ps",
            "--all",
            "--format",
            "{{.State}} {{.Health}} {{.ExitCode}}",
        ];
        let states = run("docker", &all).await.ok()?;
        let fine = |state: &str| state == "running healthy 0" || state == "exited  0";
        (!states.is_empty() && states.lines().all(fine)).then_some(())
    })
    .await;
}

/// A `kill -9` for the container of a service, as the kernel does when memory is short: the engine did not ask for it, and
/// starts the container again.
pub(crate) struct Kill(Child);

impl Kill {
    /// Prepares it, so that it takes no time.
    pub(crate) async fn of(service: &str) -> Self {
        let image = inspect("redis", "{{.Config.Image}}").await;
        let script = format!(
            "echo ready; read -r now && kill -9 {}",
            inspect(service, "{{.State.Pid}}").await
        );
        let run = [
            "run",
            "--rm",
            "--interactive",
            "--pid=host",
            "--user=0",
            "--entrypoint=sh",
        ];
        let mut docker = command("docker", &[&run[..], &[&image, "-c", &script]].concat());
        docker.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = docker.spawn().expect("docker");
        let mut ready = String::new();
        let said = BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut ready)
            .await;
        assert_eq!((said.expect("a line"), ready.trim()), (6, "ready"));
        Self(child)
    }

    pub(crate) async fn now(mut self) {
        let mut pipe = self.0.stdin.take().expect("a pipe");
        pipe.write_all(b"now\n").await.expect("written");
        drop(pipe);
        assert!(self.0.wait().await.expect("docker").success());
    }
}

/// The containers, volumes and networks of the engine.
pub(crate) async fn everything() -> BTreeSet<String> {
    let mut everything = BTreeSet::new();
    for (kind, list) in [
        ("container", &["ps", "--all", "--quiet"][..]),
        ("volume", &["volume", "ls", "--quiet"]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
    ] {
        let found = docker(list).await;
        everything.extend(found.lines().map(|name| format!("{kind} {name}")));
    }
    everything
}
