//! The connection to the gate in Redis. A call that gets no answer is made again, so that a restart of Redis causes no
//! error.

use crate::config::Config;
use crate::waiting::{PATIENCE, noting};
use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError};
use rushgate_gate::script::Eval;
use rushgate_gate::{Call, Value};
use rushgate_startup::{is_refused_connection, redis_dangers};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a call is retried after its answer was lost.
const AGAIN_FOR: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(100);

/// Error codes that Redis returns before it runs anything, so nothing was done. Every other error comes from a script
/// or command that had begun.
const REFUSALS: [&str; 13] = [
    "NOSCRIPT",
    "OOM",
    "MISCONF",
    "READONLY",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOREPLICAS",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "EXECABORT",
];

/// Error codes of a Redis that cannot run commands for the moment.
const NOT_NOW: [&str; 4] = ["LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN"];

/// Why a call to the gate failed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Redis returned an error. Nothing was done.
    #[error("Redis at {address} returned an error: {error}")]
    Refused {
        address: String,
        #[source]
        error: RedisError,
    },
    /// No reply arrived, or an error that leaves open how much was done.
    #[error("no complete answer from Redis at {address}: {error}")]
    Unanswered {
        address: String,
        #[source]
        error: RedisError,
    },
    /// A reply arrived that cannot be parsed, now or at the next attempt.
    #[error("Redis at {address} returned a reply that cannot be parsed: {error}")]
    Unreadable {
        address: String,
        #[source]
        error: RedisError,
    },
}

/// The gate, over a single connection that is reopened when it breaks.
pub struct Gate {
    client: Client,
    connection: Option<MultiplexedConnection>,
    address: String,
}

impl Gate {
    /// Connects and sends PING.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn connect(config: &Config) -> Result<Self> {
        let client = config.redis.client()?;
        let address = client.get_connection_info().addr().to_string();
        let mut gate = Self {
            client,
            connection: None,
            address: address.clone(),
        };
        let ping = redis::cmd("PING");
        let pong = gate.ask::<String>(&ping);
        let pong = noting("Redis has not answered yet", Some(PATIENCE), pong).await;
        pong.with_context(|| {
            format!("cannot use Redis at {address} (is it running, and is REDIS_URL right?)")
        })?;
        Ok(gate)
    }

    /// Settings of this Redis with which grants may be lost.
    ///
    /// # Errors
    /// When Redis does not answer, or this user may not read its settings.
    pub async fn dangers(&mut self) -> Result<Vec<String>> {
        let mut info = redis::cmd("INFO");
        info.arg("memory").arg("persistence");
        let info: String = self.query(&info).await?;
        let dangers = redis_dangers(&info, None).into_iter();
        let address = &self.address;
        Ok(dangers
            .map(|danger| format!("Redis at {address}: {}", danger.message))
            .collect())
    }

    pub(super) async fn call(&mut self, call: &Call) -> Result<Vec<Value>> {
        let reply = match self.query(&call.command(Eval::BySha)).await {
            Err(GateError::Refused { error, .. } | GateError::Unanswered { error, .. })
                if error.code() == Some("NOSCRIPT") =>
            {
                self.query(&call.command(Eval::BySource)).await
            }
            reply => reply,
        };
        Ok(reply?)
    }

    /// Runs an idempotent command. If no answer arrives, it retries for [`AGAIN_FOR`], so a broken connection or a
    /// restart of Redis causes no error.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, GateError> {
        let reply = self.reply(command).await?;
        redis::from_redis_value(reply).map_err(|error| GateError::Unreadable {
            address: self.address.clone(),
            error: error.into(),
        })
    }

    async fn reply(&mut self, command: &Cmd) -> Result<redis::Value, GateError> {
        let mut deadline = None;
        // Whether any attempt may have taken effect.
        let mut may_be_done = false;
        loop {
            let attempt = self.ask(command);
            let result = match deadline {
                None => attempt.await,
                Some(deadline) => timeout_at(deadline, attempt)
                    .await
                    .unwrap_or_else(|_| Err(std::io::Error::from(ErrorKind::TimedOut).into())),
            };
            let error = match result {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let replied = |codes: &[&str]| error.code().is_some_and(|code| codes.contains(&code));
            // The script may have changed something before the command that this user may not run.
            let is_in_script = error.code() == Some("NOPERM")
                && error
                    .detail()
                    .is_some_and(|detail| detail.contains("in script"));
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            may_be_done |= self.connection.is_some()
                && (!replied(&REFUSALS) || is_in_script)
                && !replied(&NOT_NOW);
            let is_refused = error.code().is_some() && !replied(&NOT_NOW);
            if is_refused || is_refused_connection(&error) || is_over {
                let address = self.address.clone();
                return Err(match may_be_done {
                    false => GateError::Refused { address, error },
                    true => GateError::Unanswered { address, error },
                });
            }
            self.connection = None;
            deadline.get_or_insert(Instant::now() + AGAIN_FOR);
            sleep(PAUSE).await;
        }
    }

    /// Runs commands that only read, once, in one round trip; returns the reply to each.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(super) async fn batch(
        &mut self,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Result<redis::Value, RedisError>>> {
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.ignore_errors();
        let replies = match self.connected().await {
            Ok(connection) => pipeline.query_async(connection).await,
            Err(error) => Err(error),
        };
        if replies.is_err() {
            self.connection = None;
        }
        let address = &self.address;
        replies.with_context(|| format!("reading from Redis at {address}"))
    }

    /// Runs a command once. If there is no connection afterwards, the command was not sent.
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(self.connected().await?).await
    }

    /// The connection, which is opened if there is none.
    async fn connected(&mut self) -> Result<&mut MultiplexedConnection, RedisError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let settings = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                self.client
                    .get_multiplexed_async_connection_with_config(&settings)
                    .await?
            }
        };
        Ok(self.connection.insert(connection))
    }
}
