//! How a program runs and ends: `main` of bridge and consumer is one call of [`run`].

use crate::causes::causes;
use crate::log::log_to_stderr;
use crate::parse::{Parsed, Settings, parse};
use anyhow::{Context as _, Result};
use std::pin::Pin;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Completes with SIGTERM or SIGINT.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Parses the settings, starts logging, and runs `program` until it ends, which should be soon after a shutdown. An
/// error is logged once, and the exit code is 1.
pub fn run<S: Settings>(program: impl AsyncFnOnce(S, Shutdown) -> Result<()>) -> ExitCode {
    let Parsed { settings, warnings } = parse().unwrap_or_else(|error| error.exit());
    log_to_stderr();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let ended = block_on(None, async {
        let shutdown = shutdown().context("listening for SIGTERM and SIGINT")?;
        program(settings, shutdown).await
    });
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = %causes(error.as_ref()), "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` on a runtime with this number of threads, by default one for each core. Tasks that it leaves behind,
/// such as a DNS query or a request to Kafka, are abandoned.
///
/// # Errors
/// Those of `work`, or when the runtime cannot start.
pub fn block_on<T>(threads: Option<usize>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

/// Listens for SIGTERM and SIGINT from now on.
fn shutdown() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}
