//! Starts the programs of the usual ways to give out coupons, and waits until each service is ready.

use super::programs::Server;
use super::{Route, Testbed};
use crate::ways::Way;
use crate::ways::schema::Schema;
use anyhow::{Context, Result};
use rushgate_testbed::port::Port;
use rushgate_testbed::servers::kafka::java;
use std::process::Command;
use url::Url;

impl Testbed {
    /// A service that gives out this many coupons of a campaign, with a schema of its own.
    ///
    /// # Errors
    /// When it is not ready within a minute.
    pub fn way(&self, way: Way, quota: u32, schema: &Schema, route: &Route) -> Result<Server> {
        let port = Port::free()?;
        let address = port.address();
        let quota = quota.to_string();
        let mut command = match way {
            Way::Spring => self.spring("coupon.api.ApiApplication", schema, route)?,
            _ => self.of_ways(schema, route),
        };
        match way {
            Way::Spring => command
                .env("QUOTA", quota)
                .env("SERVER_ADDRESS", address.ip().to_string())
                .env("SERVER_PORT", address.port().to_string()),
            _ => command
                .args(["way", way.name()])
                .args(["--listen", &address.to_string()])
                .args(["--quota", &quota]),
        };
        let mut server = self.start(way.name(), port, command)?;
        server.until_ready("/readyz", "")?;
        Ok(server)
    }

    /// The consumer of a way that inserts from Kafka. It listens nowhere.
    ///
    /// # Errors
    /// When there is no such program, or the Spring one gets no partitions within a minute.
    pub fn way_consumer(&self, way: Way, schema: &Schema, route: &Route) -> Result<Server> {
        // A log of its own, in which no earlier consumer has written.
        let name = format!("{}-consumer-{}", way.name(), route.topic);
        let port = Port::free()?;
        if way == Way::Spring {
            let command = self.spring("coupon.consumer.ConsumerApplication", schema, route)?;
            let mut consumer = self.start(&name, port, command)?;
            consumer.until_logged("partitions assigned")?;
            return Ok(consumer);
        }
        let mut command = self.of_ways(schema, route);
        command.arg("way-consumer");
        self.start(&name, port, command)
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

    /// A program of `bench/spring`, with the defaults of the JVM.
    fn spring(&self, class: &str, schema: &Schema, route: &Route) -> Result<Command> {
        let class_path = self.servers.spring.as_ref();
        let class_path = class_path.context(
            "RUSHGATE_SPRING is not set: run `cargo xtask bench ways`, which builds the Spring service",
        )?;
        let java = java().context("Java 17 or newer is not installed")?;
        let url: Url = schema.url().parse().context("DATABASE_URL")?;
        // Without TLS, like the other ways.
        let jdbc = format!(
            "jdbc:mysql://{}:{}{}?sslMode=DISABLED&allowPublicKeyRetrieval=true",
            url.host_str().unwrap_or("127.0.0.1"),
            url.port().unwrap_or(3306),
            url.path()
        );
        let mut command = Command::new(java);
        command
            .arg(format!(
                "-Djava.io.tmpdir={}",
                self.directory.path().display()
            ))
            .args(["-cp", class_path, class])
            .envs(self.environment())
            .envs(route.environment())
            .env("SPRING_DATASOURCE_URL", jdbc)
            .env("SPRING_DATASOURCE_USERNAME", url.username())
            .env(
                "SPRING_DATASOURCE_PASSWORD",
                url.password().unwrap_or_default(),
            );
        Ok(command)
    }
}
