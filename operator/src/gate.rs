//! The client of the gate in Redis. It projects campaigns, changes grants, and reads counts and states.

mod books;
mod restore;

pub use books::Unpublished;

use crate::config::Config;
use crate::waiting::{PATIENCE, noting};
use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError};
use rushgate_gate::balance::{self, Miscount};
use rushgate_gate::overview::{self, Overview};
use rushgate_gate::project::{self, Origin, ProjectOutcome};
use rushgate_gate::projection::{self, Projection};
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Applicant, Assignment, Call, CampaignId, CampaignState, FencingToken, Round, RoundId, Terms,
    Value, confirm, keys, resend, revoke, status,
};
use rushgate_startup::redis_dangers;
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
    Refused { address: String, error: RedisError },
    /// No reply arrived, or an error that leaves open how much was done.
    #[error("no complete answer from Redis at {address}: {error}")]
    Unanswered { address: String, error: RedisError },
    /// A reply arrived that cannot be parsed, now or at the next attempt.
    #[error("Redis at {address} returned a reply that cannot be parsed: {error}")]
    Unreadable { address: String, error: RedisError },
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

    /// Registers `campaigns`, which must be all campaigns of the database. From then on an id outside the index is an
    /// unknown campaign, and a registered campaign that Redis does not have is a lost one. Called before a campaign can
    /// grant, so that no grant waits in a stream that no bridge reads.
    pub async fn register(&mut self, campaigns: &[CampaignId]) -> Result<()> {
        const WHAT: &str = "registering the campaigns with Redis";
        if !campaigns.is_empty() {
            let mut add = redis::cmd("SADD");
            add.arg(keys::CAMPAIGNS);
            for campaign in campaigns {
                add.arg(campaign.as_str());
            }
            self.query::<i64>(&add).await.context(WHAT)?;
        }
        // Rebuilt in one step, so that no campaign is ever missing: neither those older than the index, nor those that
        // an older `rushgate` has created since.
        let mut index = redis::cmd("ZUNIONSTORE");
        index.arg(keys::CAMPAIGN_INDEX).arg(1).arg(keys::CAMPAIGNS);
        index.arg("WEIGHTS").arg(0);
        self.query::<i64>(&index).await.context(WHAT)?;
        let mut mark = redis::cmd("SET");
        mark.arg(keys::SET_UP).arg(1);
        self.query::<String>(&mark).await.context(WHAT)?;
        Ok(())
    }

    /// Settings of this Redis with which grants may be lost.
    ///
    /// # Errors
    /// When Redis does not answer, or this user may not read its settings.
    pub async fn dangers(&mut self) -> Result<Vec<String>> {
        let mut info = redis::cmd("INFO");
        info.arg("memory").arg("persistence");
        let info: String = self.query(&info).await?;
        let dangers = redis_dangers(&info).into_iter();
        let address = &self.address;
        Ok(dangers
            .map(|danger| format!("Redis at {address}: {danger}"))
            .collect())
    }

    /// What the gate knows of a campaign's terms; `None` if it does not know the campaign.
    pub async fn projection(&mut self, campaign: &CampaignId) -> Result<Option<Projection>> {
        Ok(projection::projection(
            &self.call(&projection::call(campaign)).await?,
        )?)
    }

    /// Counters of the gate that differ from what it stores.
    pub async fn miscounts(&mut self, campaign: &CampaignId) -> Result<Vec<Miscount>> {
        Ok(balance::miscounts(
            &self.call(&balance::call(campaign)).await?,
        )?)
    }

    /// Gives the gate the terms and the state from the database.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. A refusal by the script is an [`ProjectOutcome`].
    pub async fn project(
        &mut self,
        campaign: &CampaignId,
        origin: Origin,
        state: CampaignState,
        terms: &Terms,
        rounds: &[Round],
        fence: FencingToken,
    ) -> Result<ProjectOutcome> {
        let call = project::call(campaign, origin, state, terms, rounds, fence);
        Ok(project::outcome(&self.call(&call).await?)?)
    }

    /// The campaign's counts; `None` if the gate does not know the campaign.
    pub async fn overview(&mut self, campaign: &CampaignId) -> Result<Option<Overview>> {
        Ok(overview::overview(
            &self.call(&overview::call(campaign)).await?,
        )?)
    }

    /// Revokes `applicant`'s grant and passes its serial on.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That there is no such grant is a [`revoke::RevokeOutcome`].
    pub async fn revoke(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<revoke::RevokeOutcome> {
        let call = revoke::call(campaign, applicant, round);
        Ok(revoke::outcome(&self.call(&call).await?)?)
    }

    /// What became of `applicant`'s application.
    pub async fn application(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<status::Status> {
        let call = status::call(campaign, applicant, round);
        Ok(status::status(&self.call(&call).await?)?)
    }

    /// Marks grants as issued, as consumers do after the commit.
    ///
    /// # Errors
    /// When Redis refuses or does not answer. That the gate does not know a grant is a [`confirm::ConfirmOutcome`].
    pub async fn confirm(
        &mut self,
        campaign: &CampaignId,
        places: &[Assignment],
    ) -> Result<confirm::ConfirmOutcome> {
        let mut issued = 0;
        for places in places.chunks(confirm::MAX_ROWS) {
            let rows = places.iter().map(|place| confirm::Row {
                round: &place.round,
                serial: place.serial,
                applicant: &place.applicant,
                is_revoked: false,
            });
            let call = confirm::call(campaign, rows);
            match confirm::outcome(&self.call(&call).await?)? {
                confirm::ConfirmOutcome::Confirmed { issued: more } => issued += more,
                other => return Ok(other),
            }
        }
        Ok(confirm::ConfirmOutcome::Confirmed { issued })
    }

    /// Puts the gate's latest event about a grant on the stream again.
    pub async fn resend(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
    ) -> Result<resend::ResendOutcome> {
        let call = resend::call(campaign, round, applicant);
        Ok(resend::outcome(&self.call(&call).await?)?)
    }

    async fn call(&mut self, call: &Call) -> Result<Vec<Value>> {
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
    async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, GateError> {
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
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            may_be_done |= self.connection.is_some() && !replied(&REFUSALS) && !replied(&NOT_NOW);
            if error.code().is_some() && !replied(&NOT_NOW) || is_over {
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

    /// Runs a command once. If there is no connection afterwards, the command was not sent.
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let settings = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let connection = self
                    .client
                    .get_multiplexed_async_connection_with_config(&settings)
                    .await?;
                self.connection.insert(connection)
            }
        };
        command.query_async(connection).await
    }
}

/// The error of a command that was interrupted for so long that another command has taken the campaign over.
pub(crate) fn superseded(campaign: &CampaignId) -> String {
    format!(
        "another command has taken campaign {campaign} over: `rushgate campaign log {campaign}` shows what was done"
    )
}
