//! The simplest possible server: it answers every request with the same bytes. Its throughput shows the capacity of
//! the load generator.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// As long as an answer of Rushgate.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
    rushgate-decision: granted\r\nrushgate-serial: 1\r\ncontent-length: 135\r\n\r\n\
    {\"decision\":\"granted\",\"campaign\":\"welcome\",\"round\":\"once\",\"serial\":123456,\"user_id\":\"000000000042\",\
    \"granted_at\":\"2026-12-01T01:00:00Z\"}";

/// Serves until the process ends. It assumes one read for each request, which is true of this generator.
///
/// # Errors
/// When no connection can be accepted.
pub async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await.context("accepting")?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                if stream.write_all(ANSWER.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
