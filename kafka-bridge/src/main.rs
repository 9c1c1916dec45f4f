//! The `kafka-bridge` command: reads the settings, starts logging and metrics, and waits for SIGTERM or SIGINT.
//! All the work is in the library.

use anyhow::Context as _;
use rushgate_kafka_bridge::config::Config;
use rushgate_kafka_bridge::{bridge, metrics};
use rushgate_startup::causes;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config: Config = rushgate_startup::try_parse().unwrap_or_else(|error| error.exit());
    rushgate_startup::log_to_stderr();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = causes(error.as_ref()), "the bridge could not start");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let ended = runtime.block_on(async {
        if let Some(address) = config.metrics_listen {
            metrics::serve(address)
                .with_context(|| format!("serving metrics at {address}, see METRICS_LISTEN"))?;
        }
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(bridge::run(config, shutdown).await?)
    });
    // A metadata request to Kafka may still be running. Its answer is not needed any more, so do not wait for
    // it.
    runtime.shutdown_background();
    ended
}
