//! Showing where a server is without its password.

use url::Url;

/// `url` without user, password and query.
pub(crate) fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) => {
            let port = parsed
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!(
                "{}://{}{port}{}",
                parsed.scheme(),
                parsed.host_str().unwrap_or_default(),
                parsed.path()
            )
        }
        Err(_) => "an address that is not a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_left_out() {
        assert_eq!(
            shown("mysql://rushgate:s3cret@db.example:3306/rushgate?ssl-mode=REQUIRED"),
            "mysql://db.example:3306/rushgate"
        );
        assert!(!shown("s3cret@db.example").contains("s3cret"));
    }
}
