//! Redis: projecting a campaign into the gate, changing what it knows, and reading how it stands.

mod books;
mod restore;

pub use books::Unpublished;

use crate::address;
use crate::config::Config;
use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, AsyncTypedCommands};
use rushgate_gate::overview::{self, Overview};
use rushgate_gate::project::{self, Origin, Outcome};
use rushgate_gate::revoke;
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Applicant, Call, CampaignId, CampaignState, Place, Round, RoundId, Terms, Value, application,
    confirm, keys, resend,
};
use std::time::Duration;

/// How long Redis may take over anything. In the middle of a rush, when what an operator asks is most needed, it takes
/// its time; the client's own half a second is for whoever serves that rush.
const PATIENCE: Duration = Duration::from_secs(10);

/// The gate, by way of one connection.
pub struct Gate {
    redis: MultiplexedConnection,
}

impl Gate {
    /// Connects, and asks whether Redis is there.
    ///
    /// # Errors
    /// When it is not.
    pub async fn connect(config: &Config) -> Result<Self> {
        let connect = async {
            let client = redis::Client::open(config.redis_url.as_str())?;
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            let mut redis = client
                .get_multiplexed_async_connection_with_config(&settings)
                .await?;
            redis.ping().await?;
            Ok::<_, redis::RedisError>(redis)
        };
        let redis = connect.await.with_context(|| {
            format!(
                "cannot use Redis at {}: is it running, and is REDIS_URL right?",
                address::shown(&config.redis_url)
            )
        })?;
        Ok(Self { redis })
    }

    /// Makes bridges and lists aware of `campaign`. Comes before it can grant anything, so that no grant
    /// waits in a stream that nobody reads.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn register(&mut self, campaign: &CampaignId) -> Result<()> {
        self.redis
            .sadd(keys::CAMPAIGNS, campaign.as_str())
            .await
            .context("Redis refused to register the campaign")?;
        Ok(())
    }

    /// Brings the gate in line with what the database says.
    ///
    /// # Errors
    /// When Redis refuses. That the gate declines is an [`Outcome`].
    pub async fn project(
        &mut self,
        campaign: &CampaignId,
        origin: Origin,
        state: CampaignState,
        terms: &Terms,
        rounds: &[Round],
    ) -> Result<Outcome> {
        let call = project::call(campaign, origin, state, terms, rounds);
        Ok(project::outcome(&self.call(&call).await?)?)
    }

    /// How a campaign stands; `None` if the gate does not know it.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn overview(&mut self, campaign: &CampaignId) -> Result<Option<Overview>> {
        Ok(overview::overview(
            &self.call(&overview::call(campaign)).await?,
        )?)
    }

    /// Takes `applicant`'s grant back and passes its serial on.
    ///
    /// # Errors
    /// When Redis refuses. That there is nothing to take back is an [`revoke::Outcome`].
    pub async fn revoke(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<revoke::Outcome> {
        let call = revoke::call(campaign, applicant, round);
        Ok(revoke::outcome(&self.call(&call).await?)?)
    }

    /// What became of `applicant`'s application.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn application(
        &mut self,
        campaign: &CampaignId,
        applicant: &Applicant,
        round: Option<&RoundId>,
    ) -> Result<application::Status> {
        let call = application::call(campaign, applicant, round);
        Ok(application::status(&self.call(&call).await?)?)
    }

    /// Marks grants as issued, as the consumers do after the commit.
    ///
    /// # Errors
    /// When Redis refuses. That the gate does not know one of them is an [`confirm::Outcome`].
    pub async fn confirm(
        &mut self,
        campaign: &CampaignId,
        places: &[Place],
    ) -> Result<confirm::Outcome> {
        let mut issued = 0;
        for places in places.chunks(confirm::MOST) {
            let grants = places
                .iter()
                .map(|place| (&place.round, place.serial, &place.applicant));
            let call = confirm::call(campaign, grants);
            match confirm::outcome(&self.call(&call).await?)? {
                confirm::Outcome::Confirmed { issued: more } => issued += more,
                other => return Ok(other),
            }
        }
        Ok(confirm::Outcome::Confirmed { issued })
    }

    /// Puts on the stream again what the gate knows of a grant.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn resend(
        &mut self,
        campaign: &CampaignId,
        round: &RoundId,
        applicant: &Applicant,
    ) -> Result<resend::Outcome> {
        let call = resend::call(campaign, round, applicant);
        Ok(resend::outcome(&self.call(&call).await?)?)
    }

    async fn call(&mut self, call: &Call) -> Result<Vec<Value>> {
        let mut run = async |eval: Eval| {
            let mut command = redis::cmd(eval.command());
            for argument in call.arguments(eval) {
                command.arg(argument);
            }
            command
                .query_async::<Vec<redis::Value>>(&mut self.redis)
                .await
        };
        let reply = match run(Eval::BySha).await {
            Err(error) if error.code() == Some("NOSCRIPT") => run(Eval::BySource).await,
            reply => reply,
        }
        .context("Redis refused to run a script of the gate")?;
        Ok(reply
            .into_iter()
            .map(|value| match value {
                redis::Value::Int(number) => Value::Integer(number),
                redis::Value::BulkString(bytes) => Value::Bytes(bytes),
                _ => Value::Other,
            })
            .collect())
    }
}
