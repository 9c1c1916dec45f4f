//! Says what to do about an error of Redis: which setting or right to change.

use redis::{ErrorKind, RedisError};
use rushgate_gate::tls_error::{TlsError, TlsSettings};

const TLS: TlsSettings = TlsSettings {
    ca: "REDIS_SSL_CA",
    certificate: "set REDIS_SSL_CERTIFICATE and REDIS_SSL_KEY to a certificate that its authorities have signed and \
                  that is not too old",
    address: "REDIS_URL",
};

/// How the error of a script whose user lacks a right begins, under the general code `ERR`: in Redis 7.0, and in Redis 8
/// and Valkey 9.
const DENIED_IN_SCRIPT: [&str; 2] = ["The user executing the script", "ACL failure in script"];

/// With TLS 1.3, a server that requires a certificate of the client refuses it after the handshake. If the client has
/// written something by then, it gets this in place of the server's reason.
const RESET: &str = "Connection reset by peer";

/// Whether the Redis user lacks a right. The error is then about the user, never about the data of a campaign, and goes
/// away when an administrator grants the right.
pub fn is_missing_right(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("NOPERM") => true,
        Some("ERR") => DENIED_IN_SCRIPT
            .iter()
            .any(|begin| detail.starts_with(begin)),
        _ => false,
    }
}

/// Whether Redis, or this program, refused the connection: the login or a certificate. Waiting does not change that.
pub fn is_refused_connection(error: &RedisError) -> bool {
    is_refused_login(error) || TlsError::of(&error.to_string()).is_some()
}

fn is_refused_login(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}

pub(crate) fn advice(error: &RedisError) -> Option<String> {
    if is_missing_right(error) {
        return Some(
            "the Redis user lacks a right (NOPERM): give it the rights that deploy/rights/redis.acl lists for this program"
                .to_owned(),
        );
    }
    if is_refused_login(error) {
        return Some("the login was refused: check user and password in REDIS_URL".to_owned());
    }
    let text = error.to_string();
    if text.contains(RESET) {
        return Some(
            "if REDIS_URL begins with rediss://, Redis may require a certificate of this program: check \
             REDIS_SSL_CERTIFICATE and REDIS_SSL_KEY"
                .to_owned(),
        );
    }
    TlsError::of(&text).map(|tls| tls.advice(&TLS))
}
