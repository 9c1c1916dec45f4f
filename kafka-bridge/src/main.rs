//! The `kafka-bridge` command. All the work is in the library.

use rushgate_kafka_bridge::bridge;
use rushgate_kafka_bridge::config::Config;
use std::process::ExitCode;

fn main() -> ExitCode {
    rushgate_startup::run(async |config: Config, shutdown| {
        config.metrics.serve(Ok)?;
        Ok(bridge::run(config, shutdown).await?)
    })
}
