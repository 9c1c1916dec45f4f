//! Defines an HTTP response: status, headers and body. It knows nothing of campaigns.
//!
//! Every response except 204 and 304 has a Content-Length. Without it, Spin sends the body in small writes, and these
//! wait for the client's delayed TCP acknowledgement (about 40 ms).

use bytes::Bytes;
use serde::Serialize;
use spin_sdk::http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// The preference for a response without a body.
pub const MINIMAL: &str = "return=minimal";

#[derive(Clone, Debug)]
pub struct Response {
    status: StatusCode,
    /// Names in lower case, each at most once. A list is filled and handed over with less work than a map.
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Bytes,
}

/// More than most responses have.
const HEADERS: usize = 12;

impl Response {
    /// Without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::with_capacity(HEADERS),
            body: Bytes::new(),
        }
    }

    pub fn body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::empty(status)
        }
        .with("content-type", content_type)
    }

    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::body(status, "application/json", to_json(body))
    }

    /// RFC 9457 problem details.
    pub(crate) fn problem(status: StatusCode, body: &impl Serialize) -> Self {
        Self::body(status, "application/problem+json", to_json(body))
            .with("cache-control", "no-store")
    }

    /// Turns the response into 304 if the client has it already (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn not_modified_if_known(self, request: &HeaderMap) -> Self {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self.header("etag").map(weak);
        let known = request
            .get_all("if-none-match")
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .any(|tag| tag.trim() == "*" || Some(weak(tag)) == own);
        if !known {
            return self;
        }
        let mut headers = self.headers;
        headers.retain(|(name, _)| *name != "content-type");
        Self {
            headers,
            ..Self::empty(StatusCode::NOT_MODIFIED)
        }
    }

    /// The value of a header; its name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(present, value)| (*present == name).then_some(&**value))
    }

    /// Adds Server-Timing with the time spent waiting for the gate, if the request prefers it.
    #[must_use]
    pub fn with_server_timing(self, request: &HeaderMap, gate: Duration) -> Self {
        match prefers(request, "server-timing") {
            true => self.with_text(
                "server-timing",
                format!("gate;dur={:.1}", gate.as_secs_f64() * 1e3),
            ),
            false => self,
        }
    }

    #[must_use]
    pub fn with(self, name: &'static str, value: &'static str) -> Self {
        self.insert(name, Cow::Borrowed(value))
    }

    /// Adds a header whose value consists of ids and numbers.
    #[must_use]
    pub fn with_text(self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        match value
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        {
            true => self.insert(name, Cow::Owned(value)),
            // Unreachable for ids and numbers.
            false => self,
        }
    }

    /// Adds Retry-After, at least 1 second.
    #[must_use]
    pub fn retry_after(self, seconds: i64) -> Self {
        self.with_text("retry-after", seconds.max(1).to_string())
    }

    /// Adds Retry-After with a number of this range, spread so that clients rejected together do not return together.
    pub(crate) fn retry_within(self, seconds: RangeInclusive<i64>) -> Self {
        let (first, last) = seconds.into_inner();
        let count = last - first + 1;
        self.retry_after(first + ((i64::from(chance()) * count) >> 32))
    }

    /// Removes the body, for `Prefer: return=minimal`.
    #[must_use]
    pub fn into_minimal(mut self) -> Self {
        self.body = Bytes::new();
        self.headers.retain(|(name, _)| *name != "content-type");
        self.with("preference-applied", MINIMAL)
    }

    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Status, headers (with Content-Length) and body, as WASI takes them.
    pub fn into_parts(self) -> (StatusCode, Vec<(String, Vec<u8>)>, Bytes) {
        let length = self.body.len();
        // RFC 9110, section 8.6: no Content-Length on 204; on 304 only that of the body that 200 would have.
        let response = match self.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => self,
            _ => self.with_text("content-length", length.to_string()),
        };
        let headers = response.headers.into_iter();
        let headers =
            headers.map(|(name, value)| (name.to_owned(), value.into_owned().into_bytes()));
        (response.status, headers.collect(), response.body)
    }

    fn insert(mut self, name: &'static str, value: Cow<'static, str>) -> Self {
        let mut headers = self.headers.iter_mut();
        match headers.find(|(present, _)| *present == name) {
            Some((_, present)) => *present = value,
            None => self.headers.push((name, value)),
        }
        self
    }
}

/// Whether the request has this preference (RFC 7240).
pub fn prefers(request: &HeaderMap, wanted: &str) -> bool {
    request
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| {
            let name = preference.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(wanted)
        })
}

/// Another number for each response, evenly spread from the first few on, and from another beginning in each instance.
fn chance() -> u32 {
    /// 2^32 divided by the golden ratio.
    const STEP: u32 = 0x9E37_79B9;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = now.map_or(0, |now| now.subsec_nanos());
        AtomicU32::new(nanos.wrapping_mul(STEP))
    });
    NEXT.fetch_add(STEP, Ordering::Relaxed)
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers, so this cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::http::HeaderValue;

    #[test]
    fn a_header_occurs_once_and_is_never_invalid() {
        let response = Response::json(StatusCode::OK, &1)
            .with("cache-control", "max-age=1")
            .with("cache-control", "no-store")
            .with_text("location", "/a\r\nb: c");
        let (_, headers, _) = response.into_parts();
        let expected = [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("content-length", "1"),
        ];
        assert_eq!(
            headers,
            expected.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        );
    }

    #[test]
    fn the_waiting_time_is_told_if_it_is_asked_for() {
        let timing = |prefer: &'static str| {
            let gate = Duration::from_micros(4_700);
            let mut request = HeaderMap::new();
            request.insert("prefer", HeaderValue::from_static(prefer));
            let response = Response::empty(StatusCode::OK).with_server_timing(&request, gate);
            response.header("server-timing").map(str::to_owned)
        };
        for prefer in ["server-timing", "return=minimal, Server-Timing;x=1"] {
            assert_eq!(timing(prefer).as_deref(), Some("gate;dur=4.7"));
        }
        assert_eq!(timing("return=minimal"), None);
    }

    #[test]
    fn clients_that_are_rejected_together_are_spread_evenly() {
        let mut counts = [0; 4];
        for _ in 0..128 {
            let response = Response::empty(StatusCode::SERVICE_UNAVAILABLE).retry_within(2..=5);
            let seconds = response.header("retry-after").unwrap();
            let seconds: usize = seconds.parse().unwrap();
            counts[seconds - 2] += 1;
        }
        assert!(
            counts.iter().all(|count| (24..=40).contains(count)),
            "{counts:?}"
        );
    }
}
