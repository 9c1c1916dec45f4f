//! The floor: the least that a component can do that decides an application with one call to Redis. What it takes is the
//! cost of the platform, and what Rushgate takes more is its own.
//!
//! It takes in method, path and headers, and of a POST the body. It calls [`SCRIPT`] without a timer, and responds with a
//! body as long as that of a grant. With the variable `refusal`, it looks at nothing but the method, and always gives
//! that response.

#[cfg(target_family = "wasm")]
mod component;

/// One per person, a counter, an event: no window, no quota, no pause, no repeated answer for a retry, no revocation.
/// Returns 0 to an applicant with a serial.
pub const SCRIPT: &str = "if redis.call('SADD', KEYS[1], ARGV[1]) == 0 then return 0 end \
    local serial = redis.call('INCR', KEYS[2]) \
    redis.call('XADD', KEYS[3], '*', 'serial', serial, 'user_id', ARGV[1]) \
    return serial";

/// The keys of [`SCRIPT`].
pub const KEYS: [&str; 3] = ["{bench}:people", "{bench}:count", "{bench}:stream"];

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its length is that in the headers.
    pub body: Vec<u8>,
}

impl Answer {
    /// 200: the component runs.
    pub fn ready() -> Self {
        Self::json(200, "{}".to_owned())
    }

    /// 201 with 124 bytes.
    pub fn granted(serial: i64, user_id: &str) -> Self {
        let grant = format!(r#"{{"decision":"granted","serial":{serial},"user_id":"{user_id}""#);
        Self::json(201, format!("{grant:<123}}}"))
    }

    fn json(status: u16, body: String) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        Self {
            status,
            headers: vec![
                header("content-type", "application/json"),
                header("content-length", &body.len().to_string()),
            ],
            body: body.into_bytes(),
        }
    }

    /// Reads an HTTP/1.1 response, without the headers that belong to one response only: `date`, which hosts add, and
    /// `server-timing`. `None` for another text.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (first, headers) = head.split_once("\r\n")?;
        let headers = headers.lines().filter_map(|line| line.split_once(": "));
        Some(Self {
            status: first.split(' ').nth(1)?.parse().ok()?,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec()))
                .filter(|(name, _)| !matches!(name.as_str(), "date" | "server-timing"))
                .collect(),
            body: body.as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_has_124_bytes() {
        for serial in [1, 4_294_967_295] {
            let answer = Answer::granted(serial, "000000000042");
            assert_eq!(answer.body.len(), 124);
            assert!(answer.body.ends_with(b"}"));
            assert_eq!(answer.headers[1].1, b"124");
        }
    }

    #[test]
    fn a_response_is_repeated_without_its_time() {
        let text = "HTTP/1.1 410 Gone\r\nRushgate-Decision: sold_out\r\ncontent-length: 2\r\n\
            server-timing: gate;dur=0.4\r\ndate: Sun, 29 Nov 2026 09:00:00 GMT\r\n\r\n{}";
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let answer = Answer {
            status: 410,
            headers: vec![
                header("rushgate-decision", "sold_out"),
                header("content-length", "2"),
            ],
            body: b"{}".to_vec(),
        };
        assert_eq!(Answer::parse(text), Some(answer));
        assert_eq!(Answer::parse(""), None);
    }
}
