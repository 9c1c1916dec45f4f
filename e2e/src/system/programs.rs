//! The native programs of a system: bridges, consumers and commands of the operator.

use super::System;
use crate::program::program;
use crate::rights::Role;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::wait::until;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

impl System {
    /// Starts the `rushgate` command without waiting for its end; its output is in its log.
    pub fn start_operator(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(program("rushgate"));
        let name = arguments.join("-");
        self.run(command.args(arguments), Role::Operator, &name)
    }

    /// A shell script that finds the `rushgate` command, with the settings of the operator and `RUSHGATE_URL`.
    pub fn script(&self, text: &str) -> Command {
        let operator = program("rushgate");
        let directories = operator.parent().map(Path::to_owned).into_iter();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(directories.chain(std::env::split_paths(&path)));
        let mut command = Command::new("sh");
        command
            .args(["-c", text])
            .envs(self.environment_of(Role::Operator))
            .env("RUSHGATE_URL", self.url())
            .env("PATH", path.expect("a path"));
        command
    }

    /// Starts another bridge, under a name that depends on their number, and waits until it is ready.
    pub async fn start_bridge(&mut self) {
        self.start_bridge_with(&[]).await;
    }

    /// The same with `settings` of its own.
    pub async fn start_bridge_with(&mut self, settings: &[(&str, &str)]) {
        let number = self.bridges.len();
        let mut command = Command::new(program("kafka-bridge"));
        command.envs(settings.iter().copied());
        command.env("BRIDGE_CONSUMER_NAME", format!("bridge-{number}"));
        let bridge = self
            .start_with_metrics(
                &mut command,
                Role::Bridge,
                &format!("bridge-{number}"),
                "rushgate_bridge_ready 1",
            )
            .await;
        self.bridges.push(bridge);
    }

    /// Starts another consumer and waits until it is ready.
    pub async fn start_consumer(&mut self) {
        self.start_consumer_with(&[]).await;
    }

    /// The same with `settings` of its own.
    pub async fn start_consumer_with(&mut self, settings: &[(&str, &str)]) {
        let number = self.consumers.len();
        let mut command = Command::new(program("consumer"));
        command.envs(settings.iter().copied());
        let consumer = self
            .start_with_metrics(
                &mut command,
                Role::Consumer,
                &format!("consumer-{number}"),
                "rushgate_consumer_ready 1",
            )
            .await;
        self.consumers.push(consumer);
    }

    async fn start_with_metrics(
        &mut self,
        command: &mut Command,
        role: Role,
        name: &str,
        ready: &str,
    ) -> Process {
        let port = Port::free().expect("a free port");
        let listen = port.address().to_string();
        let process = self.run(command.env("METRICS_LISTEN", listen), role, name);
        self.metrics.insert(name.to_owned(), port);
        until(&format!("{name} is ready"), async || {
            let metrics = self.metrics(name).await?;
            metrics.contains(ready).then_some(())
        })
        .await;
        process
    }

    /// The metrics of a program such as `consumer-0`, if it answers.
    pub async fn metrics(&self, name: &str) -> Option<String> {
        let address = self.metrics.get(name)?.address();
        let response = reqwest::get(format!("http://{address}/metrics"))
            .await
            .ok()?;
        response.text().await.ok()
    }

    /// Starts a bridge or a consumer with `settings` of its own, with which it need not be able to work.
    pub fn spawn(&self, name: &str, settings: &[(&str, &str)]) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(program(name));
        command.envs(self.environment_of(match name {
            "consumer" => Role::Consumer,
            _ => Role::Bridge,
        }));
        command.envs(settings.iter().copied());
        let log = self.log(&format!("{name}-spawned-{number}"));
        Process::start(&mut command, log).expect("it starts")
    }
}
