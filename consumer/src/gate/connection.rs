//! The connection to Redis over which grants are confirmed.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use rushgate_gate::script::Eval;
use rushgate_gate::{Call, CampaignId, CampaignState, Keys, Value, confirm};
use std::time::Duration;

/// How long Redis may take for one pipeline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct GateConnection {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

impl GateConnection {
    /// It connects when it is first needed.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            connection: None,
        }
    }

    /// Drops the connection. The next request opens another one, and loads the script again.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends all calls in one pipeline. Returns the reply to each; a reply may be an error.
    pub(crate) async fn send(
        &mut self,
        calls: impl Iterator<Item = &Call>,
    ) -> Result<Vec<RedisResult<Vec<Value>>>, RedisError> {
        let mut pipeline = redis::pipe();
        for call in calls {
            pipeline.add_command(call.command(Eval::BySha));
        }
        pipeline.ignore_errors();
        let replies: Vec<RedisResult<redis::Value>> =
            pipeline.query_async(self.connected().await?).await?;
        let replies = replies.into_iter().map(|reply| {
            let reply = reply.and_then(redis::Value::extract_error)?;
            Ok(Value::elements(reply))
        });
        Ok(replies.collect())
    }

    pub(crate) async fn is_halted(&mut self, campaign: &CampaignId) -> Result<bool, RedisError> {
        let state: Option<String> = redis::cmd("HGET")
            .arg(Keys::of(campaign).campaign())
            .arg("state")
            .query_async(self.connected().await?)
            .await?;
        Ok(state.as_deref() == Some(CampaignState::Halted.as_str()))
    }

    async fn connected(&mut self) -> Result<&mut MultiplexedConnection, RedisError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.client).await?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// Opens a connection and loads the script.
async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(confirm::SCRIPT.source())
        .exec_async(&mut connection)
        .await?;
    Ok(connection)
}
