//! Runs the compiled consumer as a process, and reads what an operator can see of it: metrics, log and exit code.

use crate::setting;
use crate::topic::Topic;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::{Process, Signal};
use rushgate_testbed::wait::until;
use std::process::{Command, ExitStatus};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running consumer. It is killed when this is dropped. If the test fails, its log is printed.
pub(crate) struct Consumer {
    process: Process,
    metrics: Port,
    _directory: TempDir,
}

impl Consumer {
    pub(crate) fn start(database_url: &str, topic: &Topic, settings: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let metrics = Port::free().expect("a free port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
        command
            .env("DATABASE_URL", database_url)
            .env(
                "REDIS_URL",
                format!("{}/{}", setting("REDIS_URL"), crate::NO_GATE),
            )
            .env("KAFKA_BROKERS", setting("KAFKA_BROKERS"))
            .env("KAFKA_TOPIC", &topic.name)
            .env("KAFKA_GROUP", &topic.group)
            .env("METRICS_LISTEN", metrics.address().to_string())
            .env("RUST_LOG", "info")
            .envs(settings.iter().copied());
        let process = Process::start(&mut command, directory.path().join("consumer.log"));
        Self {
            process: process.expect("it starts"),
            metrics,
            _directory: directory,
        }
    }

    /// Waits until the metric says that it is ready.
    pub(crate) async fn until_ready(&self) {
        until("the consumer is ready", async || {
            self.metric("rushgate_consumer_ready").await == Some(1.0)
        })
        .await;
    }

    /// Waits until the metric has at least this value.
    pub(crate) async fn until_at_least(&self, name: &str, value: f64) {
        let what = format!("{name} is at least {value}");
        until(&what, async || self.metric(name).await >= Some(value)).await;
    }

    /// The value of a metric, named with its labels, if it exists.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let page = until("the metrics are served", async || self.page().await.ok());
        page.await
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The largest resident memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.usage().expect("it runs").peak_memory
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("it runs");
    }

    /// Kills it, and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait();
    }

    pub(crate) async fn until_exit(&mut self) -> ExitStatus {
        until("the consumer exits", async || self.process.ended()).await
    }

    /// Sends SIGTERM and waits until it has exited with code 0.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.until_exit().await;
        assert!(status.success(), "{status}");
    }

    async fn page(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.metrics.address()).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }
}
