//! Creates the topic, and says in which ways it may lose records with its present settings.

use super::client::{Kafka, LOOK_AGAIN};
use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// `min.insync.replicas` of a new topic, where there are at least two brokers.
const IN_SYNC: i32 = 2;

/// A week: longer than consumers are down over a long weekend.
const SHORTEST_RETENTION: Duration = Duration::from_secs(7 * 86_400);

const MIN_IN_SYNC: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const POLICY: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

/// Result of creating the topic.
pub enum Creation {
    Created,
    WasThere,
    /// Trying again would not create it.
    Declined(RDKafkaErrorCode),
}

/// Settings of a new topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicTerms {
    /// Upper bound of the consumers that can share the work.
    pub partitions: i32,
    /// Brokers that store each record.
    pub replicas: i32,
    /// How long each record is kept.
    pub retention: Duration,
}

/// The topic, as far as this user may see it.
#[derive(Clone, Copy, Debug)]
pub struct TopicStatus {
    pub is_there: bool,
    pub brokers: i32,
}

impl Kafka {
    /// Whether the topic exists, as far as this user may see. Asking does not create it, whatever the brokers'
    /// settings.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or refuses the login.
    pub async fn status(&self, limit: Duration) -> Result<TopicStatus> {
        let kafka = self.clone();
        let asked = spawn_blocking(move || {
            // A consumer's metadata request creates no topic, and reports a refused login.
            let metadata = kafka.metadata(&kafka.consumer()?, limit)?;
            let error = metadata.topics().first().and_then(MetadataTopic::error);
            // A topic without a leader exists, but cannot be used yet.
            let is_there = matches!(
                error.map(RDKafkaErrorCode::from),
                None | Some(RDKafkaErrorCode::LeaderNotAvailable)
            );
            let brokers = i32::try_from(metadata.brokers().len())?;
            anyhow::Ok(TopicStatus { is_there, brokers })
        });
        asked.await?
    }

    /// In which ways the topic may lose confirmed records with its present settings.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or does not return the settings.
    pub async fn risks(&self, limit: Duration) -> Result<Vec<String>> {
        let admin: AdminClient<_> = self.client.create_with_context(self.last_error.clone())?;
        let options = AdminOptions::new().request_timeout(Some(limit));
        let topic = [ResourceSpecifier::Topic(&self.topic)];
        let described = admin.describe_configs(&topic, &options).await;
        let described = described.map_err(|error| self.unusable(&error))?;
        let what = || format!("reading the settings of topic {}", self.topic);
        let config = match described.into_iter().next() {
            Some(config) => config.with_context(what)?,
            None => bail!("{}: Kafka did not return them", what()),
        };
        let kafka = self.clone();
        let replicas = spawn_blocking(move || {
            let (consumer, deadline) = (kafka.consumer()?, Instant::now() + limit);
            loop {
                let metadata = kafka.metadata(&consumer, limit)?;
                let topic = metadata.topics().first();
                let partitions = topic.into_iter().flat_map(MetadataTopic::partitions);
                // A broker may not know a topic that was just created.
                match partitions.map(|it| it.replicas().len()).min() {
                    Some(replicas) => return Ok(replicas),
                    None if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN / 10),
                    None => bail!(
                        "reading the replicas of topic {}: Kafka did not return them",
                        kafka.topic
                    ),
                }
            }
        });
        let replicas = replicas.await??;
        Ok(risks(replicas, |name| config.get(name)?.value.as_deref()))
    }

    /// Creates the topic with settings that keep confirmed records: two in-sync replicas where there are two brokers,
    /// no unclean leader election, and a sufficient retention.
    ///
    /// # Errors
    /// When Kafka does not answer within `limit`, or cannot create topics for the moment. A refusal is a [`Creation`].
    pub async fn create_topic(&self, terms: TopicTerms, limit: Duration) -> Result<Creation> {
        let admin: AdminClient<_> = self.client.create_with_context(self.last_error.clone())?;
        let in_sync = terms.replicas.min(IN_SYNC).to_string();
        let retention = terms.retention.as_millis().to_string();
        let replication = TopicReplication::Fixed(terms.replicas);
        let topic = NewTopic::new(&self.topic, terms.partitions, replication)
            .set(MIN_IN_SYNC, &in_sync)
            .set(UNCLEAN, "false")
            .set(POLICY, "delete")
            .set(RETENTION, &retention)
            .set(RETENTION_BYTES, "-1");
        let options = AdminOptions::new()
            .request_timeout(Some(limit))
            .operation_timeout(Some(limit));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .map_err(|error| self.unusable(&error))?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(Creation::Created),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Creation::WasThere),
            Some(Err((
                _,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::InvalidTopic),
            ))) => Ok(Creation::Declined(code)),
            Some(Err((topic, code))) => {
                Err(code).with_context(|| format!("creating topic {topic}"))
            }
            None => bail!("creating topic {}: Kafka returned no result", self.topic),
        }
    }
}

