//! A Lua script, a call of it, and its flat reply, without a client library: the handler speaks to Redis
//! through Spin, everything else through redis-rs.

use crate::time::Millis;
use std::fmt;
use std::sync::OnceLock;

/// A Lua script as Redis knows it: by its source once, by its SHA-1 afterwards.
///
/// Scripts that give places have a part in common, `grant.lua`, which stands before their own.
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

    /// The source, for EVAL.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The SHA-1 of the source in hexadecimal, for EVALSHA.
    pub fn sha1(&self) -> &str {
        self.sha1
            .get_or_init(|| sha1_smol::Sha1::from(self.source).hexdigest())
    }
}

/// One call of a script.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to run.
    pub script: &'static Script,
    /// `KEYS`, all in one slot.
    pub keys: Vec<String>,
    /// `ARGV`.
    pub args: Vec<String>,
}

/// A command of Redis that runs a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eval {
    /// By SHA-1; answered with NOSCRIPT by a server that has not seen the script since it started.
    BySha,
    /// By source, which also lets the server remember it.
    BySource,
}

impl Eval {
    /// The name of the command.
    pub fn command(self) -> &'static str {
        match self {
            Self::BySha => "EVALSHA",
            Self::BySource => "EVAL",
        }
    }
}

impl Call {
    /// The arguments of `eval`'s command, in order.
    pub fn arguments(&self, eval: Eval) -> impl Iterator<Item = &str> {
        let script = match eval {
            Eval::BySha => self.script.sha1(),
            Eval::BySource => self.script.source(),
        };
        // At most a handful of keys: their number is one of these words.
        let count = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"][self.keys.len()];
        [script, count]
            .into_iter()
            .chain(self.keys.iter().map(String::as_str))
            .chain(self.args.iter().map(String::as_str))
    }
}

/// One element of a script's flat reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A Lua number.
    Integer(i64),
    /// A Lua string.
    Bytes(Vec<u8>),
    /// Anything else; no script of ours answers with it.
    Other,
}

/// The clock of Redis in a reply that ends with it, as those of `apply.lua`, `overview.lua` and `status.lua` do
/// whatever they answer; `None` for any other reply.
pub fn clock(reply: &[Value]) -> Option<Millis> {
    match reply.last() {
        Some(Value::Integer(millis)) => Millis::try_from(*millis).ok(),
        _ => None,
    }
}

/// A reply that its script cannot have given: another version of it, or not Redis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected reply of the gate: {0}")]
pub struct ReplyError(String);

impl ReplyError {
    pub(crate) fn new(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// Reads a flat reply from front to back.
pub(crate) struct Reply<'a> {
    values: std::slice::Iter<'a, Value>,
}

impl<'a> Reply<'a> {
    /// Checks that the reply has exactly `length` elements.
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
