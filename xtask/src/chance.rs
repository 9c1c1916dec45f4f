//! Makes random choices: free ports, passwords and identifiers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Below the range of ephemeral ports, so that no outgoing connection takes the port of a service that restarts during
/// a rush.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// `N` free ports on 127.0.0.1, none of which was returned before: some are used much later.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Vec::with_capacity(N);
    for _ in 0..10_000 {
        let random = u16::from_ne_bytes(bytes()?);
        let port = PORTS.start + random % (PORTS.end - PORTS.start);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            ports.push(port);
        }
        if ports.len() == N {
            return ports.try_into().ok().context("choosing free ports");
        }
    }
    bail!(
        "choosing free ports: too few ports from {} to {} are free on 127.0.0.1",
        PORTS.start,
        PORTS.end
    )
}

/// A password of 32 hexadecimal digits.
pub(crate) fn password() -> Result<String> {
    Ok(bytes::<16>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Random bytes from the operating system.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports::<8>().unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn passwords_differ() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
