//! Reads the stores for the samples, in the order in which a grant passes through them.

use super::sample::{Asked, MOST_CAMPAIGNS, Readings, RowsReading, Sample, current_round, sample};
use crate::config::Config;
use crate::database::{Database, RowCounts};
use crate::gate::{Gate, GateReading};
use crate::kafka::{Kafka, LagReader, TopicReading};
use crate::terms::no_such_campaign;
use anyhow::{Result, anyhow, bail};
use rushgate_gate::{CampaignId, Millis};
use rushgate_startup::causes;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest time for one question. The others wait meanwhile.
const LIMIT: Duration = Duration::from_secs(2);

/// After a failure, the store is asked again this much later.
const AGAIN: Duration = Duration::from_secs(3);

/// How often the database is asked for new campaigns.
const LIST_EVERY: Duration = Duration::from_secs(10);

/// The pause after counting rows, as a multiple of the time that it took.
const PAUSE: u32 = 20;

/// The stores, each with its connection if it has one, and what was read last.
pub(super) struct Reader {
    config: Config,
    /// Only this one.
    campaign: Option<CampaignId>,
    /// Those that the last sample has shown.
    campaigns: Vec<CampaignId>,
    campaigns_left_out: usize,
    /// All campaigns of the database, newest first.
    stored: Vec<CampaignId>,
    list_again: Instant,
    gate: Store<Gate>,
    kafka: Store<LagReader>,
    /// A question to Kafka that has not been answered in time.
    asked_kafka: Option<JoinHandle<Result<TopicReading>>>,
    database: Store<Database>,
    rows: Option<RowsReading>,
    count_again: Instant,
}

/// A store and its connection.
enum Store<S> {
    Connected(S),
    /// Not yet, or why not; asked again at this time.
    Away(String, Instant),
}

impl<S> Store<S> {
    fn new() -> Self {
        Self::Away("not asked yet".to_owned(), Instant::now())
    }

    fn failed(error: &anyhow::Error) -> Self {
        Self::Away(causes(error.as_ref()), Instant::now() + AGAIN)
    }

    /// The connection, which is opened if it is time for that.
    async fn connected(&mut self, connect: impl Future<Output = Result<S>>) -> Asked<&mut S> {
        if let Self::Away(why, again) = self {
            if Instant::now() < *again {
                return Err(why.clone());
            }
            *self = match within(connect).await {
                Ok(connected) => Self::Connected(connected),
                Err(error) => Self::failed(&error),
            };
        }
        match self {
            Self::Connected(connected) => Ok(connected),
            Self::Away(why, _) => Err(why.clone()),
        }
    }
}

/// All campaigns, newest first. Redis also knows those created since the database was asked; it may have lost others.
fn newest_first(of_redis: Vec<CampaignId>, stored: &[CampaignId]) -> Vec<CampaignId> {
    let new = of_redis.into_iter().filter(|id| !stored.contains(id));
    new.chain(stored.iter().cloned()).collect()
}

async fn within<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = timeout(LIMIT, question).await;
    answer.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", LIMIT.as_secs())))
}

impl Reader {
    /// # Errors
    /// When settings contradict each other, or the database answers that there is no such campaign.
    pub(super) async fn new(config: &Config, campaign: Option<&CampaignId>) -> Result<Self> {
        config.check()?;
        let mut reader = Self {
            config: config.clone(),
            campaign: campaign.cloned(),
            campaigns: campaign.cloned().into_iter().collect(),
            campaigns_left_out: 0,
            stored: vec![],
            list_again: Instant::now(),
            gate: Store::new(),
            kafka: Store::new(),
            asked_kafka: None,
            database: Store::new(),
            rows: None,
            count_again: Instant::now(),
        };
        if let Some(id) = campaign
            && let Ok(database) = reader.database.connected(Database::connect(config)).await
            && let Ok(None) = within(database.campaign(id)).await
        {
            bail!(no_such_campaign(id));
        }
        Ok(reader)
    }

