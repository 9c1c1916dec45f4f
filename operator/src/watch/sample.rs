//! A sample: what the stores know at one moment, put together. Pure functions over what was read of each store.

use crate::database::RowCounts;
use crate::fields::{AtGate, text};
use crate::gate::GateReading;
use crate::kafka::TopicReading;
use rushgate_gate::{CampaignId, CampaignState, Millis, RoundId};
use serde::Serialize;
use std::fmt;

/// Most campaigns in a sample. `--campaign` chooses one of more.
pub(super) const MOST_CAMPAIGNS: usize = 50;

/// One line of `--output json`. A figure that no store returned is `None`.
#[derive(Serialize)]
pub(super) struct Sample {
    /// By the clock of this machine.
    #[serde(serialize_with = "text")]
    pub(super) at: Millis,
    pub(super) campaigns: Vec<CampaignSample>,
    /// Campaigns beyond [`MOST_CAMPAIGNS`].
    pub(super) campaigns_left_out: usize,
    pub(super) kafka: Option<KafkaSample>,
    pub(super) redis: Option<RedisSample>,
    pub(super) unavailable: Vec<Unavailable>,
    pub(super) alarms: Vec<Alarm>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alarm {
    pub(super) alarm: AlarmKind,
    /// The campaign that it is about; `None`: all.
    pub(super) campaign: Option<CampaignId>,
    pub(super) message: String,
    /// The command that helps.
    pub(super) command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlarmKind {
    CampaignHalted,
    /// Redis has lost the campaign.
    CampaignLost,
    ConsumerStopped,
    StreamOld,
    KafkaOld,
    GrantsWithoutRow,
    DeadLetters,
    RedisMemory,
    UnsafeSetting,
}

#[derive(Serialize)]
pub(super) struct CampaignSample {
    pub(super) campaign: CampaignId,
    #[serde(flatten)]
    pub(super) counts: AtGate,
    pub(super) funnel: Funnel,
    /// How long the oldest entry of the stream has waited.
    pub(super) stream_oldest_seconds: Option<f64>,
    /// How old `inserted` is.
    pub(super) rows_age_seconds: Option<f64>,
}

/// Where the grants of the round that opened last are. (Stream and dead letters: of all rounds.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Funnel {
    pub(super) granted: Option<u64>,
    pub(super) in_stream: Option<u64>,
    /// Granted, and neither in the stream, nor a row, nor a dead letter; at most as many as the consumers have to read.
    pub(super) in_kafka: Option<u64>,
    /// Active rows.
    pub(super) inserted: Option<u64>,
    /// Rows that the gate knows to be committed.
    pub(super) confirmed: Option<u64>,
    pub(super) bridge_dead_letters: Option<u64>,
    pub(super) consumer_dead_letters: Option<u64>,
    /// Granted, and in none of these places.
    pub(super) without_row: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct KafkaSample {
    /// Records of all campaigns that the consumers have not committed.
    pub(super) lag: u64,
    /// How long the oldest of them has waited.
    pub(super) oldest_seconds: Option<f64>,
    /// Consumers in the group; `None` if this user may not see them.
    pub(super) consumers: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RedisSample {
    pub(super) used_memory_bytes: Option<u64>,
    /// `Some(0)`: no limit.
    pub(super) max_memory_bytes: Option<u64>,
    pub(super) appendfsync: Option<String>,
    /// The reply to INFO, which the alarms are made of.
    #[serde(skip)]
    pub(super) info: String,
}

/// A store that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Unavailable {
    pub(super) server: Server,
    /// Why, and what to do.
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Server {
    Redis,
    Kafka,
    Database,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Kafka => "Kafka",
            Self::Database => "the database",
        })
    }
}

/// What was read of a store, or why it was not.
pub(super) type Asked<T> = Result<T, String>;

