//! Describes Lua scripts, their calls and their flat replies. It does not depend on a Redis client library, because
//! the handler uses the client of Spin and all other programs use redis-rs: for them, the feature `redis` converts calls
//! and replies.

use crate::time::Millis;
use std::fmt;
use std::sync::OnceLock;

/// A Lua script that takes `KEYS` keys. Redis receives its source once, and its SHA-1 in later calls.
#[derive(Debug)]
pub struct Script<const KEYS: usize>(Source);

/// A script from files in `lua/`: the prelude, which defines what scripts share, then the named ones. `hashed` scripts are
/// those that an instance of the handler calls first: their SHA-1 is computed when the crate is compiled.
macro_rules! script {
    (hashed, $($file:literal),+) => {{
        const SOURCE: &str = $crate::script::source!($($file),+);
        const SHA1: [u8; 40] = $crate::sha1::hexadecimal(SOURCE.as_bytes());
        $crate::script::Script::hashed(SOURCE, &SHA1)
    }};
    ($(flags $flags:literal,)? $($file:literal),+) => {
        $crate::script::Script::new($crate::script::source!($(flags $flags,)? $($file),+))
    };
}
pub(crate) use script;

macro_rules! source {
    ($(flags $flags:literal,)? $($file:literal),+) => {
        concat!(
            $("#!lua flags=", $flags, "\n",)?
            include_str!("lua/shared/prelude.lua"),
            $(include_str!(concat!("lua/", $file))),+
        )
    };
}
pub(crate) use source;

#[derive(Debug)]
struct Source {
    text: &'static str,
    known_sha1: Option<&'static str>,
    sha1: OnceLock<String>,
    /// The number of keys, as EVALSHA takes it.
    key_count: &'static str,
}

impl<const KEYS: usize> Script<KEYS> {
    /// Evaluated when the program is compiled, as is the panic for another number of keys.
    const KEY_COUNT: &'static str = match KEYS {
        2 => "2",
        3 => "3",
        4 => "4",
        8 => "8",
        10 => "10",
        11 => "11",
        _ => panic!("add this number of keys"),
    };

    pub(crate) const fn new(source: &'static str) -> Self {
        Self::with(source, None)
    }

    /// With the SHA-1 of the source in hexadecimal.
    pub(crate) const fn hashed(source: &'static str, sha1: &'static [u8; 40]) -> Self {
        match str::from_utf8(sha1) {
            Ok(sha1) => Self::with(source, Some(sha1)),
            Err(_) => panic!("hexadecimal digits are UTF-8"),
        }
    }

    const fn with(source: &'static str, known_sha1: Option<&'static str>) -> Self {
        Self(Source {
            text: source,
            known_sha1,
            sha1: OnceLock::new(),
            key_count: Self::KEY_COUNT,
        })
    }

    /// A call with these `KEYS`, all in one slot of Redis Cluster, and this `ARGV`.
    pub(crate) fn call(&'static self, keys: [String; KEYS], args: Vec<String>) -> Call {
        Call {
            script: &self.0,
            keys: keys.into(),
            args,
        }
    }

    /// For EVAL.
    pub fn source(&self) -> &'static str {
        self.0.text
    }

    /// SHA-1 of the source in hexadecimal, for EVALSHA.
    pub fn sha1(&self) -> &str {
        self.0.sha1()
    }
}

impl Source {
    fn sha1(&self) -> &str {
        self.known_sha1.unwrap_or_else(|| {
            self.sha1
                .get_or_init(|| sha1_smol::Sha1::from(self.text).hexdigest())
        })
    }
}

/// A script with its keys and arguments.
#[derive(Clone, Debug)]
pub struct Call {
    script: &'static Source,
    keys: Vec<String>,
    args: Vec<String>,
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
            Eval::BySource => self.script.text,
        };
        [script, self.script.key_count]
            .into_iter()
            .chain(self.keys.iter().map(String::as_str))
            .chain(self.args.iter().map(String::as_str))
    }

    /// The same, without copying keys and arguments.
    pub fn into_arguments(self, eval: Eval) -> impl Iterator<Item = String> {
        let script = match eval {
            Eval::BySha => self.script.sha1(),
            Eval::BySource => self.script.text,
        };
        [script, self.script.key_count]
            .map(str::to_owned)
            .into_iter()
            .chain(self.keys)
            .chain(self.args)
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

/// The clock of Redis from a reply of a script that applicants call (`apply.lua`, `cancel.lua`, `overview.lua`,
/// `status.lua`), which always ends with it; `None` for another reply.
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
        str::from_utf8(self.bytes()?).map_err(ReplyError::new)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ReplyError> {
        match self.values.next() {
            Some(Value::Bytes(bytes)) => Ok(bytes),
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
