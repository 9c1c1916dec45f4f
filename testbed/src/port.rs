//! Free ports on 127.0.0.1 for servers that are started later.
//!
//! A port is held while its [`Port`] lives: the operating system gives it to no other program, and no server listens
//! there. A server that is started with it listens all the same, also after a restart. This works on Linux, where a
//! socket that is bound and does not listen shares its port with sockets that set `SO_REUSEADDR`, as servers do.
//! Elsewhere the port was free when it was chosen.

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

/// For servers of tests and benchmarks. Like [`STACK`] below the ephemeral ports, so that no outgoing connection takes
/// the port of a server that restarts.
const TESTS: Range<u16> = 5_000..20_000;

/// For stacks of `cargo xtask`. They keep their ports while they are down, so nothing else takes ports from here.
const STACK: Range<u16> = 20_000..32_000;

/// A free port.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: Option<Socket>,
}

impl Port {
    /// A free port for a test or a benchmark.
    ///
    /// # Errors
    /// When there are too few.
    pub fn free() -> Result<Self> {
        Self::free_in(TESTS)
    }

    fn free_in(range: Range<u16>) -> Result<Self> {
        for _ in 0..10_000 {
            let random =
                getrandom::u32().context("random bytes")? % u32::from(range.end - range.start);
            let number = range.start + u16::try_from(random)?;
            if let Ok(socket) = hold(number) {
                return Ok(Self {
                    number,
                    _held: cfg!(target_os = "linux").then_some(socket),
                });
            }
        }
        anyhow::bail!(
            "too few ports from {} to {} are free on 127.0.0.1",
            range.start,
            range.end
        )
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// A free port for a stack of `cargo xtask`, held until this process ends.
///
/// # Errors
/// When there are too few.
pub fn for_stack() -> Result<u16> {
    let port = Port::free_in(STACK)?;
    let number = port.number;
    std::mem::forget(port);
    Ok(number)
}

/// Fails if any other socket has the port; sockets that want to share it may come later.
fn hold(number: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, number)).into())?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until_blocking;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_a_server_gets_a_port_that_is_held() {
        let port = Port::free().unwrap();
        assert!(TESTS.contains(&port.number()));
        assert!(TcpStream::connect(port.address()).is_err(), "no server yet");
        assert!(hold(port.number()).is_err(), "it is held");

        for _ in 0..2 {
            // A process that another test is starting may still share the first server's socket, until its exec.
            let server = until_blocking("a server listens", || {
                TcpListener::bind(port.address()).ok()
            });
            let _client = TcpStream::connect(port.address()).unwrap();
            server.accept().unwrap();
            assert!(hold(port.number()).is_err(), "it is in use");
            assert!(TcpListener::bind(port.address()).is_err(), "it is in use");
        }
    }
}
