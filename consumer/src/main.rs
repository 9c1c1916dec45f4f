//! Kafka to MySQL, as a program: settings, logs, metrics and signals around [`rushgate_consumer::run`].

use anyhow::{Context, anyhow};
use rushgate_consumer::{Config, metrics, run};
use rushgate_gate::causes::causes;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = rushgate_settings::try_parse().unwrap_or_else(|error| error.exit());
    config.check()?;
    rushgate_settings::log_to_stderr();
    if let Some(listen) = config.metrics_listen {
        metrics::serve(listen)
            .with_context(|| format!("METRICS_LISTEN: {listen} cannot be listened on"))?;
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
