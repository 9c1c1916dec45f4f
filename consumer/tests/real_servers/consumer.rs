//! Runs the compiled consumer as a process, and reads what an operator can see of it: metrics, log and exit code.

use crate::topic::Topic;
use crate::{setting, wait};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running consumer. It is killed when this is dropped. If the test fails, its log is printed.
pub(crate) struct Consumer {
    child: Child,
    metrics: SocketAddr,
    log: NamedTempFile,
}

impl Consumer {
    pub(crate) fn start(database_url: &str, topic: &Topic, settings: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().expect("a file");
        let metrics = free_address();
        let child = Command::new(env!("CARGO_BIN_EXE_consumer"))
            .env("DATABASE_URL", database_url)
            .env(
                "REDIS_URL",
                format!("{}/{}", setting("REDIS_URL"), crate::NO_GATE),
            )
            .env("KAFKA_BROKERS", setting("KAFKA_BROKERS"))
            .env("KAFKA_TOPIC", &topic.name)
            .env("KAFKA_GROUP", &topic.group)
            .env("METRICS_LISTEN", metrics.to_string())
            .env("RUST_LOG", "info")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the file"))
            .spawn()
            .expect("starts");
        Self {
            child,
            metrics,
            log,
        }
    }

    /// Waits until the metric says that it is ready.
    pub(crate) async fn until_ready(&self) {
        wait::until("the consumer is ready", async || {
            self.metric("rushgate_consumer_ready").await == Some(1.0)
        })
        .await;
    }

    /// Waits until the metric has at least this value.
    pub(crate) async fn until_at_least(&self, name: &str, value: f64) {
        let what = format!("{name} is at least {value}");
        wait::until(&what, async || self.metric(name).await >= Some(value)).await;
    }

    /// The value of a metric, named with its labels, if it exists.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let page = self.page().await.unwrap_or_default();
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The largest resident memory so far, in bytes, as Linux reports it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs, on Linux");
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM")
            .split_whitespace();
        let kibibytes = words.next().and_then(|word| word.parse::<u64>().ok());
        kibibytes.expect("a number") * 1024
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log")
    }

    /// Sends a signal: TERM, INT, STOP, CONT.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("is killed");
        self.child.wait().expect("is reaped");
    }

    pub(crate) async fn until_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait::until("the consumer exits", async || {
            status = self.child.try_wait().expect("can be asked");
            status.is_some()
        })
        .await;
        status.expect("waited for")
    }

    /// Sends SIGTERM and waits until it has exited with code 0.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM");
        let status = self.until_exit().await;
        assert!(status.success(), "{status}");
    }

    async fn page(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.metrics).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the consumer\n{}---", self.log());
        }
    }
}

/// An address with a free port.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}
