//! The alarms: what is wrong, and the command that helps. Pure functions over samples.

use super::sample::{Alarm, AlarmKind, CampaignSample, Sample};
use clap::Args;
use rushgate_gate::{CampaignId, CampaignState, Millis};
use rushgate_startup::{RedisDanger, redis_dangers};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long grants have to be without a row before there is an alarm. Between two readings they may be on the way.
const WITHOUT_ROW_FOR: i64 = 10_000;

/// The share of `maxmemory`, in percent, above which there is an alarm.
const MEMORY_PERCENT: u64 = 80;

const CONSUMER_START: &str = "docker compose up --detach consumer";
const CONSUMER_LOGS: &str = "docker compose logs consumer";

/// The commands for consumers, which depend on what runs them.
#[derive(Args, Clone, Debug)]
pub(super) struct ConsumerCommands {
    /// The command that starts a consumer, for the alarm that none runs
    #[arg(long, env = "RUSHGATE_CONSUMER_START", value_name = "COMMAND", default_value = CONSUMER_START)]
    consumer_start: String,
    /// The command that shows the logs of the consumers, for the alarm that they are late
    #[arg(long, env = "RUSHGATE_CONSUMER_LOGS", value_name = "COMMAND", default_value = CONSUMER_LOGS)]
    consumer_logs: String,
}

#[cfg(test)]
impl Default for ConsumerCommands {
    fn default() -> Self {
        Self {
            consumer_start: CONSUMER_START.to_owned(),
            consumer_logs: CONSUMER_LOGS.to_owned(),
        }
    }
}

/// Finds the alarms of each sample. It remembers since when grants are without a row.
#[derive(Debug)]
pub(super) struct Alarms {
    /// How old the oldest entry or record may be.
    bound: Duration,
    commands: ConsumerCommands,
    without_row_since: BTreeMap<CampaignId, Millis>,
}

impl Alarms {
    pub(super) fn new(bound: Duration, commands: ConsumerCommands) -> Self {
        Self {
            bound,
            commands,
            without_row_since: BTreeMap::new(),
        }
    }

    /// The alarms of this sample, the most urgent first.
    pub(super) fn of(&mut self, sample: &Sample) -> Vec<Alarm> {
        let mut alarms = vec![];
        for campaign in &sample.campaigns {
            self.of_campaign(sample.at, campaign, &mut alarms);
        }
        self.of_kafka(sample, &mut alarms);
        of_redis(sample, &mut alarms);
        alarms.sort_by_key(|alarm| alarm.alarm);
        alarms
    }

    fn of_campaign(&mut self, at: Millis, sample: &CampaignSample, alarms: &mut Vec<Alarm>) {
        let id = &sample.campaign;
        let mut raise = |alarm, message: String, command: String| {
            alarms.push(Alarm {
                alarm,
                campaign: Some(id.clone()),
                message,
                command,
            });
        };
        if sample.state() == Some(CampaignState::Halted) {
            raise(
                AlarmKind::CampaignHalted,
                format!("campaign {id} is halted and grants nothing: Redis has lost grants"),
                format!("rushgate restore {id}"),
            );
        }
        if let Some(None) = sample.counts.0 {
            raise(
                AlarmKind::CampaignLost,
                format!(
                    "the gate does not know campaign {id}: Redis has lost it, or its creation was interrupted"
                ),
                format!("rushgate audit {id}"),
            );
        }
        if let Some(age) = sample.stream_oldest_seconds.filter(|age| self.is_old(*age)) {
            raise(
                AlarmKind::StreamOld,
                format!(
                    "campaign {id}: the oldest entry of the stream waits for {age:.0} s: does a bridge run?"
                ),
                format!("rushgate campaign show {id}"),
            );
        }
        let funnel = &sample.funnel;
        match funnel.without_row {
            Some(count @ 1..) => {
                let since = *self.without_row_since.entry(id.clone()).or_insert(at);
                if at.get() - since.get() >= WITHOUT_ROW_FOR {
                    raise(
                        AlarmKind::GrantsWithoutRow,
                        format!(
                            "campaign {id}: {count} grants have no row, and are neither in the stream nor in Kafka"
                        ),
                        format!("rushgate audit {id} --repair"),
                    );
                }
            }
            _ => {
                self.without_row_since.remove(id);
            }
        }
        let dead_letters = [funnel.bridge_dead_letters, funnel.consumer_dead_letters];
        let dead_letters: u64 = dead_letters.into_iter().flatten().sum();
        if dead_letters > 0 {
            raise(
                AlarmKind::DeadLetters,
                format!("campaign {id}: {dead_letters} dead letters are open"),
                format!("rushgate failed list --campaign {id}"),
            );
        }
    }

    fn of_kafka(&self, sample: &Sample, alarms: &mut Vec<Alarm>) {
        let Some(kafka) = &sample.kafka else {
            return;
        };
        if kafka.consumers == Some(0) {
            alarms.push(Alarm {
                alarm: AlarmKind::ConsumerStopped,
                campaign: None,
                message: "no consumer is in the group: grants wait in Kafka. Start one".to_owned(),
                command: self.commands.consumer_start.clone(),
            });
        }
        if let Some(age) = kafka.oldest_seconds.filter(|age| self.is_old(*age)) {
            alarms.push(Alarm {
                alarm: AlarmKind::KafkaOld,
                campaign: None,
                message: format!(
                    "the oldest record that no consumer has committed waits for {age:.0} s"
                ),
                command: self.commands.consumer_logs.clone(),
            });
        }
    }

    fn is_old(&self, age: f64) -> bool {
        age > self.bound.as_secs_f64()
    }
}

