//! Describes Lua scripts, their calls and their flat replies. It does not depend on a Redis client library, because
//! the handler uses the client of Spin and all other programs use redis-rs.

use crate::time::Millis;
use std::fmt;
use std::sync::OnceLock;

/// A Lua script. Redis receives its source once, and its SHA-1 in later calls.
///
/// Scripts that grant are compiled with `grant.lua` prepended.
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    sha1: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self {
            source,
            sha1: OnceLock::new(),
        }
    }

    /// For EVAL.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// SHA-1 of the source in hexadecimal, for EVALSHA.
    pub fn sha1(&self) -> &str {
        self.sha1
            .get_or_init(|| sha1_smol::Sha1::from(self.source).hexdigest())
    }
}

#[derive(Clone, Debug)]
pub struct Call {
    pub script: &'static Script,
    /// `KEYS`, all in one slot of Redis Cluster.
    pub keys: Vec<String>,
    /// `ARGV`.
    pub args: Vec<String>,
}

/// The Redis command that runs a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eval {
    /// EVALSHA. A server that has not received the source since its start replies with NOSCRIPT.
    BySha,
    /// EVAL, which also stores the script in the server.
    BySource,
}

impl Eval {
    pub fn command(self) -> &'static str {
        match self {
            Self::BySha => "EVALSHA",
            Self::BySource => "EVAL",
        }
    }
}

impl Call {
    /// The arguments of the command, in order.
    pub fn arguments(&self, eval: Eval) -> impl Iterator<Item = &str> {
        let script = match eval {
            Eval::BySha => self.script.sha1(),
            Eval::BySource => self.script.source(),
        };
        // No script has more than 10 keys.
        let count = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"][self.keys.len()];
        [script, count]
            .into_iter()
            .chain(self.keys.iter().map(String::as_str))
            .chain(self.args.iter().map(String::as_str))
    }
}

/// One element of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    Bytes(Vec<u8>),
    /// Any other type. No script of this crate replies with it.
    Other,
}

/// The clock of Redis from a reply of `apply.lua`, `overview.lua` or `status.lua`, which always end with it; `None` for
/// another reply.
pub fn clock(reply: &[Value]) -> Option<Millis> {
    match reply.last() {
        Some(Value::Integer(millis)) => Millis::try_from(*millis).ok(),
        _ => None,
    }
}

/// A reply that the script cannot have sent: the server runs another version of it, or is not Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected reply from the gate: {0}")]
pub struct ReplyError(String);

impl ReplyError {
    pub(crate) fn new(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// Decodes a flat reply from front to back.
pub(crate) struct Reply<'a> {
    values: std::slice::Iter<'a, Value>,
}

impl<'a> Reply<'a> {
    /// Fails unless the reply has exactly `length` elements.
    pub(crate) fn of(values: &'a [Value], length: usize) -> Result<Self, ReplyError> {
        if values.len() == length {
            Ok(Self {
                values: values.iter(),
            })
        } else {
            Err(ReplyError::new(format_args!(
                "{} elements instead of {length}",
                values.len()
            )))
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, ReplyError> {
        match self.values.next() {
            Some(Value::Bytes(bytes)) => str::from_utf8(bytes).map_err(ReplyError::new),
            other => Err(ReplyError::new(format_args!("{other:?} is not a text"))),
        }
    }

    pub(crate) fn integer(&mut self) -> Result<i64, ReplyError> {
        match self.values.next() {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(ReplyError::new(format_args!("{other:?} is not an integer"))),
        }
    }
}
