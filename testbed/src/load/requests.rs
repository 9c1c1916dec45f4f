//! The requests of a load, and what becomes of each.

use anyhow::Result;
use std::time::{Duration, Instant};

/// What a load sends, and how it looks at the answers.
pub trait Requests {
    /// Appends the request with this number to `out`. It is called again for a request that is sent again.
    fn write(&mut self, number: u64, out: &mut Vec<u8>);

    /// Looks at what became of a request. With a pause, the same request is sent again after it, on the same
    /// connection, which sends nothing else until then.
    ///
    /// # Errors
    /// An error ends the load. Unless overridden, a request without an answer is one.
    fn ended(&mut self, ended: Ended<'_>) -> Result<Option<Duration>> {
        ended.answer.map(|_| None)
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Ended<'a> {
    pub number: u64,
    /// When it was due: with a closed pace, and when it was sent again, when it was sent.
    pub due: Instant,
    pub sent: Instant,
    /// When its answer was read, or its failure noticed.
    pub at: Instant,
    /// An error if there was none: what the server did with the request is unknown.
    pub answer: Result<Answer<'a>>,
}

/// A complete answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP status; for Redis 0, or 1 for an error.
    pub status: u16,
    /// The status line and the headers.
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let lines = str::from_utf8(self.head).ok()?.lines();
        lines
            .filter_map(|line| line.split_once(':'))
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body, where it is text.
    pub fn text(&self) -> &'a str {
        str::from_utf8(self.body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let answer = Answer {
            status: 503,
            head:
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\ncontent-length: 0\r\n\r\n",
            body: b"",
        };
        assert_eq!(answer.header("retry-after"), Some("2"));
        assert_eq!(answer.header("retry"), None);
    }
}
