//! Parses the replies of XREADGROUP and XAUTOCLAIM, in both versions of the Redis protocol (RESP2 and RESP3). All
//! functions are pure.

use crate::entry::{EntryId, Fields};
use redis::Value;
use std::fmt;

/// A reply of the wrong shape: the server is not Redis, or a version that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnexpectedReply(&'static str);

impl fmt::Display for UnexpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unexpected reply from Redis: expected {}", self.0)
    }
}

impl std::error::Error for UnexpectedReply {}

/// An entry's id, and its fields unless it was deleted.
pub(crate) type Entry = (EntryId, Option<Fields>);

/// A stream's key and its entries.
pub(crate) type Stream = (Vec<u8>, Vec<Entry>);

/// Parses the reply to XREADGROUP: the entries of each stream that has any.
///
/// # Errors
/// When the reply has another shape.
pub(crate) fn streams(reply: Value) -> Result<Vec<Stream>, UnexpectedReply> {
    let pairs: Vec<(Value, Value)> = match reply {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(pairs) => pairs,
        Value::Array(streams) => {
            let pairs = streams.into_iter().map(|stream| pair(stream, "a stream"));
            pairs.collect::<Result<_, _>>()?
        }
        _ => return Err(UnexpectedReply("streams")),
    };
    let named = pairs
        .into_iter()
        .map(|(name, stream)| Ok((bytes(name)?, entries(stream)?)));
    named.collect()
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The id at which the next claim continues.
    pub(crate) next: EntryId,
    pub(crate) entries: Vec<Entry>,
    /// Entries that were pending and are no longer in the stream. Redis has removed them from the pending list.
    pub(crate) deleted: Vec<EntryId>,
}

/// Parses the reply to XAUTOCLAIM.
///
/// # Errors
/// When it is not of that shape.
pub(crate) fn claimed(reply: Value) -> Result<Claimed, UnexpectedReply> {
    let mut parts = array(reply, "claims")?.into_iter();
    let next = id(parts.next().unwrap_or_default())?;
    let entries = entries(parts.next().unwrap_or_default())?;
    let deleted = array(
        parts.next().unwrap_or_default(),
        "deleted ids (Redis 7 or later)",
    )?;
    Ok(Claimed {
        next,
        entries,
        deleted: deleted.into_iter().map(id).collect::<Result<_, _>>()?,
    })
}

fn entries(value: Value) -> Result<Vec<Entry>, UnexpectedReply> {
    let entries = array(value, "entries")?.into_iter();
    entries
        .map(|entry| {
            let (entry, fields) = pair(entry, "an entry")?;
            Ok((id(entry)?, fields_of(fields)?))
        })
        .collect()
}

fn fields_of(value: Value) -> Result<Option<Fields>, UnexpectedReply> {
    if value == Value::Nil {
        return Ok(None);
    }
    let words = array(value, "fields")?;
    let mut fields = Vec::with_capacity(words.len() / 2);
    let mut words = words.into_iter();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        fields.push((bytes(name)?, bytes(value)?));
    }
    Ok(Some(fields))
}

fn array(value: Value, what: &'static str) -> Result<Vec<Value>, UnexpectedReply> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(UnexpectedReply(what)),
    }
}

fn pair(value: Value, what: &'static str) -> Result<(Value, Value), UnexpectedReply> {
    let both: Result<[Value; 2], _> = array(value, what)?.try_into();
    both.map(Into::into).map_err(|_| UnexpectedReply(what))
}

fn bytes(value: Value) -> Result<Vec<u8>, UnexpectedReply> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(UnexpectedReply("a string")),
    }
}

fn id(value: Value) -> Result<EntryId, UnexpectedReply> {
    let id = String::from_utf8(bytes(value)?).ok();
    id.and_then(|id| id.parse().ok())
        .ok_or(UnexpectedReply("an entry id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn list(values: impl Into<Vec<Value>>) -> Value {
        Value::Array(values.into())
    }

    fn entry(id: &str) -> Value {
        list([text(id), list([text("serial"), text("1")])])
    }

    fn parsed(ms: u64) -> Entry {
        let fields = vec![(b"serial".to_vec(), b"1".to_vec())];
        (EntryId { ms, seq: 0 }, Some(fields))
    }

    #[test]
    fn streams_are_read_in_both_protocols() {
        let entries = list([entry("5-0"), list([text("6-0"), Value::Nil])]);
        let two = list([list([text("s"), entries.clone()])]);
        let three = Value::Map(vec![(text("s"), entries)]);
        let deleted = (EntryId { ms: 6, seq: 0 }, None);
        let expected = vec![(b"s".to_vec(), vec![parsed(5), deleted])];
        assert_eq!(streams(two), Ok(expected.clone()));
        assert_eq!(streams(three), Ok(expected));
        assert_eq!(streams(Value::Nil), Ok(Vec::new()), "nothing came in time");
    }

    #[test]
    fn claims_name_what_was_deleted() {
        let reply = list([text("0-0"), list([entry("5-0")]), list([text("4-0")])]);
        let expected = Claimed {
            next: EntryId::ZERO,
            entries: vec![parsed(5)],
            deleted: vec![EntryId { ms: 4, seq: 0 }],
        };
        assert_eq!(claimed(reply), Ok(expected));
    }

    #[test]
    fn replies_of_another_shape_are_refused() {
        for reply in [
            Value::Okay,
            list([text("s")]),
            list([list([text("s"), text("x")])]),
        ] {
            assert!(streams(reply.clone()).is_err(), "{reply:?}");
            assert!(claimed(reply.clone()).is_err(), "{reply:?}");
        }
        assert!(claimed(Value::Nil).is_err());
    }
}
