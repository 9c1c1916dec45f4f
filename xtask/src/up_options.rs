//! The arguments of `cargo xtask up`.

use std::net::{Ipv4Addr, SocketAddr};

/// The arguments of `up`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Run everything as local processes
    #[arg(long, conflicts_with = "docker")]
    pub(crate) native: bool,
    /// Run everything in containers, with Docker Compose
    #[arg(long)]
    pub(crate) docker: bool,
    /// Put an edge in front of the handlers: HAProxy, as in deploy/edge/ [default: as before; in containers always]
    #[arg(long)]
    pub(crate) edge: bool,
    /// Address of the edge, or else of the first handler [default: 127.0.0.1:3000, or as before]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Number of handlers; all but the first get free ports, or all of them behind an edge [default: 1, or as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) handlers: Option<u8>,
    /// Number of bridges [default: 1, or as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) bridges: Option<u8>,
    /// Number of consumers [default: 1, or as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) consumers: Option<u8>,
}

impl Options {
    /// The address for applicants, unless an earlier `up` has chosen another.
    pub(crate) fn listen_or_default(&self) -> SocketAddr {
        self.listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)))
    }
}
