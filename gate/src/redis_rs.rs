//! Calls as commands of redis-rs, and its replies as values of the gate. Only with the feature `redis`.

use crate::script::{Call, Eval, Value};
use redis::{Cmd, FromRedisValue, ParsingError};

impl Call {
    pub fn command(&self, eval: Eval) -> Cmd {
        let mut command = redis::cmd(eval.command());
        for argument in self.arguments(eval) {
            command.arg(argument);
        }
        command
    }
}

impl From<redis::Value> for Value {
    fn from(value: redis::Value) -> Self {
        match value {
            redis::Value::Int(number) => Self::Integer(number),
            redis::Value::BulkString(bytes) => Self::Bytes(bytes),
            _ => Self::Other,
        }
    }
}

impl Value {
    /// The elements of an array reply; none for any other reply, which no script sends.
    pub fn elements(reply: redis::Value) -> Vec<Self> {
        match reply {
            redis::Value::Array(elements) => elements.into_iter().map(Self::from).collect(),
            _ => vec![],
        }
    }
}

/// Lets a query return the reply of a script as `Vec<Value>`.
impl FromRedisValue for Value {
    fn from_redis_value(value: redis::Value) -> Result<Self, ParsingError> {
        Ok(value.into())
    }
}
