//! Implements the functions of the interface `spin:redis` that the apply handler imports, as Spin's host does.
//!
//! Every `open` is a separate TCP connection, without a time limit, and is never reopened. Nested replies are
//! flattened to one list; an error is the text of the `redis` crate. The interface is defined here as Rust types: a
//! component that was compiled against another version of the interface does not start.

use crate::state::State;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, RedisError,
    Value,
};
use std::mem::size_of;
use wasmtime::component::{
    Accessor, ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource,
    ResourceType,
};

/// Largest reply in bytes, as in Spin.
const MAX_REPLY_BYTES: usize = 128 << 20;

/// An open connection of a component.
pub(crate) struct Connection(MultiplexedConnection);

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "invalid-address")]
    InvalidAddress,
    #[component(name = "too-many-connections")]
    TooManyConnections,
    /// Part of the interface; does not occur here.
    #[component(name = "type-error")]
    #[expect(dead_code, reason = "only `sadd` returns it, which is not provided")]
    WrongType,
    #[component(name = "other")]
    Other(String),
}

#[derive(Clone, ComponentType, Lift)]
#[component(variant)]
enum Parameter {
    #[component(name = "int64")]
    Int64(i64),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

/// An element of a command's reply.
#[derive(Clone, Debug, PartialEq, ComponentType, Lower)]
#[component(variant)]
enum ReplyValue {
    #[component(name = "nil")]
    Nil,
    #[component(name = "status")]
    Status(String),
    #[component(name = "int64")]
    Int64(i64),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

type Handle = Resource<Connection>;

/// Makes `spin:redis` available to components.
///
/// # Errors
/// When the linker has it already.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let redis = &mut linker.instance("spin:redis/redis@3.0.0")?;
    redis.resource(
        "connection",
        ResourceType::host::<Connection>(),
        |mut store, handle| {
            let handle = Handle::new_own(handle);
            store.data_mut().connections.delete(handle)?;
            Ok(())
        },
    )?;
    redis.func_wrap_concurrent(
        "[static]connection.open",
        |accessor, (address,): (String,)| {
            Box::pin(async move { Ok((open(accessor, &address).await,)) })
        },
    )?;
    method(
        redis,
        "execute",
        |(handle, command, arguments): (Handle, String, Vec<Parameter>)| {
            let mut command = redis::cmd(&command);
            for argument in arguments {
                match argument {
                    Parameter::Int64(number) => command.arg(number),
                    Parameter::Binary(bytes) => command.arg(bytes),
                };
            }
            (handle, command)
        },
        flat,
    )?;
    method(
        redis,
        "smembers",
        |(handle, key): (Handle, String)| (handle, Cmd::smembers(key)),
        |reply: Reply<Vec<String>>| reply.map_err(other),
    )
}

type Reply<T> = redis::RedisResult<T>;

/// A method of `connection` that is a single command: how it is built, and how its reply is converted.
fn method<P, T, R>(
    redis: &mut LinkerInstance<'_, State>,
    name: &str,
    command: fn(P) -> (Handle, Cmd),
    answer: fn(Reply<T>) -> Result<R, Error>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    T: FromRedisValue + Send + 'static,
    R: ComponentType + Lower + Send + Sync + 'static,
{
    redis.func_wrap_concurrent(
        &format!("[method]connection.{name}"),
        move |accessor, parameters| {
            Box::pin(async move {
                let (handle, command) = command(parameters);
                // The connection is taken out first: the store must not be borrowed while Redis is awaited.
                let connection = accessor.with(|mut access| {
                    let connection = access.data_mut().connections.get(&handle);
                    connection.map(|Connection(connection)| connection.clone())
                });
                let Ok(mut connection) = connection else {
                    let error = Error::Other("could not find connection for resource".to_owned());
                    return Ok((Err(error),));
                };
                Ok((answer(command.query_async(&mut connection).await),))
            })
        },
    )
}

async fn open(accessor: &Accessor<State>, address: &str) -> Result<Handle, Error> {
    let client = Client::open(address).map_err(|_| Error::InvalidAddress)?;
    // The address that is checked is the one that will be used, not a second parse of the same text.
    let (host, port) = match &client.get_connection_info().addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            (host, *port)
        }
        ConnectionAddr::Unix(_) => return Err(Error::InvalidAddress),
    };
    let (scheme, _) = address.split_once("://").ok_or(Error::InvalidAddress)?;
    if !accessor.with(|mut access| access.data_mut().allowed_hosts.allow(scheme, host, port)) {
        tracing::error!(
            "the component may not call {scheme}://{host}:{port}, which is not in allowed_outbound_hosts"
        );
        return Err(Error::InvalidAddress);
    }
    let connection = client
        .get_multiplexed_async_connection_with_config(&AsyncConnectionConfig::new())
        .await
        .map_err(other)?;
    accessor
        .with(|mut access| access.data_mut().connections.push(Connection(connection)))
        .map_err(|_| Error::TooManyConnections)
}

