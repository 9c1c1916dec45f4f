//! Tests each of the usual ways with real servers: those of `DATABASE_URL`, `REDIS_URL` and `KAFKA_BROKERS`.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, outside #[test] functions"
)]

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rushgate_bench::ways::count_then_insert::CountThenInsert;
use rushgate_bench::ways::for_update::ForUpdate;
use rushgate_bench::ways::given::{Given, given};
use rushgate_bench::ways::incr_insert::IncrInsert;
use rushgate_bench::ways::incr_kafka::{IncrKafka, Topic, consume};
use rushgate_bench::ways::sadd_scard::SaddScard;
use rushgate_bench::ways::schema::Schema;
use rushgate_bench::ways::service::serve;
use rushgate_bench::ways::{Decide, Way};
use rushgate_e2e::shared::server;
use rushgate_testbed::load::{Load, LoadResult, Template, Until};
use rushgate_testbed::wait::until;
use sqlx::{Connection, MySqlConnection};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A way with a schema, a campaign and a topic of its own.
struct Rig {
    runtime: Runtime,
    address: SocketAddr,
    campaign: String,
    schema: Schema,
    topic: Topic,
}

impl Rig {
    fn start(way: Way, quota: u32) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let name = unique(way);
        let topic = Topic {
            brokers: server("KAFKA_BROKERS"),
            name: name.clone(),
        };
        let (schema, address) = runtime.block_on(async {
            let schema = Schema::create(&server("DATABASE_URL"), &name, way).await;
            let schema = schema.expect("a schema");
            schema.open(&name, quota).await.expect("a campaign");
            let (database, redis) = (schema.url(), &server("REDIS_URL"));
            let address = match way {
                Way::CountThenInsert => run(CountThenInsert::connect(database, quota).await).await,
                Way::ForUpdate => run(ForUpdate::connect(database).await).await,
                Way::IncrInsert => run(IncrInsert::connect(redis, database, quota).await).await,
                Way::IncrKafka => run(IncrKafka::connect(redis, &topic, quota).await).await,
                Way::SaddScard => run(SaddScard::connect(redis, database, quota).await).await,
                Way::Spring => unreachable!("the smoke test of the benchmark runs it"),
            };
            (schema, address)
        });
        Self {
            runtime,
            address,
            campaign: name,
            schema,
            topic,
        }
    }

    /// This many applicants, from number `first` on, over this many connections.
    fn come(&self, first: u64, people: u64, connections: usize) -> LoadResult {
        let template = Template::application(&self.campaign, false);
        let mut load = Load {
            first,
            connections,
            until: Until::Requests(people),
            ..Load::new(self.address, vec![template])
        };
        load.run().expect("answers")
    }

    /// The status for each of them, in order.
    fn told<const N: usize>(&self, people: [u64; N]) -> [u16; N] {
        people.map(|person| {
            let outcome = self.come(person, 1, 1);
            let (kind, _) = outcome.answers.first_key_value().expect("an answer");
            *kind
        })
    }

    /// Sixty applicants at once: the number that got a coupon. All others are told that none is left.
    fn granted_at_once(&self) -> u64 {
        let outcome = self.come(1_000, 60, 30);
        let told = |kind| outcome.answers.get(&kind).copied().unwrap_or(0);
        assert_eq!(told(201) + told(410), 60, "{outcome:?}");
        told(201)
    }

    fn given(&self) -> Given {
        self.runtime.block_on(self.stands()).expect("the database")
    }

    async fn stands(&self) -> Result<Given> {
        let mut database = MySqlConnection::connect(self.schema.url()).await?;
        Ok(given(&mut database, "way_coupons", &self.campaign).await?)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Leftover keys do no harm.
        let keys = ["count", "applied", "people"].map(|key| format!("way:{}:{key}", self.campaign));
        let client = redis::Client::open(server("REDIS_URL"));
        let connection = client.and_then(|client| client.get_connection());
        let _ = connection.and_then(|mut redis| redis::cmd("DEL").arg(&keys).exec(&mut redis));
        let topic = [self.topic.name.as_str()];
        let deleted = async {
            admin(&self.topic)
                .delete_topics(&topic, &AdminOptions::new())
                .await
        };
        let _ = self.runtime.block_on(deleted);
    }
}

