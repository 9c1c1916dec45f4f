//! Runs tests on servers that it starts for this purpose.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use rushgate_testbed::servers::redis;

use crate::build::FAILPOINTS;
use crate::chaos::TestServers;
use crate::handler::Host;
use crate::load;
use crate::packages;
use crate::pypi::SCHEMATHESIS;
use crate::servers::Servers;
use crate::spring;
use crate::workspace::{self, cargo};

/// Variables from a shell or the `stack.env` of another stack, which tests must not see: they choose their own.
const FOREIGN: [&str; 12] = [
    "RUSHGATE_URL",
    "RUSHGATE_URLS",
    "RUSHGATE_OPERATOR",
    "KAFKA_TOPIC",
    "KAFKA_VALUE_FORMAT",
    "KAFKA_SIGNING_KEYS",
    "KAFKA_SIGNING_KEYS_FILE",
    "KAFKA_REQUIRE_SIGNATURES",
    "COUPON_CODE_KEYS",
    "COUPON_CODE_KEYS_FILE",
    "METRICS_LISTEN",
    "RUSHGATE_MODEL",
];

/// Programs that tests use.
pub(crate) struct Tools {
    browser: PathBuf,
    schemathesis: PathBuf,
    k6: PathBuf,
    spring: String,
}

impl Tools {
    /// Finds them; installs what is missing.
    pub(crate) fn find() -> Result<Self> {
        packages::edge()?;
        packages::scripts()?;
        Ok(Self {
            browser: packages::browser()?,
            schemathesis: SCHEMATHESIS.fetch()?,
            k6: load::k6()?,
            spring: spring::build()?,
        })
    }
}

/// Running servers for tests.
pub(crate) struct Suites<'a> {
    tools: &'a Tools,
    chosen: packages::Servers,
    servers: Servers,
    /// For faults: as many tests as there are can run at a time.
    test_servers: Vec<TestServers>,
}

impl<'a> Suites<'a> {
    /// Starts the servers, with their data in the directory `name` under `target/`.
    pub(crate) fn start(
        name: &str,
        chosen: packages::Servers,
        tools: &'a Tools,
        test_servers: usize,
    ) -> Result<Self> {
        let test_servers = (0..test_servers).map(|_| TestServers::start(&chosen));
        Ok(Self {
            tools,
            test_servers: test_servers.collect::<Result<_>>()?,
            servers: Servers::start(name, &chosen)?,
            chosen,
        })
    }

    /// The command `cargo test`, for tests of every kind.
    pub(crate) fn cargo_test(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = cargo(["test", "--workspace", "--locked", FAILPOINTS]);
        command.args(arguments).envs(self.servers.env());
        without_foreign(&mut command);
        command
            .env("RUSHGATE_BIN_DIR", workspace::target().join("debug"))
            .env("RUSHGATE_BROWSER", &self.tools.browser)
            .env("RUSHGATE_SCHEMATHESIS", &self.tools.schemathesis)
            .env("RUSHGATE_K6", &self.tools.k6)
            .env("RUSHGATE_SPRING", &self.tools.spring)
            .env("PYTHONPATH", SCHEMATHESIS.directory())
            .env(redis::PROGRAM, &self.chosen.redis)
            .envs(self.chosen.database.env());
        let dirs: Vec<_> = self.test_servers.iter().map(TestServers::dir).collect();
        command.env("RUSHGATE_CHAOS", std::env::join_paths(dirs)?);
        if let Host::Spin { program, .. } = Host::find() {
            command.env("RUSHGATE_SPIN", program);
        }
        Ok(command)
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.servers.stop()
    }
}

/// Removes the variables of another stack.
pub(crate) fn without_foreign(command: &mut Command) {
    for variable in FOREIGN {
        command.env_remove(variable);
    }
}
