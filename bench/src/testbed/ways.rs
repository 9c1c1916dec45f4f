//! Starts the services of the usual ways to give out coupons, and waits until each of them is ready.

use super::programs::Server;
use super::{Route, Testbed};
use crate::process::{Process, free_address};
use crate::ways::Way;
use crate::ways::schema::Schema;
use anyhow::Result;
use std::process::Command;

impl Testbed {
    /// A service that gives out this many coupons of a campaign, with a schema of its own.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn way(&self, way: Way, quota: u32, schema: &Schema, route: &Route) -> Result<Server> {
        let address = free_address()?;
        let mut command = self.of_ways(schema, route);
        command
            .args(["way", way.name()])
            .args(["--listen", &address.to_string()])
            .args(["--quota", &quota.to_string()]);
        let mut process = Process::start(way.name(), &mut command, self.directory.path())?;
        process.until_ready(address, "/readyz", "")?;
        Ok(Server { process, address })
    }

    /// The consumer for the way that inserts from Kafka.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn way_consumer(&self, schema: &Schema, route: &Route) -> Result<Process> {
        let mut command = self.of_ways(schema, route);
        command.arg("way-consumer");
        Process::start("way-consumer", &mut command, self.directory.path())
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
