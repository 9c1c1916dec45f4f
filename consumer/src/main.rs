//! The `consumer` command. All the work is in the library.

use rushgate_consumer::{Config, metrics};
use std::process::ExitCode;

fn main() -> ExitCode {
    rushgate_startup::run(async |config: Config, shutdown| {
        config.check()?;
        config.metrics.serve(metrics::with_buckets)?;
        metrics::describe();
        tracing::info!(writers = config.writers(), ?config, "consumer started");
        Ok(rushgate_consumer::run(config, shutdown).await?)
    })
}
