//! Causes the faults, and undoes them.

use crate::component::{Component, Link};
use crate::fault::{Fault, Planned};
use crate::operator::Operator;
use crate::world::World;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use redis::aio::MultiplexedConnection;
use rushgate_e2e::application::apply;
use rushgate_e2e::history::Reply;
use rushgate_e2e::rights::{self, Role};
use rushgate_gate::keys::BRIDGE_GROUP;
use rushgate_gate::record::VERSION_HEADER;
use rushgate_gate::signature::{HEADER, REASON, SigningKeys};
use rushgate_gate::{Event, EventType, Keys, Millis, Ordinal};
use rushgate_testbed::process::Signal;
use rushgate_testbed::proxy::Trouble;
use rushgate_testbed::wait::until;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Dead letters that a fault must cause.
#[derive(Default)]
pub(crate) struct Planted {
    pub(crate) failed_events: u64,
    pub(crate) unpublished: u64,
}

/// Causes one fault, for its duration.
pub(crate) async fn commit(
    world: &mut World,
    planned: &Planned,
    campaign: &str,
    quota: u32,
    operator: &Operator,
    planted: &mut Planted,
) {
    let lasts = planned.lasts;
    match planned.fault {
        Fault::Kill(component) => {
            world.kill(component);
            sleep(lasts).await;
            world.start_component(component);
        }
        Fault::KafkaAway => {
            world.kill(Component::Kafka);
            sleep(lasts).await;
            world.start_component(Component::Kafka);
        }
        Fault::Stop(component) => stop(world, component, lasts).await,
        Fault::Zombie => stop(world, Component::Consumer(1), lasts).await,
        Fault::SlowBridge => stop(world, Component::Bridge(1), lasts).await,
        Fault::DieAt(component, point) => {
            let kind = match component {
                Component::Bridge(_) => "bridge",
                _ => "consumer",
            };
            let point = format!("{kind}::{point}");
            world.doom(component, &point, planned.count.div_ceil(8));
            world.wait_for_doom(component).await;
        }
        Fault::Reset(link) => world.link(link).reset(),
        Fault::Delay(link) => {
            world
                .link(link)
                .set(Trouble::Delay(Duration::from_millis(planned.count.into())));
            sleep(lasts).await;
            world.link(link).set(Trouble::None);
        }
        Fault::Hang(link) => {
            world.link(link).set(Trouble::Hang);
            sleep(lasts).await;
            world.link(link).set(Trouble::None);
        }
        Fault::Cut(link) => {
            world.link(link).set(Trouble::Cut);
            sleep(lasts).await;
            world.link(link).set(Trouble::None);
        }
        Fault::AnswersLost(link) => {
            let bytes = usize::from(planned.count) * 25;
            world.link(link).set(Trouble::AnswersLostAfter(bytes));
            sleep(lasts).await;
            world.link(link).set(Trouble::None);
        }
        Fault::KillOperator => {
            let link = step(planned.count);
            world.link(link.0).set(Trouble::HoldAnswer(link.1));
            // The command that runs may have no such step.
            let _ = timeout(LAST_STEP, world.link(link.0).strikes()).await;
            operator.kill();
            world.link(link.0).set(Trouble::None);
        }
        Fault::ScriptsFlushed => {
            tell_redis(world, redis::cmd("SCRIPT").arg("FLUSH")).await;
        }
        Fault::GroupDestroyed => {
            let stream = keys(campaign).stream();
            tell_redis(
                world,
                redis::cmd("XGROUP")
                    .arg("DESTROY")
                    .arg(stream)
                    .arg(BRIDGE_GROUP),
            )
            .await;
        }
        Fault::AcksRefused => {
            let mut rules = rights::redis_rules(Role::Bridge);
            rules.retain(|rule| rule != "+xack");
            tell_redis(world, &rights::set_redis_rules(Role::Bridge, &rules)).await;
            sleep(lasts).await;
            take_acks(world).await;
        }
        Fault::DatabaseReadOnly => {
            world.administer("SET GLOBAL read_only = 1").await;
            sleep(lasts).await;
            world.administer("SET GLOBAL read_only = 0").await;
        }
        Fault::DatabaseFull => {
            let full = "CREATE TRIGGER full BEFORE INSERT ON coupons FOR EACH ROW \
                        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114";
            world.administer(full).await;
            sleep(lasts).await;
            world.administer("DROP TRIGGER IF EXISTS full").await;
        }
        Fault::Deadlock => cross(world, campaign, quota).await,
        Fault::RoundLocked => {
            let hold = format!(
                "BEGIN; SELECT quota FROM rounds WHERE campaign_id = '{campaign}' FOR UPDATE; DO SLEEP({}); ROLLBACK",
                lasts.as_secs_f64()
            );
            world.administer(&hold).await;
        }
        Fault::ConnectionsKilled => world.kill_connections().await,
        Fault::RebalanceStorm => {
            for _ in 0..3 {
                world.terminate(Component::Consumer(2));
                world.start_component(Component::Consumer(2));
                sleep(lasts / 3).await;
            }
        }
        Fault::PoisonRows => {
            for beyond in 1..=3 {
                // Above every quota that the operator may set.
                let event = forged(campaign, 10 * quota.max(1_000) + beyond);
                let value = serde_json::to_vec(&event).expect("JSON");
                publish(world, &event.key().to_string(), &value).await;
                planted.failed_events += 1;
            }
        }
        Fault::UndecodableRecord => {
            publish(world, &format!("{campaign}/once/1"), b"this is no event").await;
            planted.failed_events += 1;
        }
        Fault::UnknownVersion => {
            let event = forged(campaign, 1);
            let value = serde_json::to_vec(&event).expect("JSON");
            let version = (VERSION_HEADER, "of the future");
            let record = Record {
                key: &event.key().to_string(),
                value: &value,
                headers: &[version],
            };
            record.publish(world, world.signing_keys()).await;
            planted.failed_events += 1;
        }
        Fault::ForgedRecords => {
            let next = world.database.count(campaign).await.unwrap_or_default();
            let next = u32::try_from(next).expect("a count") + 1;
            let count = async || {
                let failed_events = world.database.failed_events(campaign).await.ok()?;
                let forged = failed_events.iter();
                Some(forged.filter(|letter| letter.reason == REASON).count())
            };
            let before = until("the database answers", &count).await;
            let another = || SigningKeys::new(["a key that no bridge or consumer has been given"]);
            // Of a serial that has its coupon, of one that may be on its way, and of the last one.
            for (serial, keys) in [(1, None), (next, None), (quota, another())] {
                let event = forged(campaign, serial);
                let value = serde_json::to_vec(&event).expect("JSON");
                let record = Record {
                    key: &event.key().to_string(),
                    value: &value,
                    headers: &[],
                };
                record.publish(world, keys).await;
                planted.failed_events += 1;
            }
            // Not for another reason, such as that the serial is taken.
            until("the forged records are dead letters", async || {
                (count().await? == before + 3).then_some(())
            })
            .await;
        }
        Fault::KeyOfAnotherType => {
            let keys = keys(campaign);
            let all = [keys.campaign(), keys.rounds(), keys.grants(), keys.stream()];
            let key = &all[usize::from(planned.count) % all.len()];
            let away = format!("{key}-away");
            // So that there is something to be confirmed.
            let consumers = [Component::Consumer(1), Component::Consumer(2)];
            for consumer in consumers {
                world.signal(consumer, Signal::SIGSTOP);
            }
            sleep(lasts).await;
            let mut replace = redis::cmd("EVAL");
            replace.arg(REPLACE).arg(2).arg(key).arg(&away);
            let mut put_back = redis::cmd("RENAME");
            put_back.arg(&away).arg(key);
            redis_does(world, &replace).await;
            for consumer in consumers {
                world.signal(consumer, Signal::SIGCONT);
            }
            others_are_served(world, campaign).await;
            redis_does(world, &put_back).await;
        }
        Fault::RoundMissing => {
            let _idle = operator.idle().await;
            let rename = |from: &str, to: &str| {
                format!(
                    "SET foreign_key_checks = 0; UPDATE rounds SET round_id = '{to}' \
                     WHERE campaign_id = '{campaign}' AND round_id = '{from}'"
                )
            };
            world.surely(&rename("once", "away")).await;
            others_are_served(world, campaign).await;
            sleep(lasts).await;
            world.surely(&rename("away", "once")).await;
        }
        Fault::QuotaBehind => {
            let _idle = operator.idle().await;
            let terms = until("the database has the terms", async || {
                world.database.terms(campaign).await.ok()?
            })
            .await;
            let quota = terms.rounds.values().next().expect("a round").quota;
            let count = world.database.count(campaign).await.unwrap_or_default();
            let set = |quota: u64| {
                format!("UPDATE rounds SET quota = {quota} WHERE campaign_id = '{campaign}'")
            };
            world.surely(&set(count.clamp(1, quota.into()))).await;
            others_are_served(world, campaign).await;
            sleep(lasts).await;
            world.surely(&set(quota.into())).await;
        }
        Fault::MalformedEntry => {
            let stream = keys(campaign).stream();
            let mut add = redis::cmd("XADD");
            add.arg(stream).arg("*").arg("no").arg("event");
            planted.unpublished += u64::from(tell_redis(world, &add).await);
        }
        Fault::TopicTruncated => {
            // So that there are records that no consumer has read.
            let consumers = [Component::Consumer(1), Component::Consumer(2)];
            for consumer in consumers {
                world.signal(consumer, Signal::SIGSTOP);
            }
            sleep(lasts).await;
            let emptied = world.stores().empty_topic().await;
            for consumer in consumers {
                world.signal(consumer, Signal::SIGCONT);
            }
            emptied.expect("Kafka answers");
        }
        Fault::RolledBack | Fault::LaggingReplica | Fault::Wiped => {}
    }
}

