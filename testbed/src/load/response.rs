//! Finds where a response ends, which status it has, and whether the connection ends with it. It parses nothing else.

use anyhow::{Context, Result, bail};

/// The protocol of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with Content-Length.
    Http,
    /// RESP2.
    Redis,
}

/// A complete response at the start of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// The HTTP status; for Redis 0, or 1 for an error.
    pub(super) kind: u16,
    /// Status line and headers, in bytes.
    pub(super) head: usize,
    /// All of it, in bytes.
    pub(super) length: usize,
    /// Whether the server closes the connection after it.
    pub(super) closes: bool,
}

impl Protocol {
    /// The response at the start of these bytes, if it is complete.
    pub(super) fn response(self, bytes: &[u8]) -> Result<Option<Response>> {
        match self {
            Self::Http => http(bytes),
            Self::Redis => redis(bytes),
        }
    }
}

fn http(bytes: &[u8]) -> Result<Option<Response>> {
    let mut line_at = 0;
    let mut kind = 0;
    let (mut body, mut closes) = (None, false);
    while let Some(length) = bytes[line_at..].iter().position(|byte| *byte == b'\n') {
        let line = bytes[line_at..line_at + length].trim_ascii_end();
        line_at += length + 1;
        if kind == 0 {
            kind = line
                .get(9..12)
                .and_then(number)
                .context("the response has no status")? as u16;
        } else if line.is_empty() {
            let body = body.context("the response has no Content-Length")?;
            let (head, length) = (line_at, line_at + body);
            return Ok((bytes.len() >= length).then_some(Response {
                kind,
                head,
                length,
                closes,
            }));
        } else if line.eq_ignore_ascii_case(b"connection: close") {
            closes = true;
        } else if body.is_none() && line.len() > 15 {
            let (name, value) = line.split_at(15);
            if name.eq_ignore_ascii_case(b"content-length:") {
                body = Some(number(value.trim_ascii()).context("a length is not a number")?);
            }
        }
    }
    Ok(None)
}

fn redis(bytes: &[u8]) -> Result<Option<Response>> {
    let kind = u16::from(bytes.first() == Some(&b'-'));
    Ok(value(bytes)?.map(|length| Response {
        kind,
        head: 0,
        length,
        closes: false,
    }))
}

/// The length of the RESP value at the start of these bytes.
fn value(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let (first, rest) = (bytes[0], bytes[1..line].trim_ascii_end());
    let mut end = line + 1;
    match first {
        b'+' | b'-' | b':' => {}
        b'$' | b'*' if rest.starts_with(b"-") => {}
        b'$' => end += number(rest).context("a length is not a number")? + 2,
        b'*' => {
            for _ in 0..number(rest).context("a length is not a number")? {
                match bytes.get(end..).map(value) {
                    Some(Ok(Some(length))) => end += length,
                    Some(Err(error)) => return Err(error),
                    _ => return Ok(None),
                }
            }
        }
        _ => bail!("not a Redis reply: {:?}", String::from_utf8_lossy(bytes)),
    }
    Ok((bytes.len() >= end).then_some(end))
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every proper prefix is incomplete, and the end is found whatever follows.
    fn is_one(protocol: Protocol, text: &str, kind: u16) -> Response {
        for cut in 1..text.len() {
            let beginning = protocol.response(&text.as_bytes()[..cut]).unwrap();
            assert_eq!(beginning, None, "{cut} of {text:?}");
        }
        let more = format!("{text}{text}");
        let found = protocol.response(more.as_bytes()).unwrap().unwrap();
        assert_eq!((found.kind, found.length), (kind, text.len()), "{text:?}");
        found
    }

    #[test]
    fn answers_of_http_end_with_their_bodies() {
        for (text, kind, body, closes) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                200,
                "ok",
                false,
            ),
            (
                "HTTP/1.1 410 Gone\r\nx: y\r\ncontent-length: 0\r\nz: 1\r\n\r\n",
                410,
                "",
                false,
            ),
            (
                "HTTP/1.1 400 Bad\r\nConnection: close\r\ncontent-length: 2\r\n\r\nno",
                400,
                "no",
                true,
            ),
        ] {
            let found = is_one(Protocol::Http, text, kind);
            assert_eq!((&text[found.head..], found.closes), (body, closes));
        }
        let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(Protocol::Http.response(endless).is_err());
    }

    #[test]
    fn replies_of_redis_end_with_their_last_element() {
        for (reply, kind) in [
            ("+OK\r\n", 0),
            ("-NOSCRIPT No matching script.\r\n", 1),
            (":42\r\n", 0),
            ("$-1\r\n", 0),
            ("$3\r\na\nb\r\n", 0),
            ("*3\r\n$1\r\na\r\n*1\r\n:1\r\n$0\r\n\r\n", 0),
            ("*0\r\n", 0),
        ] {
            is_one(Protocol::Redis, reply, kind);
        }
        assert!(Protocol::Redis.response(b"HTTP/1.1\r\n").is_err());
    }
}
