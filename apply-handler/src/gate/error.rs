//! Lists how a call to the gate fails, tells an error reply of Redis from a missing reply, and says what to do.

use rushgate_gate::ReplyError;
use rushgate_gate::tls_error::{TlsError, TlsSettings};
use spin_sdk::redis::Error;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The gate was not called, because it is overloaded.
    #[error("overloaded: a call takes longer than {} ms", .0.as_millis())]
    Overloaded(Duration),
    #[error("no reply from Redis within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// An error of Redis, or of the host on the way to it.
    #[error("{0}")]
    Redis(#[from] Error),
    /// A reply that no script of the gate sends.
    #[error("{0}")]
    Reply(#[from] ReplyError),
}

impl GateError {
    /// Whether the gate works, and only the data of one campaign is unreadable.
    pub fn concerns_one_campaign(&self) -> bool {
        match self {
            Self::Reply(_) => true,
            Self::Redis(error) => {
                matches!(reply_code(error), Some("WRONGTYPE" | "ResponseError"))
                    && !self.is_missing_right()
            }
            Self::Overloaded(_) | Self::TimedOut(_) => false,
        }
    }

    /// Whether the Redis user lacks a right. Other calls may work.
    pub fn is_missing_right(&self) -> bool {
        match self {
            Self::Redis(error @ Error::Other(text)) => {
                let in_script = DENIED_IN_SCRIPT.iter().any(|part| text.contains(part));
                reply_code(error) == Some("NOPERM") || in_script
            }
            _ => false,
        }
    }

    /// Which setting or right to change, if that is known.
    pub fn advice(&self) -> Option<String> {
        let Self::Redis(Error::Other(text)) = self else {
            return None;
        };
        if self.is_missing_right() {
            let advice = "the Redis user lacks a right (NOPERM): give it the rights that deploy/rights/redis.acl lists for the handler";
            return Some(advice.to_owned());
        }
        if ["AuthenticationFailed", "NOAUTH", "WRONGPASS"]
            .iter()
            .any(|refusal| text.contains(refusal))
        {
            let advice = "the login was refused: check redis_username and redis_password";
            return Some(advice.to_owned());
        }
        // With TLS 1.3, Redis refuses a client without a certificate after the handshake.
        if text.contains("Connection reset by peer") {
            let advice = "if redis_url begins with rediss://, Redis may require a certificate of the handler: Spin cannot show one, so \
                          set tls-auth-clients to optional in Redis";
            return Some(advice.to_owned());
        }
        TlsError::of(text).map(|tls| tls.advice(&TLS))
    }
}

/// How the error of a script whose user lacks a right begins, under the general code: in Redis 7.0, and in Redis 8 and
/// Valkey 9.
const DENIED_IN_SCRIPT: [&str; 2] = ["The user executing the script", "ACL failure in script"];

const TLS: TlsSettings = TlsSettings {
    ca: "SSL_CERT_FILE, in the environment of Spin,",
    certificate: "Spin cannot show one, so set tls-auth-clients to optional in Redis",
    address: "redis_url",
};

/// The code of an error reply of Redis; `None` for an error without a reply, such as a broken connection.
///
/// Spin returns errors as the text of redis-rs. It is `… signalled by the server - NoScriptError: …` for the codes that
/// redis-rs knows; otherwise it begins with the code as Redis sends it. The text of a connection error begins with a
/// word.
pub(super) fn reply_code(error: &Error) -> Option<&str> {
    let Error::Other(text) = error else {
        return None;
    };
    let code = match text.split_once("signalled by the server - ") {
        Some((_, known)) => known.split(':').next()?,
        None => text.split([':', ' ']).next()?,
    };
    match code {
        "ReadOnly" => Some("READONLY"),
        "NoScriptError" => Some("NOSCRIPT"),
        code if code.len() < text.len() && (text.contains("signalled by") || is_code(code)) => {
            Some(code)
        }
        _ => None,
    }
}

fn is_code(word: &str) -> bool {
    // `TLS error` is the text of a connection that could not be opened.
    word != "TLS" && word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reply_is_not_a_missing_reply() {
        for (text, code) in [
            (
                "An error was signalled by the server - NoScriptError: No matching script. Please use EVAL.",
                Some("NOSCRIPT"),
            ),
            (
                "NOSCRIPT No matching script. Please use EVAL.",
                Some("NOSCRIPT"),
            ),
            (
                "An error was signalled by the server - ReadOnly: You can't write against a read only replica.",
                Some("READONLY"),
            ),
            (
                "An error was signalled by the server - ResponseError: Error running script",
                Some("ResponseError"),
            ),
            (
                "OOM: command not allowed when used memory > 'maxmemory'.",
                Some("OOM"),
            ),
            (
                "WRONGTYPE: Operation against a key holding the wrong kind of value",
                Some("WRONGTYPE"),
            ),
            ("BUSY: Redis is busy running a script.", Some("BUSY")),
            ("broken pipe", None),
            ("Connection refused (os error 111)", None),
            (
                "Multiplexed connection driver unexpectedly terminated- IoError",
                None,
            ),
            ("TLS error - IoError: error:0A000086:SSL routines", None),
            ("timed out", None),
            ("", None),
        ] {
            assert_eq!(reply_code(&Error::Other(text.to_owned())), code, "{text}");
        }
        assert_eq!(reply_code(&Error::InvalidAddress), None);
    }

    #[test]
    fn the_advice_names_the_setting_or_the_right() {
        for (text, advice) in [
            ("Connection refused (os error 111)", None),
            (
                "TLS error - IoError: error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
                 failed:../ssl/statem/statem_clnt.c:1889: (self-signed certificate in certificate chain)",
                Some("set SSL_CERT_FILE, in the environment of Spin, to a file"),
            ),
            (
                "Password authentication failed- AuthenticationFailed",
                Some("check redis_username and redis_password"),
            ),
            (
                "NOAUTH: Authentication required.",
                Some("check redis_username"),
            ),
            (
                "NOPERM: this user has no permissions to run the 'evalsha' command",
                Some("deploy/rights/redis.acl"),
            ),
            (
                "An error was signalled by the server - ResponseError: The user executing the script can't run this command",
                Some("deploy/rights/redis.acl"),
            ),
            (
                "An error was signalled by the server - ResponseError: ACL failure in script: User x has no permissions",
                Some("deploy/rights/redis.acl"),
            ),
        ] {
            let error = GateError::Redis(Error::Other(text.to_owned()));
            assert!(!error.concerns_one_campaign(), "{text}");
            let found = error.advice();
            let fits = found
                .as_ref()
                .map(|found| advice.is_some_and(|part| found.contains(part)));
            assert_eq!(fits, advice.map(|_| true), "{text}: {found:?}");
        }
    }
}