    /// Asks every store, and puts the answers together.
    pub(super) async fn sample(&mut self, at: Millis) -> Sample {
        let gate = self.gate().await;
        let kafka = self.kafka().await;
        let no_rows = self
            .rows(at, gate.as_ref().ok(), kafka.as_ref().ok())
            .await
            .err();
        let readings = Readings {
            gate: &gate,
            kafka: &kafka,
            rows: self.rows.as_ref(),
            no_rows: no_rows.as_deref(),
            campaigns: &self.campaigns,
            campaigns_left_out: self.campaigns_left_out,
        };
        sample(at, &readings)
    }

    async fn gate(&mut self) -> Asked<GateReading> {
        let gate = self.gate.connected(Gate::connect(&self.config)).await?;
        let (only, stored) = (&self.campaign, &self.stored);
        let question = async {
            let campaigns = match only {
                Some(id) => vec![id.clone()],
                None => newest_first(gate.campaigns().await?, stored),
            };
            let shown = campaigns.get(..MOST_CAMPAIGNS).unwrap_or(&campaigns);
            let reading = gate.reading(shown).await?;
            anyhow::Ok((shown.to_vec(), campaigns.len() - shown.len(), reading))
        };
        match within(question).await {
            Ok((shown, left_out, reading)) => {
                self.campaigns = shown;
                self.campaigns_left_out = left_out;
                Ok(reading)
            }
            Err(error) => {
                self.gate = Store::failed(&error);
                Err(causes(error.as_ref()))
            }
        }
    }

    async fn kafka(&mut self) -> Asked<TopicReading> {
        let config = &self.config;
        let connect = async { LagReader::new(Kafka::new(config)?, config.group.id()?) };
        let reader = self.kafka.connected(connect).await?;
        let mut asked = match self.asked_kafka.take() {
            Some(asked) => asked,
            None => tokio::spawn(reader.clone().read()),
        };
        let answer = match timeout(LIMIT, &mut asked).await {
            Ok(answer) => answer.map_err(anyhow::Error::from).flatten(),
            Err(_) => {
                // A thread asks, which cannot be stopped.
                self.asked_kafka = Some(asked);
                return Err(format!(
                    "Kafka has not answered within {} s",
                    LIMIT.as_secs()
                ));
            }
        };
        answer.map_err(|error| {
            self.kafka = Store::failed(&error);
            causes(error.as_ref())
        })
    }

    /// Counts the rows, if it is time for that.
    async fn rows(
        &mut self,
        at: Millis,
        gate: Option<&GateReading>,
        kafka: Option<&TopicReading>,
    ) -> Asked<()> {
        let database = self
            .database
            .connected(Database::connect(&self.config))
            .await?;
        let begun = Instant::now();
        if begun >= self.list_again && self.campaign.is_none() {
            self.list_again = begun + LIST_EVERY;
            if let Ok(mut stored) = within(database.campaigns()).await {
                stored.reverse();
                self.stored = stored;
            }
        }
        if begun < self.count_again {
            return Ok(());
        }
        let rounds: Vec<_> = gate
            .into_iter()
            .flat_map(|gate| {
                let campaigns = gate.campaigns.iter();
                campaigns.filter_map(|reading| {
                    let round = current_round(gate, &reading.campaign)?;
                    Some((reading.campaign.clone(), round))
                })
            })
            .collect();
        let counted: Result<RowCounts> = within(database.row_counts(&rounds)).await;
        self.count_again = Instant::now() + begun.elapsed() * PAUSE;
        match counted {
            Ok(rows) => {
                self.rows = Some(RowsReading {
                    at,
                    rows,
                    gate: gate.cloned(),
                    lag: kafka.map(|topic| topic.lag),
                });
                Ok(())
            }
            Err(error) => {
                self.database = Store::failed(&error);
                Err(causes(error.as_ref()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_that_only_redis_or_only_the_database_knows_are_shown_too() {
        let ids = |names: &[&str]| -> Vec<CampaignId> {
            let ids = names.iter().map(|name| name.parse());
            ids.collect::<Result<_, _>>().expect("ids")
        };
        let all = newest_first(ids(&["a", "b", "new"]), &ids(&["b", "lost", "a"]));
        assert_eq!(all, ids(&["new", "b", "lost", "a"]));
    }
}
