//! Decides which web pages of other origins may call the API, by the CORS protocol of the Fetch standard.

use crate::response::Response;
use spin_sdk::http::{HeaderMap, HeaderName, StatusCode};

/// The origins whose pages may read responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    Any,
    /// Only these. An empty list allows none.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    /// Parses a comma-separated list, `*`, or an empty text.
    ///
    /// # Errors
    /// Names the entry that is not an origin (`scheme://host` or `scheme://host:port`).
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = || {
            list.split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
        };
        if entries().eq(["*"]) {
            return Ok(Self::Any);
        }
        entries()
            .map(|entry| {
                origin(entry).ok_or_else(|| {
                    format!("{entry:?} is not an origin such as https://shop.example")
                })
            })
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    /// Adds the headers that let the requesting page read the response, if its origin is allowed. It asks for the headers
    /// of the request only if origins are listed.
    pub fn share<'a>(
        &self,
        request: impl FnOnce() -> &'a HeaderMap,
        response: Response,
    ) -> Response {
        const EXPOSED: &str = "age, etag, location, preference-applied, retry-after, rushgate-decision, \
            rushgate-identities, rushgate-position, rushgate-serial, rushgate-time, server-timing, www-authenticate";
        match self {
            Self::Any => response
                .with("access-control-allow-origin", "*")
                .with("timing-allow-origin", "*")
                .with("access-control-expose-headers", EXPOSED),
            Self::Listed(origins) if origins.is_empty() => response,
            Self::Listed(origins) => {
                let response = response.with("vary", "origin");
                let origin_header = request()
                    .get("origin")
                    .and_then(|origin| origin.to_str().ok());
                let is_allowed =
                    |header: &&str| origin(header).is_some_and(|origin| origins.contains(&origin));
                match origin_header.filter(is_allowed) {
                    Some(origin) => response
                        .with_text("access-control-allow-origin", origin)
                        .with_text("timing-allow-origin", origin)
                        .with("access-control-expose-headers", EXPOSED),
                    None => response,
                }
            }
        }
    }
}

/// The request headers that pages of other origins may send: those that the API reads, and configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHeaders(String);

impl AllowedHeaders {
    const READ: &str = "authorization, content-type, if-none-match, prefer";

    /// Parses a comma-separated list of additional headers.
    ///
    /// # Errors
    /// Names the entry that is not a header name.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut all = Self::READ.to_owned();
        for entry in list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let name: HeaderName = entry.parse().map_err(|_| {
                format!("{entry:?} is not the name of a header such as traceparent")
            })?;
            all.push_str(", ");
            all.push_str(name.as_str());
        }
        Ok(Self(all))
    }
}

/// The response to OPTIONS, including preflight requests of browsers.
pub fn options(allow: &'static str, headers: &AllowedHeaders, request: &HeaderMap) -> Response {
    let response = Response::empty(StatusCode::NO_CONTENT).with("allow", allow);
    if request.contains_key("access-control-request-method") {
        response
            .with("access-control-allow-methods", allow)
            .with_text("access-control-allow-headers", headers.0.as_str())
            .with("access-control-max-age", "600")
    } else {
        response
    }
}

/// Normalises an origin as browsers do: lower case, without the default port of the scheme.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    if scheme.is_empty()
        || !text.bytes().all(|byte| byte.is_ascii_graphic())
        || authority.contains(['/', '?', '#', '@', '*', ','])
    {
        return None;
    }
    // An IPv6 address has its colons in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return None;
    }
    match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => Some(format!("{scheme}://{host}")),
        (_, Some(port)) => Some(format!("{scheme}://{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::http::HeaderValue;

    fn allowed(list: &str, origin: &str) -> Option<String> {
        let mut request = HeaderMap::new();
        request.insert("origin", HeaderValue::from_str(origin).expect("a header"));
        let response = AllowedOrigins::parse(list)
            .expect(list)
            .share(|| &request, Response::empty(StatusCode::OK));
        let origin = response.header("access-control-allow-origin");
        origin.map(str::to_owned)
    }

    #[test]
    fn only_listed_origins_may_read() {
        let list = "https://shop.example, http://localhost:8080";
        let shop = "https://shop.example";
        assert_eq!(allowed(list, shop).as_deref(), Some(shop));
        assert_eq!(
            allowed(list, "http://localhost:8080").as_deref(),
            Some("http://localhost:8080")
        );
        for other in [
            "https://shop.example.evil",
            "http://shop.example",
            "https://shop.example:444",
            "null",
        ] {
            assert_eq!(allowed(list, other), None, "{other}");
        }
        assert_eq!(allowed("", shop), None);
        assert_eq!(allowed("*", shop).as_deref(), Some("*"));
    }

    #[test]
    fn origins_are_normalised_before_they_are_compared() {
        for (list, asks) in [
            ("https://shop.example:443", "https://shop.example"),
            ("https://shop.example", "https://shop.example:443"),
            ("http://Shop.Example:80", "http://shop.example"),
            ("HTTP://[::1]:8080", "http://[::1]:8080"),
            ("https://[::1]:443", "https://[::1]"),
        ] {
            assert_eq!(allowed(list, asks).as_deref(), Some(asks), "{list}");
        }
        for (list, asks) in [
            ("https://shop.example:80", "https://shop.example"),
            ("http://shop.example:443", "http://shop.example"),
            ("http://shop.example", "https://shop.example"),
            ("http://[::1]", "http://[::1]:8080"),
        ] {
            assert_eq!(allowed(list, asks), None, "{list}");
        }
    }

    #[test]
    fn configured_headers_are_allowed_in_addition() {
        let allowed = |list| AllowedHeaders::parse(list).map(|allowed| allowed.0);
        let read = AllowedHeaders::READ;
        assert_eq!(allowed(""), Ok(read.to_owned()));
        assert_eq!(
            allowed(" X-Trace,, b3 "),
            Ok(format!("{read}, x-trace, b3"))
        );
        for bad in ["a b", "x:y", "é"] {
            let error = allowed(bad).expect_err(bad);
            assert!(
                error.contains("is not the name of a header"),
                "{bad:?}: {error}"
            );
        }
    }

    #[test]
    fn invalid_origins_are_rejected_at_start() {
        for bad in [
            "shop.example",
            "https://shop.example/",
            "https://*.example",
            "*, https://a.b",
            "://x",
            "https://:443",
            "https://shop.example:port",
            "https://shop.example:65536",
        ] {
            let error = AllowedOrigins::parse(bad).expect_err(bad);
            assert!(error.contains("is not an origin"), "{bad:?}: {error}");
        }
    }
}