/// Rows, and what was read just before them: a grant that moves on meanwhile is then counted at least once.
#[derive(Clone, Debug)]
pub(super) struct RowsReading {
    /// When they were counted.
    pub(super) at: Millis,
    pub(super) rows: RowCounts,
    pub(super) gate: Option<GateReading>,
    pub(super) lag: Option<u64>,
}

/// All that was read.
pub(super) struct Readings<'a> {
    pub(super) gate: &'a Asked<GateReading>,
    pub(super) kafka: &'a Asked<TopicReading>,
    /// The last count of the rows.
    pub(super) rows: Option<&'a RowsReading>,
    /// Why the rows could not be counted now.
    pub(super) no_rows: Option<&'a str>,
    /// The campaigns that are watched, and how many were left out.
    pub(super) campaigns: &'a [CampaignId],
    pub(super) campaigns_left_out: usize,
}

/// The round of a campaign that opened last.
pub(super) fn current_round(gate: &GateReading, campaign: &CampaignId) -> Option<RoundId> {
    let mut campaigns = gate.campaigns.iter();
    let reading = campaigns.find(|reading| reading.campaign == *campaign)?;
    let overview = reading.overview.as_ref()?.as_ref()?;
    Some(overview.round.as_ref()?.round.id.clone())
}

/// Puts a sample together, without its alarms.
pub(super) fn sample(at: Millis, readings: &Readings<'_>) -> Sample {
    let unavailable = [
        (
            Server::Redis,
            readings.gate.as_ref().err().map(String::as_str),
        ),
        (
            Server::Kafka,
            readings.kafka.as_ref().err().map(String::as_str),
        ),
        (Server::Database, readings.no_rows),
    ];
    let unavailable = unavailable.into_iter().filter_map(|(server, message)| {
        let message = message?.to_owned();
        Some(Unavailable { server, message })
    });
    let kafka = readings.kafka.as_ref().ok();
    let mut campaigns: Vec<CampaignSample> = readings
        .campaigns
        .iter()
        .map(|campaign| campaign_sample(at, campaign, readings))
        .collect();
    // Those that need a look first; the order is otherwise kept.
    campaigns.sort_by_key(|campaign| urgency(campaign.state()));
    Sample {
        at,
        campaigns,
        campaigns_left_out: readings.campaigns_left_out,
        kafka: kafka.map(|topic| KafkaSample {
            lag: topic.lag,
            oldest_seconds: topic.oldest.map(|since| seconds(since, at)),
            consumers: topic.members,
        }),
        redis: readings.gate.as_ref().ok().map(redis_sample),
        unavailable: unavailable.collect(),
        alarms: vec![],
    }
}

fn urgency(state: Option<CampaignState>) -> u8 {
    match state {
        Some(CampaignState::Halted) | None => 0,
        Some(CampaignState::Running) => 1,
        Some(CampaignState::Paused) => 2,
        Some(CampaignState::Closed) => 3,
    }
}

impl CampaignSample {
    /// The state at the gate.
    pub(super) fn state(&self) -> Option<CampaignState> {
        self.counts.overview().map(|overview| overview.state)
    }
}

