//! The edge in front of a system's handlers, with the settings as shipped.

use crate::flood::ORIGIN;
use crate::system::System;
use anyhow::{Context, Result};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::haproxy::{HaProxy, workers};
use rushgate_testbed::usage::Usage;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Edge {
    pub process: Process,
    port: Port,
    _directory: TempDir,
}

impl Edge {
    /// Starts it in front of all handlers, with further settings.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(system: &System, settings: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = Port::free()?;
        let haproxy = HaProxy {
            listen: port.address(),
            directory: directory.path().to_owned(),
        };
        let origins = [("EDGE_CORS_ALLOWED_ORIGINS", ORIGIN)];
        let process = haproxy.start(
            &system.handler_addresses(),
            &[&origins[..], settings].concat(),
        )?;
        Ok(Self {
            process,
            port,
            _directory: directory,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The peak memory of its worker in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_memory(&self) -> Result<u64> {
        let worker = workers(&self.process)?.pop().context("no worker")?;
        Ok(Usage::of(worker)?.peak_memory)
    }
}

/// Network addresses of this machine: `127.network.0.1` and so on. Linux accepts all of 127.0.0.0/8 as sources.
pub fn addresses(network: u8, count: u16) -> Vec<IpAddr> {
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, network, high, low).into()
    };
    (1..=count).map(address).collect()
}
