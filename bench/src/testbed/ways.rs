//! Starts the services of the usual ways to give out coupons, and waits until each of them is ready.

use super::programs::Server;
use super::{Route, Testbed};
use crate::ways::Way;
use crate::ways::schema::Schema;
use anyhow::Result;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use std::process::Command;

impl Testbed {
    /// A service that gives out this many coupons of a campaign, with a schema of its own.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn way(&self, way: Way, quota: u32, schema: &Schema, route: &Route) -> Result<Server> {
        let port = Port::free()?;
        let mut command = self.of_ways(schema, route);
        command
            .args(["way", way.name()])
            .args(["--listen", &port.address().to_string()])
            .args(["--quota", &quota.to_string()]);
        let mut server = self.start(way.name(), port, &mut command)?;
        server.until_ready("/readyz", "")?;
        Ok(server)
    }

    /// The consumer for the way that inserts from Kafka.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn way_consumer(&self, schema: &Schema, route: &Route) -> Result<Process> {
        let mut command = self.of_ways(schema, route);
        command.arg("way-consumer");
        Process::start(&mut command, self.log("way-consumer"))
    }

    fn of_ways(&self, schema: &Schema, route: &Route) -> Command {
        let mut command = Command::new(self.servers.bin_dir.join("rushgate-bench"));
        command
            .arg("serve")
            .envs(self.environment())
            .envs(route.environment())
            .env("DATABASE_URL", schema.url());
        command
    }
}
