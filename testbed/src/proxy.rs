//! A TCP proxy between two programs, which can cause network faults.
//!
//! A *request* is everything that a client sends between one answer and the next, in any protocol. Requests are
//! counted over all connections of a proxy, from the last call of [`Proxy::set`], so a test can break exactly one
//! request of a program.

#![allow(
    clippy::expect_used,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

mod forward;
mod line;
#[cfg(test)]
mod tests;

pub use line::{Then, Trouble};

use crate::wait::until;
use forward::{Route, kafka_name, pass_on};
use line::Line;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Listens on a port and forwards everything.
pub struct Proxy {
    pub port: u16,
    line: Line,
    accepts: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `port` (0: a free one) and forwards to `target`, both on this machine.
    pub async fn open(port: u16, target: u16) -> Self {
        Self::listen(port, target, None).await
    }

    /// In front of the Kafka at `target`, which advertises 127.0.0.1 with port `advertised`: clients of this proxy get
    /// the proxy's address instead.
    pub async fn open_kafka(target: u16, advertised: u16) -> Self {
        Self::listen(0, target, Some(advertised)).await
    }

    async fn listen(port: u16, target: u16, advertised: Option<u16>) -> Self {
        // The process that had the port before may be about to end.
        let listener = until("the port is free", async || {
            TcpListener::bind(("127.0.0.1", port)).await.ok()
        })
        .await;
        let port = listener.local_addr().expect("an address").port();
        let route = Route {
            server: SocketAddr::from(([127, 0, 0, 1], target)),
            renamed: advertised.map(|advertised| (kafka_name(advertised), kafka_name(port))),
        };
        let line = Line::new();
        let accepts = tokio::spawn({
            let line = line.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass_on(client, route, line.clone()));
                }
            }
        });
        Self {
            port,
            line,
            accepts,
        }
    }

    /// Sets the fault, and starts counting requests anew.
    pub fn set(&self, trouble: Trouble) {
        self.line.set(trouble);
    }

    /// Resets the present connections.
    pub fn reset(&self) {
        self.line.reset();
    }

    /// Connections since the last call of [`Proxy::set`].
    pub fn connections(&self) -> usize {
        self.line.now().connections
    }

    /// Requests since the last call of [`Proxy::set`].
    pub fn requests(&self) -> usize {
        self.line.now().requests
    }

    /// Whether the request of a fault has come.
    pub fn has_struck(&self) -> bool {
        self.line.now().has_struck
    }

    /// Waits until the request of a fault has come.
    pub async fn strikes(&self) {
        let mut now = self.line.watch();
        // The sender is alive.
        let _ = now.wait_for(|now| now.has_struck).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.reset();
    }
}
