//! The command `rushgate setup`, which creates what campaigns need and what is missing: the tables, the index of
//! campaigns and the topic.

use crate::config::Config;
use crate::database::Database;
use crate::gate::Gate;
use crate::kafka::{Creation, Kafka, TopicTerms};
use crate::output::CommandOutput;
use crate::refusal::{ErrorCode, Refusal, refuse};
use crate::stderr;
use crate::waiting::{noting, wait};
use anyhow::{Context, Result};
use backon::{ConstantBuilder, Retryable};
use clap::Args;
use rushgate_startup::{DatabaseSettings, causes, duration_or_number_of};
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio::try_join;

/// Longest time for one attempt. A server that accepted a connection while it was starting may never answer on it.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Replicas of a new topic, if not given and there are that many brokers.
const MOST_REPLICAS: i32 = 3;

const PAUSE: Duration = Duration::from_millis(200);

/// Creates the tables, the index of campaigns and the topic, as far as they are missing.
#[derive(Args)]
pub struct Setup {
    /// How long to wait for servers that are still starting; 0s: a single attempt
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = wait())]
    wait: Duration,
    /// Partitions of a new topic: the most consumers that can share the work
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Replicas of a new topic; default: one on each broker, at most three
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=100))]
    replicas: Option<i32>,
    /// How long a new topic keeps its records
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = days())]
    retention: Duration,
}

impl Setup {
    /// Runs the command and returns its output. Changes nothing before all servers have answered.
    ///
    /// # Errors
    /// When a server does not answer in time or refuses.
    pub async fn run(&self, config: &Config) -> Result<CommandOutput> {
        config.check()?;
        let deadline = Instant::now() + self.wait;
        let kafka = Kafka::new(config)?;
        let (database, mut gate, status) = try_join!(
            until(
                deadline,
                "the database",
                DatabaseSettings::shown(&config.database.options()?),
                async |_| Database::connect(config).await
            ),
            until(
                deadline,
                "Redis",
                config
                    .redis
                    .client()?
                    .get_connection_info()
                    .addr()
                    .to_string(),
                async |_| Gate::connect(config).await
            ),
            until(
                deadline,
                "Kafka",
                config.kafka.brokers.clone(),
                async |limit| kafka.status(limit).await
            ),
        )?;

        // Some users may not read them.
        for danger in gate.dangers().await.unwrap_or_default() {
            stderr::warning(&danger);
        }
        let applied = database.migrate(left(deadline)).await?;
        let campaigns = database.campaigns().await;
        let campaigns = campaigns
            .context("reading the campaigns in order to register them with Redis: run `rushgate setup` again")?;
        // The bridge empties a full Redis, so a full Redis must not prevent its start.
        if let Err(error) = gate.register(&campaigns).await {
            stderr::warning(&format!(
                "{}; until `rushgate setup` has succeeded, applicants get 503 for campaigns that Redis does not know",
                causes(error.as_ref())
            ));
        }
        let creation = if status.is_there {
            Creation::WasThere
        } else {
            // The migrations may have used up the time.
            let deadline = deadline.max(Instant::now() + ATTEMPT);
            let at = config.kafka.brokers.clone();
            let terms = TopicTerms {
                partitions: self.partitions,
                replicas: self
                    .replicas
                    .unwrap_or(status.brokers.clamp(1, MOST_REPLICAS)),
                retention: self.retention,
            };
            until(deadline, "Kafka", at, async |limit| {
                kafka.create_topic(terms, limit).await
            })
            .await?
        };
        let topic = &config.kafka.topic;
        let topic_created = match creation {
            Creation::Created => true,
            Creation::WasThere => false,
            Creation::Declined(code) => refuse!(
                ServerRefused,
                "topic {topic} does not exist, or this user may not see it, and Kafka does not create it: {code}. Ask \
                 an administrator to create it, with {} partitions or at least one for each consumer, or to grant this \
                 user Describe and Create on it; or choose another topic (KAFKA_TOPIC). Then run `rushgate setup` \
                 again",
                self.partitions
            ),
        };
        match kafka.risks(ATTEMPT).await {
            Ok(risks) => {
                for risk in risks {
                    stderr::warning(&format!("topic {topic} {risk}"));
                }
            }
            Err(error) => stderr::warning(&format!(
                "cannot check whether topic {topic} may lose grants: {}",
                causes(error.as_ref())
            )),
        }
        Ok(CommandOutput::of(SetUp {
            migrations: applied,
            topic: topic.clone(),
            topic_created,
        }))
    }
}

/// What exists now.
#[derive(Serialize)]
struct SetUp {
    /// Migrations of the tables, all of them applied.
    migrations: usize,
    topic: String,
    /// False if it existed before.
    topic_created: bool,
}

impl fmt::Display for SetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (migrations, topic) = (self.migrations, &self.topic);
        let created = match self.topic_created {
            true => "created",
            false => "already existed",
        };
        write!(
            f,
            "tables ready ({migrations} migrations), topic {topic} {created}"
        )
    }
}

/// Retries until `attempt` succeeds or the deadline has passed. Each attempt gets a time limit.
async fn until<T>(
    deadline: Instant,
    server: &str,
    address: String,
    attempt: impl AsyncFn(Duration) -> Result<T>,
) -> Result<T> {
    let one = || async {
        let limit = match left(deadline) {
            // No waiting, but one attempt.
            Duration::ZERO => ATTEMPT,
            left => left.min(ATTEMPT),
        };
        // Slightly less than the outer limit, so that the attempt itself can report why it failed.
        let attempt = timeout(limit, attempt(limit.mul_f64(0.8))).await;
        attempt.unwrap_or_else(|_| {
            let limit = limit.as_secs_f64();
            let message = format!("no answer from {address} within {limit:.1} s");
            Err(Refusal::new(ErrorCode::ServerUnavailable, message).into())
        })
    };
    let pauses = ConstantBuilder::new().with_delay(PAUSE).without_max_times();
    // An attempt with almost no time left would only report a timeout.
    let attempts = one.retry(pauses).when(|_| left(deadline) >= 2 * PAUSE);
    let what = format!("{server} at {address} is not ready yet");
    let ready = noting(&what, Some(left(deadline)), attempts).await;
    ready.with_context(|| format!("{server} is not ready"))
}

/// Used to be a number of days.
fn days() -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    let day = Duration::from_hours(24);
    duration_or_number_of(day, day..=36_500 * day)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