/// Puts a string in the place of a key, which is kept under another name.
const REPLACE: &str =
    "redis.call('RENAME', KEYS[1], KEYS[2]) redis.call('SET', KEYS[1], 'of another type')";

/// How long to wait for an operator's step.
const LAST_STEP: Duration = Duration::from_secs(3);

/// A step of an operator: a request to one of the servers, counted from now. Most requests go to the database, and few
/// to Kafka.
pub(crate) fn step(count: u8) -> (Link, usize) {
    let nth = usize::from(count);
    match count % 4 {
        0 => (Link::OperatorRedis, nth.div_ceil(4)),
        1 => (Link::OperatorKafka, nth.div_ceil(4)),
        _ => (Link::OperatorDatabase, nth),
    }
}

/// Heals what a fault left behind that could not be undone at once.
pub(crate) async fn mend(world: &World) {
    world.administer("SET GLOBAL read_only = 0").await;
    world.administer("DROP TRIGGER IF EXISTS full").await;
    take_acks(world).await;
}

/// A grant that the gate has not made.
pub(crate) fn forged(campaign: &str, serial: u32) -> Event {
    Event {
        event_type: EventType::Granted,
        campaign: campaign.parse().expect("a campaign"),
        round: "once".parse().expect("a round"),
        serial: serial.to_string().parse().expect("a serial"),
        turn: Ordinal::FIRST,
        applicant: format!("forged-{serial}").parse().expect("an applicant"),
        win: Ordinal::FIRST,
        code_number: None,
        at: Millis::try_from(1_796_086_800_123_i64).expect("a time"),
    }
}

