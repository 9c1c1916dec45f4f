//! The web page and its files, as `web/` has them. The names of the files have a hash, so caches may keep them for ever; the
//! page itself is asked for again after a minute.

use crate::cors::AllowedOrigins;
use crate::response::Response;
use spin_sdk::http::{HeaderMap, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};

const PAGE: &str = include_str!("../../web/index.html");

// `POLICY`, the policy in the page, and `FILES`.
include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// A file that the page names.
#[derive(Debug, PartialEq, Eq)]
pub struct WebFile {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

impl WebFile {
    pub fn at(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    pub fn response(&self) -> Response {
        Response::body(StatusCode::OK, self.content_type, self.content)
            .with("cache-control", "public, max-age=31536000, immutable")
            .with("x-content-type-options", "nosniff")
    }
}

/// The page; pages of `frame_ancestors` may show it in a frame.
pub fn page(frame_ancestors: &AllowedOrigins, request: &HeaderMap) -> Response {
    let policy = policy(frame_ancestors);
    let mut hasher = DefaultHasher::new();
    (PAGE, &policy).hash(&mut hasher);
    Response::body(StatusCode::OK, "text/html; charset=utf-8", PAGE)
        .with("cache-control", "public, max-age=60")
        .with_text("etag", format!("W/\"{:016x}\"", hasher.finish()))
        .with_text("content-security-policy", policy)
        .with("x-content-type-options", "nosniff")
        .with("referrer-policy", "no-referrer")
        .not_modified_if_known(request)
}

/// The policy in the page, and what only a header can say: who may show the page in a frame.
fn policy(frame_ancestors: &AllowedOrigins) -> String {
    let ancestors = match frame_ancestors {
        AllowedOrigins::Any => "*".to_owned(),
        AllowedOrigins::Listed(origins) if origins.is_empty() => "'none'".to_owned(),
        AllowedOrigins::Listed(origins) => origins.join(" "),
    };
    format!("{POLICY}; frame-ancestors {ancestors}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_are_there() {
        let named = PAGE.split('"').filter(|text| text.starts_with("assets"));
        let named: Vec<_> = named.map(|path| format!("/{path}")).collect();
        assert!(named.len() > 3, "{named:?}");
        for path in named {
            assert!(WebFile::at(&path).is_some(), "{path}");
        }
        assert_eq!(WebFile::at("/index.html"), None);
    }

    #[test]
    fn the_policy_allows_scripts_by_their_hash_alone() {
        let policy = policy(&AllowedOrigins::Listed(vec![]));
        let directive = |name: &str| {
            let directives = policy.split("; ").find_map(|text| text.strip_prefix(name));
            directives
                .unwrap_or_else(|| panic!("no {name}: {policy}"))
                .trim()
        };
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("default-src", "'none'"),
            ("base-uri", "'none'"),
            ("style-src", "'self'"),
            ("frame-ancestors", "'none'"),
        ] {
            assert_eq!(directive(name), value, "{name}");
        }
        for source in directive("script-src").split(' ') {
            assert!(source.starts_with("'sha256-"), "{source}");
        }
    }

    #[test]
    fn listed_origins_may_frame_the_page() {
        let ends = |list: &str, expected: &str| {
            let policy = policy(&AllowedOrigins::parse(list).expect(list));
            assert!(
                policy.ends_with(&format!("; frame-ancestors {expected}")),
                "{policy}"
            );
        };
        ends(
            "https://shop.example, https://m.shop.example",
            "https://shop.example https://m.shop.example",
        );
        ends("*", "*");
    }
}
