//! The `kafka-bridge` command: settings, logs, metrics, signals. The work is done in the library.

use anyhow::Context as _;
use rushgate_gate::causes::causes;
use rushgate_kafka_bridge::config::Config;
use rushgate_kafka_bridge::{bridge, metrics};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let config: Config = rushgate_settings::try_parse().unwrap_or_else(|error| error.exit());
    rushgate_settings::log_to_stderr();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = causes(error.as_ref()), "bridge cannot run");
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
    // Not waiting for a question to Kafka that nobody needs the answer of.
    runtime.shutdown_background();
    ended
}