/// A record that no gate has granted.
struct Record<'a> {
    key: &'a str,
    value: &'a [u8],
    headers: &'a [(&'a str, &'a str)],
}

/// Publishes a record once, without the bridge.
pub(crate) async fn publish(world: &World, key: &str, value: &[u8]) {
    let record = Record {
        key,
        value,
        headers: &[],
    };
    record.publish(world, world.signing_keys()).await;
}

impl Record<'_> {
    /// Puts it into the topic, once, signed with these keys if there are any.
    async fn publish(&self, world: &World, keys: Option<SigningKeys>) {
        let Self {
            key,
            value,
            headers,
        } = *self;
        let signature = keys.map(|keys| {
            keys.sign(key.as_bytes(), value, |name| {
                let found = headers.iter().find(|(header, _)| *header == name);
                found.map(|(_, value)| value.as_bytes())
            })
        });
        let signature = signature.iter().map(|value| (HEADER, value.as_str()));
        let all = headers.iter().copied().chain(signature);
        let all = all.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        });
        let stores = world.stores();
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", stores.kafka_brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "60000")
            .create()
            .expect("a producer");
        let record = FutureRecord::to(&stores.topic).key(key).payload(value);
        producer
            .send(record.headers(all), Duration::from_secs(60))
            .await
            .expect("published");
    }
}

