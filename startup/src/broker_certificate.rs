//! Finds out why librdkafka refuses the certificate of a broker: librdkafka does not say whether its authority is not
//! trusted, it is for another host, or it is too old.

use native_tls::{Certificate, HandshakeError, TlsConnector};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// The longest wait for the broker to accept a connection, and for each of its answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// What OpenSSL says about the certificate of the broker in librdkafka's `reason`, by connecting to it with the same
/// authorities. `None` if the reason is not about a certificate, or the broker does not answer.
pub(crate) fn problem(reason: &str, ca: Option<&Path>) -> Option<String> {
    // Before OpenSSL 3, the text has no number.
    let is_refused = reason.contains("0A000086") || reason.contains("certificate verify failed");
    let (protocol, broker) = reason.split_once("://").filter(|_| is_refused)?;
    let broker = broker.split(['/', ' ']).next()?.trim_end_matches(':');
    let (host, port) = broker.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let mut connector = TlsConnector::builder();
    if let Some(ca) = ca {
        let ca = std::fs::read(ca).ok()?;
        connector.disable_built_in_roots(true);
        for authority in Certificate::stack_from_pem(&ca).ok()? {
            connector.add_root_certificate(authority);
        }
    }
    let address = (host, port.parse::<u16>().ok()?)
        .to_socket_addrs()
        .ok()?
        .next()?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    match connector.build().ok()?.connect(host, stream) {
        Err(HandshakeError::Failure(error)) => Some(format!("{protocol}://{broker}: {error}")),
        _ => None,
    }
}
