//! Connections that send nothing.

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};

/// Opens this many connections, from these addresses in turn. Those that the server resets at once are left out.
///
/// # Errors
/// When the server cannot be reached.
pub fn silent(address: SocketAddr, sources: &[IpAddr], count: usize) -> Result<Vec<TcpStream>> {
    let sources = sources.iter().cycle().take(count);
    let open = |source: &IpAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(*source, 0).into())?;
        socket.connect(&address.into())?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    };
    sources
        .map(|source| match open(source) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
            opened => opened
                .map(Some)
                .with_context(|| format!("{source} to {address}")),
        })
        .filter_map(Result::transpose)
        .collect()
}
