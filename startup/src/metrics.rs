//! The HTTP endpoint from which Prometheus reads the metrics of a program.

use anyhow::{Context as _, Result};
use clap::Args;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use std::net::SocketAddr;

#[derive(Args, Clone, Debug)]
pub struct MetricsSettings {
    /// Address of the metrics endpoint, such as 0.0.0.0:9100; no endpoint if not set
    #[arg(id = "metrics_listen", long = "metrics-listen", env = "METRICS_LISTEN")]
    #[arg(value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

impl MetricsSettings {
    /// Serves the metrics in Prometheus' text format, on any path. `with` adds what the program needs, such as the
    /// buckets of its histograms. Call it before the first metric is registered. Without an address, metrics are
    /// recorded nowhere.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn serve(
        &self,
        with: impl FnOnce(PrometheusBuilder) -> Result<PrometheusBuilder, BuildError>,
    ) -> Result<()> {
        let Some(address) = self.listen else {
            return Ok(());
        };
        let builder = with(PrometheusBuilder::new().with_http_listener(address));
        builder
            .and_then(PrometheusBuilder::install)
            .with_context(|| format!("serving metrics at {address}: check METRICS_LISTEN"))
    }
}
