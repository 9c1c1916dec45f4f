//! A connection to Redis, which runs one command at a time.
//!
//! It is closed after any error and opened again at the next use, so that a late reply is never taken for the reply to
//! another command. The connection of the [`Reader`](crate::stream::reader::Reader) blocks while it waits for new
//! entries; the [`Completer`](crate::stream::completer::Completer) has its own, so that acks do not wait for that.

use crate::stream::reply::UnexpectedReply;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value, cmd};
use rushgate_gate::keys::{CAMPAIGN_INDEX, CAMPAIGNS};
use std::time::Duration;

/// How long Redis may take to reply to a command that does not block. This includes waiting for its disk.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command failed, or its reply could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Reply(#[from] UnexpectedReply),
}

/// A connection that is opened when it is first needed.
#[derive(Debug)]
pub(crate) struct LazyConnection {
    client: Client,
    response_timeout: Duration,
    connection: Option<MultiplexedConnection>,
}

impl LazyConnection {
    pub(crate) fn new(client: Client, response_timeout: Duration) -> Self {
        Self {
            client,
            response_timeout,
            connection: None,
        }
    }

    async fn open(&mut self) -> RedisResult<&mut MultiplexedConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(RESPONSE_TIMEOUT))
                    .set_response_timeout(Some(self.response_timeout));
                let client = &self.client;
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    pub(crate) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(self.open().await?).await
    }

    /// The names of all campaigns, and whether the set of them is lost. Then the names come from the index that
    /// was built from that set.
    pub(crate) async fn campaigns(&mut self) -> RedisResult<(Vec<Vec<u8>>, bool)> {
        let members = self.ask(cmd("SMEMBERS").arg(CAMPAIGNS)).await?;
        let members: Vec<Vec<u8>> = redis::from_redis_value(members)?;
        if !members.is_empty() {
            return Ok((members, false));
        }
        let indexed = cmd("ZRANGE").arg(CAMPAIGN_INDEX).arg(0).arg(-1).clone();
        let indexed: Vec<Vec<u8>> = redis::from_redis_value(self.ask(&indexed).await?)?;
        let is_lost = !indexed.is_empty();
        Ok((indexed, is_lost))
    }

    /// The reply to each command; a reply may be an error.
    pub(crate) async fn ask_all(
        &mut self,
        commands: &Pipeline,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        commands.query_async(self.open().await?).await
    }

    pub(crate) fn close(&mut self) {
        self.connection = None;
    }
}
