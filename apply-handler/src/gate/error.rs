//! Lists how a call to the gate fails, and tells an error reply of Redis from a missing reply.

use rushgate_gate::ReplyError;
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
            Self::Redis(error) => matches!(reply_code(error), Some("WRONGTYPE" | "ResponseError")),
            Self::Overloaded(_) | Self::TimedOut(_) => false,
        }
    }
}

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
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
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
            ("timed out", None),
            ("", None),
        ] {
            assert_eq!(reply_code(&Error::Other(text.to_owned())), code, "{text}");
        }
        assert_eq!(reply_code(&Error::InvalidAddress), None);
    }
}