/// In which ways a topic with this many replicas and these settings may lose confirmed records.
fn risks<'a>(replicas: usize, setting: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let mut risks = vec![];
    let number = |name: &str| setting(name)?.parse::<i64>().ok();
    let in_sync = number(MIN_IN_SYNC).unwrap_or(1);
    if replicas < 2 {
        risks.push(
            "has one replica: if the disk of that broker is lost, so are grants that are not in the database yet. Give \
             it three replicas, on three brokers"
                .to_owned(),
        );
    } else if in_sync < IN_SYNC.into() {
        risks.push(format!(
            "has {MIN_IN_SYNC} {in_sync}: Kafka confirms grants that a single broker has stored. Set it to {IN_SYNC}"
        ));
    }
    if usize::try_from(in_sync).is_ok_and(|in_sync| in_sync > replicas) {
        risks.push(format!(
            "has {MIN_IN_SYNC} {in_sync} and {replicas} replicas, so nothing can be published: grants wait in the stream"
        ));
    }
    if setting(UNCLEAN) == Some("true") {
        risks.push(format!(
            "has {UNCLEAN} true: a lagging broker may become the leader and lose the latest grants. Set it to false"
        ));
    }
    if setting(POLICY).is_some_and(|policy| policy != "delete") {
        risks.push(format!(
            "has a {POLICY} other than delete: compaction may leave only the latest event of a serial. Set it to \
             delete"
        ));
    }
    let retention = number(RETENTION).and_then(|millis| u64::try_from(millis).ok());
    if let Some(millis) = retention.filter(|it| Duration::from_millis(*it) < SHORTEST_RETENTION) {
        risks.push(format!(
            "keeps records for {} h ({RETENTION}), even if they are not in the database yet. Set it to at least one \
             week",
            millis / 3_600_000
        ));
    }
    if number(RETENTION_BYTES).is_some_and(|bytes| bytes >= 0) {
        risks.push(format!(
            "has {RETENTION_BYTES}: old records are deleted by size, even if they are not in the database yet. Set it \
             to -1"
        ));
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(replicas: usize, settings: &[(&str, &str)]) -> usize {
        let find = |name: &str| settings.iter().find(|(setting, _)| *setting == name);
        risks(replicas, |name| find(name).map(|(_, value)| *value)).len()
    }

    #[test]
    fn each_way_to_lose_what_was_confirmed_is_told() {
        let safe = [
            (MIN_IN_SYNC, "2"),
            (UNCLEAN, "false"),
            (POLICY, "delete"),
            (RETENTION, "604800000"),
            (RETENTION_BYTES, "-1"),
        ];
        assert_eq!(found(3, &safe), 0);
        assert_eq!(found(3, &[(RETENTION, "-1"), safe[0]]), 0, "for ever");
        assert_eq!(found(1, &[]), 1);
        assert_eq!(found(1, &safe[..1]), 2, "and cannot be written");
        for worse in [
            (MIN_IN_SYNC, "1"),
            (UNCLEAN, "true"),
            (POLICY, "compact,delete"),
            (RETENTION, "604799999"),
            (RETENTION_BYTES, "0"),
        ] {
            let mut settings = vec![worse];
            settings.extend(safe);
            assert_eq!(found(3, &settings), 1, "{worse:?}");
        }
    }
}
