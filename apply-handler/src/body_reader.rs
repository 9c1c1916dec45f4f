//! Reads the body of a request within limits of size and time, or reads and drops it.

use crate::deadline;
use crate::http_io::{Body, Malformed};
use crate::problem::Problem;
use crate::request_body::{MAX_BODY, is_json};
use spin_sdk::http::HeaderMap;
use std::time::{Duration, Instant};

/// Reads the whole body, for at most `limit`. Its type must be JSON, and its size at most [`MAX_BODY`].
///
/// # Errors
/// When it is not JSON by its type, too large, incomplete or late.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Body<'_>,
    limit: Duration,
) -> Result<Vec<u8>, Problem> {
    let read = deadline::within(limit, read_all(headers, body)).await;
    read.unwrap_or(Err(Problem::BodyTimeout))
}

/// Checks the size of a body that is not read.
///
/// # Errors
/// When its Content-Length is invalid or above [`MAX_BODY`].
pub fn check_length(body: &Body<'_>) -> Result<(), Problem> {
    match body.announced() {
        Err(Malformed) => Err(Problem::MalformedRequest),
        Ok(Some(length)) if is_too_large(length) => Err(Problem::BodyTooLarge),
        Ok(_) => Ok(()),
    }
}

/// Reads and drops the rest of the body. If the connection were closed while the client is sending, the client would
/// see a broken pipe instead of the response. A client that sends nothing gets its response after 50 ms.
pub async fn discard(body: &mut Body<'_>) {
    const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_TIME: Duration = Duration::from_secs(1);
    const MAX_SILENCE: Duration = Duration::from_millis(50);
    let (begun, mut discarded) = (Instant::now(), 0);
    while discarded < MAX_BYTES && begun.elapsed() < MAX_TIME {
        match deadline::within(MAX_SILENCE, body.next()).await {
            Some(Ok(Some(piece))) => discarded += piece.len(),
            _ => return,
        }
    }
}

async fn read_all(headers: &HeaderMap, body: &mut Body<'_>) -> Result<Vec<u8>, Problem> {
    let content_type = headers.get("content-type");
    if content_type.is_some_and(|value| !is_json(value.as_bytes())) {
        return Err(Problem::UnsupportedMediaType);
    }
    check_length(body)?;
    let mut read = Vec::new();
    while let Some(piece) = body.next().await.map_err(|_| Problem::IncompleteBody)? {
        match read.is_empty() {
            true => read = piece,
            false => read.extend(piece),
        }
        if is_too_large(read.len() as u64) {
            return Err(Problem::BodyTooLarge);
        }
    }
    // A web page can send a body without a type to another origin without a preflight request, but not JSON.
    if content_type.is_none() && !read.is_empty() {
        return Err(Problem::UnsupportedMediaType);
    }
    Ok(read)
}

fn is_too_large(length: u64) -> bool {
    length > MAX_BODY as u64
}
