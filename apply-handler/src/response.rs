//! Defines an HTTP response: status, headers and body. It knows nothing of campaigns.
//!
//! Every response except 204 and 304 has a Content-Length. Without it, Spin sends the body in small writes, and these
//! wait for the client's delayed TCP acknowledgement (about 40 ms).

use bytes::Bytes;
use serde::Serialize;
use spin_sdk::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// The preference for a response without a body.
pub const MINIMAL: &str = "return=minimal";

#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    /// Without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
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
        let own = self
            .headers
            .get("etag")
            .and_then(|tag| tag.to_str().ok())
            .map(weak);
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
        headers.remove("content-type");
        Self {
            headers,
            ..Self::empty(StatusCode::NOT_MODIFIED)
        }
    }

    /// Adds Server-Timing with the time spent waiting for the gate, if the request prefers it and the gate was asked.
    #[must_use]
    pub fn with_server_timing(self, request: &HeaderMap, gate: Option<Duration>) -> Self {
        match gate {
            Some(took) if prefers(request, "server-timing") => self.with_text(
                "server-timing",
                &format!("gate;dur={:.1}", took.as_secs_f64() * 1e3),
            ),
            _ => self,
        }
    }

    #[must_use]
    pub fn with(self, name: &'static str, value: &'static str) -> Self {
        self.insert(name, HeaderValue::from_static(value))
    }

    /// Adds a header whose value consists of ids and numbers.
    #[must_use]
    pub fn with_text(self, name: &'static str, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.insert(name, value),
            // Unreachable for ids and numbers.
            Err(_) => self,
        }
    }

    /// Adds Retry-After, at least 1 second.
    #[must_use]
    pub fn retry_after(self, seconds: i64) -> Self {
        self.with_text("retry-after", &seconds.max(1).to_string())
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
        self.headers.remove("content-type");
        self.with("preference-applied", MINIMAL)
    }

    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Status, headers (with Content-Length) and body.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, Bytes) {
        let length = self.body.len();
        // RFC 9110, section 8.6: no Content-Length on 204; on 304 only that of the body that 200 would have.
        let response = match self.status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => self,
            _ => self.insert("content-length", HeaderValue::from(length)),
        };
        (response.status, response.headers, response.body)
    }

    fn insert(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.insert(HeaderName::from_static(name), value);
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

    #[test]
    fn the_waiting_time_is_told_if_it_is_asked_for_and_known() {
        let timing = |prefer: &'static str, gate| {
            let mut request = HeaderMap::new();
            request.insert("prefer", HeaderValue::from_static(prefer));
            let response = Response::empty(StatusCode::OK).with_server_timing(&request, gate);
            let (_, headers, _) = response.into_parts();
            let value = headers.get("server-timing")?;
            Some(value.to_str().unwrap().to_owned())
        };
        let took = Some(Duration::from_micros(4_700));
        for prefer in ["server-timing", "return=minimal, Server-Timing;x=1"] {
            assert_eq!(timing(prefer, took).as_deref(), Some("gate;dur=4.7"));
            assert_eq!(timing(prefer, None), None);
        }
        assert_eq!(timing("return=minimal", took), None);
    }

    #[test]
    fn clients_that_are_rejected_together_are_spread_evenly() {
        let mut counts = [0; 4];
        for _ in 0..128 {
            let response = Response::empty(StatusCode::SERVICE_UNAVAILABLE).retry_within(2..=5);
            let (_, headers, _) = response.into_parts();
            let seconds: usize = headers["retry-after"].to_str().unwrap().parse().unwrap();
            counts[seconds - 2] += 1;
        }
        assert!(
            counts.iter().all(|count| (24..=40).contains(count)),
            "{counts:?}"
        );
    }
}
