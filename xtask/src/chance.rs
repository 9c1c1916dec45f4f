//! Things picked at random: free ports, passwords, identifiers.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;

use anyhow::{Context, Result, bail};

/// Ports below the range from which systems serve outgoing connections, so that a part finds its port free again when it
/// is restarted in the middle of a rush.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// That many ports on 127.0.0.1 that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..10_000 {
        let random = u16::from_ne_bytes(bytes()?);
        let port = PORTS.start + random % (PORTS.end - PORTS.start);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
        if held.len() == N {
            let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
            return ports.try_into().ok().context("as many ports as asked for");
        }
    }
    bail!(
        "found no free port from {} to {} on 127.0.0.1",
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
