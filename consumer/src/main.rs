//! The `consumer` command: it reads the settings, starts logging and metrics, and runs [`rushgate_consumer::run`]
//! until SIGTERM or SIGINT.

use anyhow::{Context, anyhow};
use rushgate_consumer::{Config, metrics, run};
use rushgate_startup::causes;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = rushgate_startup::try_parse().unwrap_or_else(|error| error.exit());
    config.check()?;
    rushgate_startup::log_to_stderr();
    if let Some(listen) = config.metrics_listen {
        metrics::serve(listen)
            .with_context(|| format!("serving metrics at {listen}: check METRICS_LISTEN"))?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if let Some(warning) = config.renamed_settings() {
        warn!("{warning}");
    }
    info!(writers = config.writers(), ?config, "consumer started");
    let stopped = run(config, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    stopped.await.map_err(|error| anyhow!(causes(&error)))?;
    info!("consumer stopped");
    Ok(())
}