fn campaign_sample(at: Millis, campaign: &CampaignId, readings: &Readings<'_>) -> CampaignSample {
    let of = |gate: &GateReading| {
        let mut campaigns = gate.campaigns.iter();
        campaigns
            .find(|reading| reading.campaign == *campaign)
            .cloned()
    };
    let now = readings.gate.as_ref().ok().and_then(of);
    let overview = now.as_ref().and_then(|now| now.overview.clone());
    let round = overview
        .iter()
        .flatten()
        .find_map(|overview| overview.round.clone());
    let inserted = readings.rows.and_then(|reading| {
        let round = reading
            .gate
            .as_ref()
            .and_then(|gate| current_round(gate, campaign))?;
        let key = (campaign.to_string(), round.to_string());
        Some(reading.rows.active.get(&key).copied().unwrap_or(0))
    });
    let consumer_dead_letters = readings.rows.map(|reading| {
        let dead_letters = &reading.rows.dead_letters;
        dead_letters.get(campaign.as_str()).copied().unwrap_or(0)
    });
    // By what was read together with the rows.
    let rest = readings.rows.and_then(|reading| {
        let before = reading.gate.as_ref().and_then(of)?;
        let granted = before.overview??.round?.granted;
        let found = before.in_stream? + inserted? + before.dead_letters? + consumer_dead_letters?;
        Some(rest(granted.into(), found, reading.lag?))
    });
    CampaignSample {
        campaign: campaign.clone(),
        counts: AtGate(overview),
        funnel: Funnel {
            granted: round.as_ref().map(|round| round.granted.into()),
            in_stream: now.as_ref().and_then(|now| now.in_stream),
            in_kafka: rest.map(|(in_kafka, _)| in_kafka),
            inserted,
            confirmed: round.map(|round| round.issued.into()),
            bridge_dead_letters: now.as_ref().and_then(|now| now.dead_letters),
            consumer_dead_letters,
            without_row: rest.map(|(_, without_row)| without_row),
        },
        stream_oldest_seconds: now
            .and_then(|now| now.oldest_entry)
            .map(|since| seconds(since, at)),
        rows_age_seconds: readings.rows.map(|reading| seconds(reading.at.get(), at)),
    }
}

/// Of the grants that were not found elsewhere, how many are in Kafka, and how many are nowhere.
fn rest(granted: u64, found: u64, lag: u64) -> (u64, u64) {
    let rest = granted.saturating_sub(found);
    let in_kafka = rest.min(lag);
    (in_kafka, rest - in_kafka)
}

fn redis_sample(gate: &GateReading) -> RedisSample {
    let info = gate.info.clone().unwrap_or_default();
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| *field == name);
        named.next()?.1.trim().parse().ok()
    };
    RedisSample {
        used_memory_bytes: field("used_memory"),
        max_memory_bytes: field("maxmemory"),
        appendfsync: gate.appendfsync.clone(),
        info,
    }
}

