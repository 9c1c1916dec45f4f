//! Helpers for the tests: waiting for conditions, unique names, and a bridge that runs inside the test process.

use crate::kafka::Topic;
use crate::redis_server::RedisServer;
use clap::Parser as _;
use rushgate_kafka_bridge::bridge;
use rushgate_kafka_bridge::config::Config;
use rushgate_testbed::wait::until_blocking;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let started = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_millis();
    format!("{name}-{started}-{process}-{number}")
}

/// A bridge in this process.
pub(crate) struct Bridge {
    end: Option<oneshot::Sender<How>>,
    thread: Option<JoinHandle<()>>,
}

enum How {
    Drain,
    Crash,
}

/// The flags of a bridge, each with a value. Without `more`, the bridge does not claim entries.
pub(crate) fn flags(redis: &RedisServer, topic: &Topic, more: &[&str]) -> Vec<String> {
    let redis = redis.url();
    let defaults = [
        ("--redis-url", redis.as_str()),
        ("--kafka-brokers", &topic.brokers),
        ("--kafka-topic", &topic.name),
        ("--consumer-name", "one"),
        ("--claim-idle", "60m"),
    ];
    let defaults = defaults
        .into_iter()
        .filter(|(flag, _)| !more.contains(flag));
    let defaults = defaults.flat_map(|(flag, value)| [flag, value]);
    defaults
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect()
}

impl Bridge {
    pub(crate) fn start(redis: &RedisServer, topic: &Topic, more: &[&str]) -> Self {
        // Show the bridge's log with `RUST_LOG=info`.
        let silence = tracing_subscriber::filter::LevelFilter::OFF.into();
        let filter = tracing_subscriber::EnvFilter::builder().with_default_directive(silence);
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter.from_env_lossy())
            .try_init();
        let config = Config::try_parse_from(
            std::iter::once("kafka-bridge".to_owned()).chain(flags(redis, topic, more)),
        )
        .expect("good flags");
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let (drain, drained) = oneshot::channel::<()>();
            let crash = async move {
                match ended.await {
                    Ok(How::Drain) => {
                        drain.send(()).expect("it listens");
                        std::future::pending().await
                    }
                    Ok(How::Crash) | Err(_) => {}
                }
            };
            let shutdown = async move {
                let _ = drained.await;
            };
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    ended = bridge::run(config, shutdown) => ended.expect("it ran"),
                    () = crash => {}
                }
            });
            runtime.shutdown_background();
        });
        Self {
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Stops it as SIGTERM would.
    pub(crate) fn drain(mut self) {
        self.end(How::Drain);
    }

    /// Stops it between two steps, as a crash would.
    pub(crate) fn crash(mut self) {
        self.end(How::Crash);
    }

    fn end(&mut self, how: How) {
        let end = self.end.take().expect("it ends once");
        end.send(how).ok().expect("it runs");
        let thread = self.thread.take().expect("it ends once");
        until_blocking("the bridge ends", || thread.is_finished());
        thread.join().expect("it did not panic");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