fn flat(reply: Reply<Value>) -> Result<Vec<ReplyValue>, Error> {
    let mut parts = Vec::new();
    flatten(reply.map_err(other)?, &mut parts).map_err(other)?;
    let size = |part: &ReplyValue| match part {
        ReplyValue::Nil | ReplyValue::Int64(_) => size_of::<ReplyValue>(),
        ReplyValue::Status(text) => size_of::<ReplyValue>() + text.len(),
        ReplyValue::Binary(bytes) => size_of::<ReplyValue>() + bytes.len(),
    };
    ensure_size(size_of::<Vec<ReplyValue>>() + parts.iter().map(size).sum::<usize>())?;
    Ok(parts)
}

fn flatten(value: Value, parts: &mut Vec<ReplyValue>) -> Reply<()> {
    let unsupported = |what: &str| {
        let what = format!("Redis {what} not supported");
        Err(RedisError::from((
            ErrorKind::TypeError,
            "Could not convert Redis response",
            what,
        )))
    };
    parts.push(match value {
        Value::Nil => ReplyValue::Nil,
        Value::Int(number) => ReplyValue::Int64(number),
        Value::Boolean(truth) => ReplyValue::Int64(truth.into()),
        Value::Okay => ReplyValue::Status("OK".to_owned()),
        Value::SimpleString(text) => ReplyValue::Status(text),
        Value::BulkString(bytes) => ReplyValue::Binary(bytes),
        Value::Double(number) => ReplyValue::Binary(number.to_string().into_bytes()),
        Value::BigNumber(number) => ReplyValue::Binary(number.to_string().into_bytes()),
        Value::Array(values) | Value::Set(values) => {
            return values
                .into_iter()
                .try_for_each(|value| flatten(value, parts));
        }
        Value::Map(_) => return unsupported("Map type is"),
        Value::Attribute { .. } => return unsupported("Attribute type is"),
        Value::VerbatimString { .. } => return unsupported("string with format attribute is"),
        Value::Push { .. } => return unsupported("Pub/Sub types are"),
        Value::ServerError(error) => {
            let error = format!("{error:?}");
            return Err(RedisError::from((
                ErrorKind::ResponseError,
                "Server error",
                error,
            )));
        }
    });
    Ok(())
}

fn ensure_size(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_REPLY_BYTES {
        let error = format!("query result exceeds limit of {MAX_REPLY_BYTES} bytes");
        return Err(Error::Other(error));
    }
    Ok(())
}

fn other(error: RedisError) -> Error {
    Error::Other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<Vec<ReplyValue>, Error>) -> String {
        match result {
            Err(Error::Other(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nested_replies_become_one_list() {
        let reply = Value::Array(vec![
            Value::Int(1),
            Value::Array(vec![
                Value::BulkString(b"a".to_vec()),
                Value::Array(vec![]),
                Value::Set(vec![Value::Nil, Value::Okay]),
            ]),
            Value::SimpleString("PONG".to_owned()),
            Value::Boolean(true),
            Value::Double(1.5),
        ]);
        let parts = vec![
            ReplyValue::Int64(1),
            ReplyValue::Binary(b"a".to_vec()),
            ReplyValue::Nil,
            ReplyValue::Status("OK".to_owned()),
            ReplyValue::Status("PONG".to_owned()),
            ReplyValue::Int64(1),
            ReplyValue::Binary(b"1.5".to_vec()),
        ];
        assert_eq!(flat(Ok(reply)).unwrap(), parts);
    }

    #[test]
    fn what_has_no_place_in_a_list_is_an_error() {
        let map = Value::Map(vec![]);
        assert_eq!(
            text(flat(Ok(Value::Array(vec![map])))),
            "Could not convert Redis response - TypeError: Redis Map type is not supported"
        );
    }

    #[test]
    fn errors_are_texts() {
        let error = RedisError::from((
            ErrorKind::NoScriptError,
            "An error was signalled",
            "gone".to_owned(),
        ));
        assert_eq!(
            text(flat(Err(error))),
            "An error was signalled - NoScriptError: gone"
        );
    }

    #[test]
    fn replies_that_are_too_large_are_refused() {
        let large = Value::BulkString(vec![0; MAX_REPLY_BYTES]);
        assert!(text(flat(Ok(large))).contains("134217728"));
    }
}