/// From `since` (ms since 1970) to `at`, with a resolution of 0.1 s; zero if the clocks differ.
fn seconds(since: i64, at: Millis) -> f64 {
    let tenths = (at.get() - since).max(0) / 100;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gate::CampaignReading;
    use rushgate_gate::overview::{Overview, RoundOverview, Rules};
    use rushgate_gate::{Quota, Round};

    pub(in crate::watch) fn id(name: &str) -> CampaignId {
        name.parse().expect("an id")
    }

    pub(in crate::watch) fn millis(at: i64) -> Millis {
        at.try_into().expect("an instant")
    }

    pub(in crate::watch) fn reading(
        name: &str,
        state: CampaignState,
        granted: u32,
        issued: u32,
        in_stream: u64,
    ) -> CampaignReading {
        CampaignReading {
            campaign: id(name),
            overview: Some(Some(Overview {
                state,
                round: Some(RoundOverview {
                    round: Round {
                        id: RoundId::once(),
                        opens_at: None,
                        closes_at: None,
                        quota: Quota::try_from(100u32).expect("a quota"),
                    },
                    granted,
                    issued,
                    waitlisted: 3,
                }),
                next: None,
                rules: Rules::default(),
                now: millis(100_000),
            })),
            in_stream: Some(in_stream),
            oldest_entry: (in_stream > 0).then_some(93_000),
            dead_letters: Some(0),
        }
    }

    pub(in crate::watch) fn rows(
        gate: &GateReading,
        lag: u64,
        active: &[(&str, u64)],
    ) -> RowsReading {
        let active = active.iter();
        let active = active.map(|(name, count)| (((*name).to_owned(), "once".to_owned()), *count));
        RowsReading {
            at: millis(99_500),
            rows: RowCounts {
                active: active.collect(),
                ..RowCounts::default()
            },
            gate: Some(gate.clone()),
            lag: Some(lag),
        }
    }

    pub(in crate::watch) fn topic(lag: u64, members: usize) -> TopicReading {
        TopicReading {
            lag,
            oldest: (lag > 0).then_some(95_000),
            members: Some(members),
        }
    }

    /// A sample of these campaigns at 100 s.
    pub(in crate::watch) fn sampled(
        gate: GateReading,
        topic: TopicReading,
        rows: Option<&RowsReading>,
    ) -> Sample {
        let campaigns: Vec<_> = gate
            .campaigns
            .iter()
            .map(|reading| reading.campaign.clone())
            .collect();
        let readings = Readings {
            gate: &Ok(gate),
            kafka: &Ok(topic),
            rows,
            no_rows: None,
            campaigns: &campaigns,
            campaigns_left_out: 0,
        };
        sample(millis(100_000), &readings)
    }

    #[test]
    fn each_grant_is_counted_where_it_is() {
        let gate = GateReading {
            campaigns: vec![reading("a", CampaignState::Running, 80, 40, 12)],
            ..GateReading::default()
        };
        for (lag, active, in_kafka, without_row) in [
            (18, 50, 18, 0),
            (30, 50, 18, 0),
            (5, 50, 5, 13),
            (0, 90, 0, 0),
        ] {
            let rows = rows(&gate, lag, &[("a", active)]);
            let sample = sampled(gate.clone(), topic(lag, 1), Some(&rows));
            let expected = Funnel {
                granted: Some(80),
                in_stream: Some(12),
                in_kafka: Some(in_kafka),
                inserted: Some(active),
                confirmed: Some(40),
                bridge_dead_letters: Some(0),
                consumer_dead_letters: Some(0),
                without_row: Some(without_row),
            };
            let found = &sample.campaigns[0];
            assert_eq!(found.funnel, expected, "lag {lag}, {active} rows");
            assert_eq!(found.stream_oldest_seconds, Some(7.0));
            assert_eq!(found.rows_age_seconds, Some(0.5));
        }
    }

    #[test]
    fn what_a_store_does_not_say_is_unknown_and_the_others_are_shown() {
        let campaigns = [id("a")];
        let readings = Readings {
            gate: &Err("no Redis".to_owned()),
            kafka: &Ok(topic(7, 0)),
            rows: None,
            no_rows: Some("no database"),
            campaigns: &campaigns,
            campaigns_left_out: 2,
        };
        let sample = sample(millis(100_000), &readings);
        assert_eq!(sample.campaigns[0].funnel, Funnel::default());
        let servers: Vec<_> = sample.unavailable.iter().map(|it| it.server).collect();
        assert_eq!(servers, [Server::Redis, Server::Database]);
        let kafka = sample.kafka.expect("it answers");
        assert_eq!((kafka.lag, kafka.oldest_seconds), (7, Some(5.0)));
        assert!(sample.redis.is_none());
    }

    #[test]
    fn campaigns_that_need_a_look_come_first() {
        let gate = GateReading {
            campaigns: vec![
                reading("closed", CampaignState::Closed, 0, 0, 0),
                reading("b", CampaignState::Running, 0, 0, 0),
                reading("a", CampaignState::Running, 0, 0, 0),
                reading("halted", CampaignState::Halted, 0, 0, 0),
            ],
            ..GateReading::default()
        };
        let sample = sampled(gate, topic(0, 1), None);
        let names: Vec<_> = sample
            .campaigns
            .iter()
            .map(|it| it.campaign.as_str())
            .collect();
        assert_eq!(names, ["halted", "b", "a", "closed"]);
    }

    #[test]
    fn the_memory_of_redis_is_read() {
        let gate = GateReading {
            info: Some("used_memory:10\r\nmaxmemory:40\r\n".to_owned()),
            ..GateReading::default()
        };
        let redis = sampled(gate, topic(0, 1), None).redis.expect("it answers");
        assert_eq!(redis.used_memory_bytes, Some(10));
        assert_eq!(redis.max_memory_bytes, Some(40));
    }
}
