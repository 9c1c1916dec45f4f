//! A replica of the Redis of a test, and connections to both.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use rushgate_testbed::wait::until;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A replica of another Redis.
pub struct Replica {
    process: Process,
    port: Port,
    directory: PathBuf,
}

impl Replica {
    /// Starts a replica in `directory` of the Redis at port `primary`, and waits until it is in sync. Redis does not
    /// replicate users, so it needs the ACL file too.
    pub async fn start(directory: PathBuf, primary: u16, acl: &Path) -> Self {
        let port = Port::free().expect("a free port");
        let acl = acl.display().to_string();
        let process = Redis::on_port(port.number(), &directory).start(&["--aclfile", &acl]);
        let process = process.expect("a replica");
        // By default the primary waits for further replicas first.
        let delay = ["CONFIG", "SET", "repl-diskless-sync-delay", "0"];
        tell(primary, &delay).await;
        tell(
            port.number(),
            &["REPLICAOF", "127.0.0.1", &primary.to_string()],
        )
        .await;
        until("the replica has everything", async || {
            has_replica(primary).await?.then_some(())
        })
        .await;
        Self {
            process,
            port,
            directory,
        }
    }

    /// Waits until it has this key.
    pub async fn until_it_has(&self, key: &str) {
        until(&format!("the replica has {key}"), async || {
            let mut connection = connection(self.port.number()).await?;
            let mut exists = redis::cmd("EXISTS");
            let exists = exists.arg(key).query_async(&mut connection).await;
            exists.unwrap_or(false).then_some(())
        })
        .await;
    }

    /// Makes it a primary on this port, which must be free; its data directory stays.
    pub async fn promote(self, port: u16) -> (Process, PathBuf) {
        tell(self.port.number(), &["REPLICAOF", "NO", "ONE"]).await;
        tell(
            self.port.number(),
            &["CONFIG", "SET", "port", &port.to_string()],
        )
        .await;
        until("the replica answers", async || connection(port).await).await;
        (self.process, self.directory)
    }

    /// Cuts it off from its primary; it keeps its data.
    pub async fn cut_off(&self) {
        // No process listens on this port.
        tell(self.port.number(), &["REPLICAOF", "127.0.0.1", "1"]).await;
    }
}

/// A connection to the Redis on this port, if it answers.
pub async fn connection(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("an address");
    // The machine may be busy with other tests.
    let settings = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    let connection = client.get_multiplexed_async_connection_with_config(&settings);
    let mut connection = connection.await.ok()?;
    redis::cmd("PING").exec_async(&mut connection).await.ok()?;
    Some(connection)
}

async fn tell(port: u16, words: &[&str]) {
    let mut connection = connection(port).await.expect("Redis answers");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let done = command.exec_async(&mut connection);
    done.await.expect("Redis does it");
}

/// Whether a replica has everything written so far. `state=online` is too early: writes after the first copy are sent
/// when the replica has acknowledged that copy, up to a second later.
async fn has_replica(primary: u16) -> Option<bool> {
    const PROBE: &str = "rushgate:probe";
    const MILLIS: u64 = 100;
    let mut connection = connection(primary).await?;
    let (replicas,): (u32,) = redis::pipe()
        .cmd("SET")
        .arg(&[PROBE, ""])
        .ignore()
        .cmd("DEL")
        .arg(PROBE)
        .ignore()
        .cmd("WAIT")
        .arg(1)
        .arg(MILLIS)
        .query_async(&mut connection)
        .await
        .ok()?;
    Some(replicas == 1)
}