/// Serves as long as the runtime exists, and reports the address.
async fn run(way: Result<impl Decide>) -> SocketAddr {
    let way = way.expect("all servers");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(serve(listener, way, std::future::pending()));
    address
}

/// A name for a schema, a campaign and a topic that no other test has.
fn unique(way: Way) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_millis();
    format!("{}-{}-{now}-{next}", way.name(), std::process::id())
}

/// This many rows, and no applicant has two.
fn one_each(rows: u64) -> Given {
    Given {
        rows,
        people: rows,
        doubled: 0,
    }
}

#[test]
fn rows_that_are_counted_first_are_enough_when_people_come_one_by_one() {
    let rig = Rig::start(Way::CountThenInsert, 2);
    assert_eq!(rig.told([1, 1, 2, 3, 2]), [201, 200, 201, 410, 200]);
    assert_eq!(rig.given(), one_each(2));
}

#[test]
fn a_lock_keeps_the_quota() {
    let rig = Rig::start(Way::ForUpdate, 2);
    assert_eq!(rig.told([1, 1, 2, 3, 2]), [201, 200, 201, 410, 410]);
    assert_eq!(rig.given(), one_each(2));

    let rig = Rig::start(Way::ForUpdate, 20);
    assert_eq!(rig.granted_at_once(), 20);
    assert_eq!(rig.given(), one_each(20));
}

#[test]
fn a_second_click_uses_up_a_number() {
    let rig = Rig::start(Way::IncrInsert, 3);
    assert_eq!(rig.told([1, 1, 2, 3, 1]), [201, 200, 201, 410, 410]);
    assert_eq!(rig.given(), one_each(2));

    let rig = Rig::start(Way::IncrInsert, 20);
    assert_eq!(rig.granted_at_once(), 20);
    assert_eq!(rig.given(), one_each(20));
}

#[test]
fn a_set_keeps_the_quota_and_cannot_repeat_an_answer() {
    let rig = Rig::start(Way::SaddScard, 2);
    assert_eq!(rig.told([1, 1, 2, 3, 3]), [201, 409, 201, 410, 409]);
    assert_eq!(rig.given(), one_each(2));

    let rig = Rig::start(Way::SaddScard, 20);
    assert_eq!(rig.granted_at_once(), 20);
    assert_eq!(rig.given(), one_each(20));
}

#[test]
fn the_consumer_inserts_what_was_given_out() {
    let rig = Rig::start(Way::IncrKafka, 20);
    rig.runtime.block_on(create(&rig.topic));
    assert_eq!(rig.told([1, 1]), [201, 409]);
    assert_eq!(rig.granted_at_once(), 19);
    assert_eq!(rig.given(), one_each(0));

    let (stop, stopped) = oneshot::channel::<()>();
    let (topic, database) = (rig.topic.clone(), rig.schema.url().to_owned());
    let consumer = rig.runtime.spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        consume(&topic, &database, shutdown).await
    });
    rig.runtime
        .block_on(until("every grant has its row", async || {
            let given = rig.stands().await.ok()?;
            (given.rows >= 20).then_some(())
        }));
    assert_eq!(rig.given(), one_each(20));
    drop(stop);
    rig.runtime
        .block_on(consumer)
        .expect("it ends")
        .expect("well");
}

fn admin(topic: &Topic) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.brokers);
    config.create().expect("an admin client")
}

async fn create(topic: &Topic) {
    let new = NewTopic::new(&topic.name, 4, TopicReplication::Fixed(1));
    let made = admin(topic)
        .create_topics(&[new], &AdminOptions::new())
        .await;
    made.expect("asks")[0].clone().expect("is made");
}