fn of_redis(sample: &Sample, alarms: &mut Vec<Alarm>) {
    let Some(redis) = &sample.redis else {
        return;
    };
    if let (Some(used), Some(limit @ 1..)) = (redis.used_memory_bytes, redis.max_memory_bytes)
        && used.saturating_mul(100) > limit.saturating_mul(MEMORY_PERCENT)
    {
        let percent = used.saturating_mul(100) / limit;
        alarms.push(Alarm {
            alarm: AlarmKind::RedisMemory,
            campaign: None,
            message: format!(
                "Redis has used {percent} % of maxmemory: a full Redis grants nothing"
            ),
            command: "redis-cli config set maxmemory BYTES".to_owned(),
        });
    }
    for RedisDanger { message, command } in redis_dangers(&redis.info, redis.appendfsync.as_deref())
    {
        alarms.push(Alarm {
            alarm: AlarmKind::UnsafeSetting,
            campaign: None,
            message: format!("Redis: {message}"),
            command: command.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{id, millis, reading, rows, sampled, topic};
    use super::*;
    use crate::gate::GateReading;
    use crate::watch::sample::Sample;

    fn kinds(alarms: &[Alarm]) -> Vec<AlarmKind> {
        alarms.iter().map(|alarm| alarm.alarm).collect()
    }

    fn bound() -> Alarms {
        Alarms::new(Duration::from_secs(6), ConsumerCommands::default())
    }

    fn of(gate: &GateReading, lag: u64, consumers: usize) -> Vec<Alarm> {
        let rows = rows(gate, lag, &[("a", 10)]);
        bound().of(&sampled(gate.clone(), topic(lag, consumers), Some(&rows)))
    }

    #[test]
    fn all_is_well() {
        let gate = GateReading {
            campaigns: vec![reading("a", CampaignState::Running, 10, 10, 0)],
            info: Some(
                "used_memory:10\nmaxmemory:100\nmaxmemory_policy:noeviction\naof_enabled:1"
                    .to_owned(),
            ),
            appendfsync: Some("always".to_owned()),
        };
        assert_eq!(of(&gate, 0, 1), []);
        assert_eq!(of(&gate, 3, 1), [], "5 s are not too old");
    }

    #[test]
    fn each_alarm_has_the_command_that_helps() {
        let mut lost = reading("lost", CampaignState::Running, 0, 0, 0);
        lost.overview = Some(None);
        let mut dead = reading("dead", CampaignState::Running, 0, 0, 0);
        dead.dead_letters = Some(2);
        let gate = GateReading {
            campaigns: vec![
                reading("halted", CampaignState::Halted, 0, 0, 0),
                lost,
                reading("old", CampaignState::Running, 5, 0, 5),
                dead,
            ],
            info: Some(
                "used_memory:90\nmaxmemory:100\nmaxmemory_policy:allkeys-lru\naof_enabled:1"
                    .to_owned(),
            ),
            appendfsync: Some("everysec".to_owned()),
        };
        let alarms = of(&gate, 0, 0);
        let commands: Vec<_> = alarms
            .iter()
            .map(|alarm| (alarm.alarm, alarm.command.as_str()))
            .collect();
        assert_eq!(
            commands,
            [
                (AlarmKind::CampaignHalted, "rushgate restore halted"),
                (AlarmKind::CampaignLost, "rushgate audit lost"),
                (
                    AlarmKind::ConsumerStopped,
                    "docker compose up --detach consumer"
                ),
                (AlarmKind::StreamOld, "rushgate campaign show old"),
                (
                    AlarmKind::DeadLetters,
                    "rushgate failed list --campaign dead"
                ),
                (
                    AlarmKind::RedisMemory,
                    "redis-cli config set maxmemory BYTES"
                ),
                (
                    AlarmKind::UnsafeSetting,
                    "redis-cli config set maxmemory-policy noeviction"
                ),
                (
                    AlarmKind::UnsafeSetting,
                    "redis-cli config set appendfsync always"
                ),
            ]
        );
    }

    #[test]
    fn old_records_are_an_alarm_above_the_bound_only() {
        let gate = GateReading {
            campaigns: vec![reading("a", CampaignState::Running, 10, 10, 0)],
            ..GateReading::default()
        };
        let sample = || sampled(gate.clone(), topic(1, 1), None);
        let of = |seconds| {
            let bound = Duration::from_secs(seconds);
            kinds(&Alarms::new(bound, ConsumerCommands::default()).of(&sample()))
        };
        assert_eq!(of(5), []);
        assert_eq!(of(4), [AlarmKind::KafkaOld]);
    }

    #[test]
    fn grants_without_a_row_are_an_alarm_after_ten_seconds() {
        let gate = GateReading {
            campaigns: vec![reading("a", CampaignState::Running, 10, 9, 0)],
            ..GateReading::default()
        };
        let at = |seconds: i64, active: u64| -> Sample {
            let rows = rows(&gate, 0, &[("a", active)]);
            let mut sample = sampled(gate.clone(), topic(0, 1), Some(&rows));
            sample.at = millis(seconds * 1_000);
            sample
        };
        let mut alarms = bound();
        let mut of = |seconds, active| kinds(&alarms.of(&at(seconds, active)));
        assert_eq!(of(1, 9), []);
        assert_eq!(of(10, 9), []);
        assert_eq!(of(11, 9), [AlarmKind::GrantsWithoutRow]);
        assert_eq!(of(12, 10), [], "it has its row");
        assert_eq!(of(13, 9), [], "the time begins again");
        assert_eq!(id("a").as_str(), "a");
    }
}
