//! Which pages may apply: the Fetch standard's CORS protocol.

use crate::answer::Answer;
use spin_sdk::http::{HeaderMap, StatusCode};

/// The origins whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These; none, if there are none.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    /// Reads a comma-separated list, `*` or nothing.
    ///
    /// # Errors
    /// Names the entry that is not an origin: `scheme://host` or `scheme://host:port`, as browsers send it.
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
                let is_origin = entry.split_once("://").is_some_and(|(scheme, host)| {
                    !scheme.is_empty()
                        && !host.is_empty()
                        && entry.bytes().all(|byte| byte.is_ascii_graphic())
                        && !host.contains(['/', '?', '#', '@', '*'])
                });
                is_origin
                    .then(|| entry.to_ascii_lowercase())
                    .ok_or_else(|| {
                        format!("{entry:?} is not an origin such as https://shop.example")
                    })
            })
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    /// Lets the page that asks read `answer`, if its origin is allowed.
    pub fn share(&self, request: &HeaderMap, answer: Answer) -> Answer {
        const EXPOSED: &str = "age, etag, location, preference-applied, retry-after, rushgate-decision, \
            rushgate-position, rushgate-serial, rushgate-time, server-timing, www-authenticate";
        match self {
            Self::Any => answer
                .with("access-control-allow-origin", "*")
                .with("timing-allow-origin", "*")
                .with("access-control-expose-headers", EXPOSED),
            Self::Listed(origins) if origins.is_empty() => answer,
            Self::Listed(origins) => {
                let answer = answer.with("vary", "origin");
                let origin = request
                    .get("origin")
                    .and_then(|origin| origin.to_str().ok());
                match origin.filter(|origin| origins.contains(&origin.to_ascii_lowercase())) {
                    Some(origin) => answer
                        .with_text("access-control-allow-origin", origin)
                        .with_text("timing-allow-origin", origin)
                        .with("access-control-expose-headers", EXPOSED),
                    None => answer,
                }
            }
        }
    }
}

/// The answer to OPTIONS, a browser's preflight among them.
pub fn options(allow: &'static str, request: &HeaderMap) -> Answer {
    let answer = Answer::empty(StatusCode::NO_CONTENT).with("allow", allow);
    if request.contains_key("access-control-request-method") {
        answer
            .with("access-control-allow-methods", allow)
            .with(
                "access-control-allow-headers",
                "authorization, content-type, if-none-match, prefer",
            )
            .with("access-control-max-age", "600")
    } else {
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::http::HeaderValue;

    fn allowed(list: &str, origin: &str) -> Option<String> {
        let mut request = HeaderMap::new();
        request.insert("origin", HeaderValue::from_str(origin).expect("a header"));
        let answer = AllowedOrigins::parse(list)
            .expect(list)
            .share(&request, Answer::empty(StatusCode::OK));
        let (_, headers, _) = answer.into_parts();
        let header = headers.get("access-control-allow-origin")?;
        Some(header.to_str().expect("ASCII").to_owned())
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
    fn what_no_browser_sends_as_an_origin_is_refused_at_start() {
        for bad in [
            "shop.example",
            "https://shop.example/",
            "https://*.example",
            "*, https://a.b",
            "://x",
        ] {
            let error = AllowedOrigins::parse(bad).expect_err(bad);
            assert!(error.contains("is not an origin"), "{error}");
        }
    }
}
