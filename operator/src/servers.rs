//! Connects read-only commands to Redis, the database and Kafka. Each server is queried separately: if one does not
//! answer, the output still has what the others know.

use crate::config::Config;
use crate::database::Database;
use crate::gate::{Gate, GateError};
use crate::kafka::Kafka;
use crate::output::Missing;
use crate::terms::Campaign;
use crate::waiting::{NoAnswer, noting, within};
use anyhow::{Error, Result};
use redis::RedisError;
use rushgate_gate::CampaignId;
use rushgate_startup::causes;

/// The servers that answered, and what is unknown because others did not.
pub struct Servers {
    database: Asked<Database>,
    gate: Asked<Gate>,
    kafka: Asked<Kafka>,
    pub missing: Missing,
}

/// A server, or why it is not asked any more.
type Asked<S> = Result<S, String>;

impl Servers {
    /// Connects to all servers at once. Kafka connects at the first call.
    pub async fn connect(config: &Config) -> Self {
        let (database, gate) = tokio::join!(Database::connect(config), Gate::connect(config));
        Self {
            database: database.map_err(why),
            gate: gate.map_err(why),
            kafka: Kafka::new(config).map_err(why),
            missing: Missing::default(),
        }
    }

    /// The database's answer; if there is none, `None`, and `what` is reported as unknown.
    pub async fn database<T>(
        &mut self,
        what: &str,
        question: impl AsyncFnOnce(&mut Database) -> Result<T>,
    ) -> Option<T> {
        ask(
            &mut self.database,
            &mut self.missing,
            what,
            question,
            is_away,
        )
        .await
    }

    /// The gate's answer; if there is none, `None`, and `what` is reported as unknown.
    pub async fn gate<T>(
        &mut self,
        what: &str,
        question: impl AsyncFnOnce(&mut Gate) -> Result<T>,
    ) -> Option<T> {
        let question =
            async |gate: &mut Gate| noting("reading from Redis", None, question(gate)).await;
        ask(&mut self.gate, &mut self.missing, what, question, is_away).await
    }

    /// Settings of Redis with which grants may be lost; empty if it does not answer or does not allow the question.
    pub async fn redis_dangers(&mut self) -> Vec<String> {
        match &mut self.gate {
            Ok(gate) => gate.dangers().await.unwrap_or_default(),
            Err(_) => vec![],
        }
    }

    /// Kafka's answer; if there is none, `None`, and `what` is reported as unknown.
    pub async fn kafka<T>(
        &mut self,
        what: &str,
        question: impl AsyncFnOnce(&mut Kafka) -> Result<T>,
    ) -> Option<T> {
        // A failure of Kafka concerns all campaigns.
        ask(&mut self.kafka, &mut self.missing, what, question, |_| true).await
    }

    /// The campaign in the database, if it exists; if the database does not answer, `None`, and its terms are reported
    /// as unknown.
    pub async fn campaign(&mut self, id: &CampaignId) -> Option<Option<Campaign>> {
        let question =
            async |database: &mut Database| within("the database", database.campaign(id)).await;
        self.database(&format!("the terms of campaign {id}"), question)
            .await
    }

    /// The ids of all campaigns; while the database does not answer, those that Redis knows.
    pub async fn campaigns(&mut self) -> Vec<CampaignId> {
        const WHAT: &str = "the list of campaigns";
        let question =
            async |database: &mut Database| within("the database", database.campaigns()).await;
        if let Some(ids) = self.database(WHAT, question).await {
            return ids;
        }
        let question = async |gate: &mut Gate| gate.campaigns().await;
        self.gate(WHAT, question).await.unwrap_or_default()
    }
}

async fn ask<S, T>(
    server: &mut Asked<S>,
    missing: &mut Missing,
    what: &str,
    question: impl AsyncFnOnce(&mut S) -> Result<T>,
    is_away: impl Fn(&Error) -> bool,
) -> Option<T> {
    let why = match server {
        Err(why) => why.clone(),
        Ok(answers) => match question(answers).await {
            Ok(answer) => return Some(answer),
            Err(error) => {
                let (is_away, why) = (is_away(&error), why(error));
                if is_away {
                    *server = Err(why.clone());
                }
                why
            }
        },
    };
    missing.add(what, &why);
    None
}

/// Whether the server did not answer at all. It is then not asked again, because that could take as long.
pub(crate) fn is_away(error: &Error) -> bool {
    let database = error.downcast_ref::<sqlx::Error>();
    let redis = error.downcast_ref::<RedisError>();
    let gate = error.downcast_ref::<GateError>();
    database.is_some_and(|error| {
        matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)
        )
    }) || redis.is_some_and(|error| error.is_io_error() || error.is_timeout())
        || gate.is_some_and(
            |error| matches!(error, GateError::Unanswered { error, .. } if error.code().is_none()),
        )
        || error.is::<NoAnswer>()
}

fn why(error: Error) -> String {
    causes(error.as_ref())
}