/// Whether an application to another campaign has its coupon, and the gate knows it, while one campaign is bad.
async fn others_are_served(world: &World, campaign: &str) {
    let other = format!("{campaign}-other");
    let applicant = "neighbour";
    let client = reqwest::Client::new();
    until("another campaign's applicant has a place", async || {
        // Servers may be on their way back from the fault before; once it is created, this is refused.
        let _ = world.operator.create(&other, 1).await;
        for url in world.urls() {
            let url = format!("{url}/v1/campaigns/{other}/applications");
            let reply = apply(&client, &url, applicant).await;
            if let Ok(Reply::Granted(_) | Reply::AlreadyGranted(_)) = reply {
                return Some(());
            }
        }
        None
    })
    .await;
    until("another campaign's coupon is issued", async || {
        let mut redis = world.redis_connection().await?;
        let mut get = redis::cmd("HGET");
        get.arg(keys(&other).grants()).arg(applicant);
        let grant: Option<String> = get.query_async(&mut redis).await.ok()?;
        grant?.ends_with("/issued").then_some(())
    })
    .await;
}

async fn stop(world: &World, component: Component, lasts: Duration) {
    world.signal(component, Signal::SIGSTOP);
    sleep(lasts).await;
    world.signal(component, Signal::SIGCONT);
}

async fn take_acks(world: &World) {
    let rules = rights::redis_rules(Role::Bridge);
    tell_redis(world, &rights::set_redis_rules(Role::Bridge, &rules)).await;
}

/// Tells Redis until it has done it.
async fn redis_does(world: &World, command: &redis::Cmd) {
    until("Redis has done it", async || {
        tell_redis(world, command).await.then_some(())
    })
    .await;
}

/// Whether Redis ran the command.
async fn tell_redis(world: &World, command: &redis::Cmd) -> bool {
    let connection: Option<MultiplexedConnection> = world.redis_connection().await;
    match connection {
        Some(mut connection) => command.exec_async(&mut connection).await.is_ok(),
        None => false,
    }
}

fn keys(campaign: &str) -> Keys {
    Keys::of(&campaign.parse().expect("a campaign"))
}

/// A transaction with many changes takes the next serials, and then a lock that a consumer already holds.
async fn cross(world: &World, campaign: &str, quota: u32) {
    let next = world.database.count(campaign).await.unwrap_or_default();
    let rows = |serials: std::ops::RangeInclusive<u64>| {
        let row = |serial| {
            format!("('{campaign}', 'once', {serial}, 'rival-{serial}', {quota}, '', '2026-12-01')")
        };
        let rows: Vec<String> = serials
            .filter(|serial| *serial <= quota.into())
            .map(row)
            .collect();
        match rows.is_empty() {
            true => "DO 0".to_owned(),
            false => format!(
                "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
                 VALUES {}",
                rows.join(", ")
            ),
        }
    };
    let statements = [
        "BEGIN".to_owned(),
        rows(next + 500..=next + 1_500),
        rows(next + 4..=next + 4),
        "DO SLEEP(0.3)".to_owned(),
        rows(next + 1..=next + 1),
        "ROLLBACK".to_owned(),
    ];
    world.administer(&statements.join("; ")).await;
}
