//! Starts the programs of the system and the baseline services, and waits until each of them is ready.

use super::{Route, Testbed};
use crate::scale::Scale;
use anyhow::Result;
use rushgate_floor::SCRIPT;
use rushgate_testbed::load::get;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::spin_cache;
use std::fs::read_to_string;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a program may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP server with its process.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    command: Command,
    log: PathBuf,
    _port: Port,
}

impl Testbed {
    /// The handler, with the component of `spin.toml`.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn handler(&self) -> Result<Server> {
        self.handler_with(&[])
    }

    /// The same with more variables.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn handler_with(&self, variables: &[(&str, &str)]) -> Result<Server> {
        let mut env = vec![("SPIN_VARIABLE_REDIS_URL", self.servers.redis_url.as_str())];
        env.extend(variables);
        if self.scale == Scale::Smoke {
            // A machine that is busy with other tests must not cause refusals in this one.
            env.push(("SPIN_VARIABLE_GATE_BUDGET_MS", "0"));
        }
        self.host("handler", "spin.toml", &env)
    }

    /// The hello-world component, on the same host.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn hello(&self) -> Result<Server> {
        self.host("hello", "bench/hello/spin.toml", &[])
    }

    /// The floor component, on the same host. It responds with `refusal`, an HTTP response, if that is not empty.
    ///
    /// # Errors
    /// When Redis does not take the script, or the component is not ready within a minute.
    pub fn floor(&mut self, refusal: &str) -> Result<Server> {
        let script = self.gate.load_script(SCRIPT)?;
        let variables = [
            ("SPIN_VARIABLE_REDIS_URL", self.servers.redis_url.as_str()),
            ("SPIN_VARIABLE_SCRIPT", script.as_str()),
            ("SPIN_VARIABLE_REFUSAL", refusal),
        ];
        self.host("floor", "bench/floor/spin.toml", &variables)
    }

    /// A component on the host, which has loaded it from its cache, as it usually does: a host that has compiled it keeps
    /// some of the compiler's memory.
    fn host(&self, name: &str, manifest: &str, env: &[(&str, &str)]) -> Result<Server> {
        let compiled = (self.servers.spin.is_some(), manifest.to_owned());
        if self.compiled.borrow_mut().insert(compiled) {
            drop(self.start_host(name, manifest, env)?);
        }
        self.start_host(name, manifest, env)
    }

    fn start_host(&self, name: &str, manifest: &str, env: &[(&str, &str)]) -> Result<Server> {
        let port = Port::free()?;
        let address = port.address();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = match &self.servers.spin {
            Some(spin) => {
                let mut command = Command::new(spin);
                let state = self.directory.path().join(address.to_string());
                let cache = spin_cache::in_directory(&self.directory.path().join("cache"))?;
                command.args(["up", "--state-dir"]).arg(state);
                command.arg("--cache").arg(cache);
                command
            }
            None => Command::new(self.servers.bin_dir.join("wasm-host")),
        };
        command
            .arg("--from")
            .arg(root.join(manifest))
            .args(["--listen", &address.to_string()])
            .envs(env.iter().copied());
        let mut server = self.start(name, port, command)?;
        server.until_ready("/readyz", "")?;
        Ok(server)
    }

    /// A service of `rushgate-bench serve`.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn service(&self, name: &str) -> Result<Server> {
        let port = Port::free()?;
        let address = port.address();
        let program = self.servers.bin_dir.join("rushgate-bench");
        let mut command = Command::new(program);
        command
            .args(["serve", name, "--listen", &address.to_string()])
            .envs(self.environment());
        let mut server = self.start(name, port, command)?;
        server.until_ready("/readyz", "")?;
        Ok(server)
    }

    /// A bridge from the gate to the route's topic. Its address is that of its metrics.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn bridge(&self, route: &Route) -> Result<Server> {
        let mut bridge = self.starting_bridge(route)?;
        bridge.until_ready("/metrics", "rushgate_bridge_ready 1")?;
        Ok(bridge)
    }

    /// The same, without waiting for it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn starting_bridge(&self, route: &Route) -> Result<Server> {
        self.part("kafka-bridge", route, &[("BRIDGE_CONSUMER_NAME", "bench")])
    }

    /// This many bridges that share the work, all ready.
    ///
    /// # Errors
    /// When one is not ready within a minute.
    pub fn bridges(&self, route: &Route, count: usize) -> Result<Vec<Server>> {
        let bridges = (0..count).map(|number| {
            let name = format!("bench-{number}");
            let mut bridge =
                self.part("kafka-bridge", route, &[("BRIDGE_CONSUMER_NAME", &name)])?;
            bridge.until_ready("/metrics", "rushgate_bridge_ready 1")?;
            Ok(bridge)
        });
        bridges.collect()
    }

    /// A consumer of the route's topic. Its address is that of its metrics.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn consumer(&self, route: &Route) -> Result<Server> {
        let mut consumer = self.starting_consumer(route)?;
        consumer.until_ready("/metrics", "rushgate_consumer_ready 1")?;
        Ok(consumer)
    }

    /// The same, without waiting for it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn starting_consumer(&self, route: &Route) -> Result<Server> {
        self.part("consumer", route, &[])
    }

    fn part(&self, name: &str, route: &Route, env: &[(&str, &str)]) -> Result<Server> {
        let port = Port::free()?;
        let address = port.address();
        let mut command = Command::new(self.servers.bin_dir.join(name));
        command
            .envs(self.environment())
            .envs(route.environment())
            .envs(env.iter().copied())
            .env("METRICS_LISTEN", address.to_string())
            .env("RUST_LOG", "warn");
        self.start(name, port, command)
    }

    pub(super) fn start(&self, name: &str, port: Port, mut command: Command) -> Result<Server> {
        let log = self.directory.path().join(format!("{name}.log"));
        Ok(Server {
            process: Process::start(&mut command, &log)?,
            address: port.address(),
            command,
            log,
            _port: port,
        })
    }
}

impl Server {
    /// Waits until it answers `GET {path}` with 200 and this text.
    pub(super) fn until_ready(&mut self, path: &str, text: &str) -> Result<()> {
        let is_ready = || get(self.address, path).is_ok_and(|page| page.contains(text));
        self.process.until_ready(PATIENCE, is_ready)
    }

    /// Waits until its log has this text.
    pub(super) fn until_logged(&mut self, text: &str) -> Result<()> {
        let is_ready = || read_to_string(&self.log).is_ok_and(|log| log.contains(text));
        self.process.until_ready(PATIENCE, is_ready)
    }

    /// Kills it, as in a crash, and starts it again at once.
    ///
    /// # Errors
    /// When it has ended by itself, or cannot be started again.
    pub fn crash(&mut self) -> Result<()> {
        self.process.check()?;
        self.process.kill();
        self.process = Process::start(&mut self.command, &self.log)?;
        Ok(())
    }

    /// A counter of a program; 0 before it exists.
    pub fn counted(&self, metric: &str) -> u64 {
        let page = get(self.address, "/metrics").unwrap_or_default();
        let value = page.lines().find_map(|line| line.strip_prefix(metric));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    }
}
