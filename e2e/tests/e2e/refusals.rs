//! Tests a flood of applicants who come too late: few requests reach the gate, and no winner is denied.

use redis::aio::MultiplexedConnection;
use reqwest::Client;
use rushgate_e2e::application::apply;
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::wait::until;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const QUOTA: u32 = 20;
const REVOKES: u32 = 4;
const AT_ONCE: usize = 16;

/// From a change until unknown applicants may get the place that it frees, in ms.
const SETTLED: i64 = 1_000;

/// Applicants who come one after the other, at all handlers, for as long as this runs.
#[derive(Clone)]
struct Flood {
    client: Client,
    urls: Vec<String>,
    over: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    winners: Arc<Mutex<Vec<(String, Place)>>>,
}

impl Flood {
    /// A winner clicks again, at every handler.
    async fn has(&self, user_id: &str, place: &Place) {
        for url in &self.urls {
            let reply = apply(&self.client, url, user_id).await.expect("an answer");
            assert_eq!(reply, Reply::AlreadyGranted(place.clone()), "{user_id}");
        }
    }

    async fn go_on(self) -> usize {
        let mut refused = 0;
        while !self.over.load(Ordering::Relaxed) {
            let person = self.next.fetch_add(1, Ordering::Relaxed);
            let (url, user_id) = (
                &self.urls[person % self.urls.len()],
                format!("late-{person}"),
            );
            match apply(&self.client, url, &user_id).await.expect("an answer") {
                Reply::SoldOut => refused += 1,
                Reply::Granted(place) => {
                    for _ in 0..10 {
                        self.has(&user_id, &place).await;
                    }
                    self.winners.lock().unwrap().push((user_id, place));
                }
                other => panic!("{user_id}: {other:?}"),
            }
        }
        refused
    }

    /// Waits for the next winner.
    async fn winner(&self, number: usize) -> (String, Place) {
        until("an applicant has won the freed place", async || {
            self.winners.lock().unwrap().get(number).cloned()
        })
        .await
    }
}

/// The clock of Redis, in ms.
pub(crate) async fn now(redis: &mut MultiplexedConnection) -> i64 {
    let time = redis::cmd("TIME").query_async(redis).await;
    let (seconds, micros): (i64, i64) = time.expect("TIME");
    seconds * 1_000 + micros / 1_000
}

/// How often these commands were called.
pub(crate) async fn calls(redis: &mut MultiplexedConnection, commands: &[&str]) -> usize {
    let mut info = redis::cmd("INFO");
    let info = info.arg("commandstats").query_async(redis).await;
    let info: String = info.expect("INFO");
    let of = |command: &&str| {
        let line = info.lines().find_map(|line| {
            let line = line.strip_prefix("cmdstat_")?.strip_prefix(*command)?;
            line.strip_prefix(":calls=")
        });
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a count"))
    };
    commands.iter().map(of).sum()
}

/// How many connections Redis has accepted. Each instance opens one.
async fn connections_so_far(redis: &mut MultiplexedConnection) -> usize {
    let mut info = redis::cmd("INFO");
    let info: String = info.arg("stats").query_async(redis).await.expect("INFO");
    let mut lines = info.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// When this serial was granted to `user_id`, by the clock of Redis.
async fn granted_at(redis: &mut MultiplexedConnection, user_id: &str) -> i64 {
    let mut get = redis::cmd("HGET");
    get.arg("rushgate:{launch}:grants").arg(user_id);
    let held: String = get.query_async(redis).await.expect("a grant");
    let at = held.split('/').nth(2).and_then(|at| at.parse().ok());
    at.unwrap_or_else(|| panic!("{held}"))
}

/// The answer of `refusal_cache.lua` is lost here.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_refused_applicant_does_not_wait_for_the_refusal_cache() {
    let mut system = System::start(Size::NONE).await;
    system.operator.create("launch", 1).await.expect("created");
    let redis = url::Url::parse(&system.stores().redis_url).expect("a URL");
    let redis = Proxy::open(0, redis.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}", redis.port);
    system.set("SPIN_VARIABLE_REDIS_URL", &url);
    system.set("SPIN_VARIABLE_REDIS_TIMEOUT_MS", "60000");
    system.start_handler().await;
    let (client, url) = (Client::new(), system.url());
    let url = format!("{url}/v1/campaigns/launch/applications");
    let reply = apply(&client, &url, "wins").await.expect("an answer");
    assert_eq!(reply, Reply::Granted(Place::new("once", 1)));
    // The first request is the application.
    redis.set(Trouble::HoldAnswer(2));
    let reply = timeout(Duration::from_secs(30), apply(&client, &url, "late")).await;
    let reply = reply.expect("it does not wait").expect("an answer");
    assert_eq!(reply, Reply::SoldOut);
    redis.strikes().await;
}

/// Otherwise each of them asks: nothing is cached yet, and the gate takes 10 ms to answer. How many instances they come to is
/// the host's decision; in each of them, the first asks, and then the cache does.
#[tokio::test(flavor = "multi_thread")]
async fn most_of_those_who_come_to_a_new_instance_together_do_not_reach_the_gate() {
    const TOGETHER: usize = 64;
    let mut system = System::start(Size::NONE).await;
    system.operator.create("launch", 1).await.expect("created");
    let stores = url::Url::parse(&system.stores().redis_url).expect("a URL");
    let proxy = Proxy::open(0, stores.port().expect("a port")).await;
    let distant = format!("redis://127.0.0.1:{}", proxy.port);
    system.set("SPIN_VARIABLE_REDIS_URL", &distant);
    let mut redis = system.redis_connection().await.expect("Redis");
    proxy.set(Trouble::Delay(Duration::from_millis(5)));
    // On a busy machine they do not come together, or wait for too long: that is no attempt.
    let mut attempts = 0;
    until("they come together, and most do not ask", async || {
        system.start_handler().await;
        let url = system.rush("launch", 0).urls.pop().expect("a handler");
        let url = format!("{url}/v1/campaigns/launch/applications");
        let client = Client::new();
        let before = calls(&mut redis, &["evalsha"]).await;
        let connections = connections_so_far(&mut redis).await;
        let people = (0..TOGETHER).map(|person| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                let sent = Instant::now();
                let reply = apply(&client, &url, &format!("p{person}")).await;
                (sent, Instant::now(), reply.expect("an answer"))
            })
        });
        let begun = Instant::now();
        let (mut last_sent, mut first_answered, mut winners) = (begun, None, 0);
        for person in people.collect::<Vec<_>>() {
            let (sent, answered, reply) = person.await.expect("no panic");
            last_sent = last_sent.max(sent);
            first_answered = Some(first_answered.map_or(answered, |at: Instant| at.min(answered)));
            match reply {
                Reply::SoldOut => {}
                Reply::Granted(_) | Reply::AlreadyGranted(_) => winners += 1,
                other => panic!("{other:?}"),
            }
        }
        let took = begun.elapsed();
        assert!(winners <= 1, "{winners} winners");
        let asked = calls(&mut redis, &["evalsha"]).await - before;
        let instances = connections_so_far(&mut redis).await - connections;
        system.crash_handler(0);
        let is_attempt = Some(last_sent) < first_answered
            && took < Duration::from_millis(100)
            && instances <= TOGETHER / 3;
        attempts += usize::from(is_attempt);
        assert!(
            attempts <= 5,
            "{asked} calls of {instances} instances for {TOGETHER} applications"
        );
        is_attempt && asked <= TOGETHER * 3 / 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_losers_hardly_reaches_the_gate_and_no_winner_is_denied() {
    flood_of_losers(0).await;
}

/// After more grants than an exclusion list may name.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_filter_a_flood_of_losers_hardly_reaches_the_gate_and_no_winner_is_denied() {
    flood_of_losers(3_000).await;
}

/// `others` have grants, too.
async fn flood_of_losers(others: usize) {
    let system = System::start(Size {
        handlers: 2,
        bridges: 0,
        consumers: 0,
    })
    .await;
    system
        .operator
        .create("launch", QUOTA)
        .await
        .expect("created");
    let urls = system.rush("launch", 0).urls.into_iter();
    let flood = Flood {
        client: Client::new(),
        urls: urls
            .map(|url| format!("{url}/v1/campaigns/launch/applications"))
            .collect(),
        over: Arc::default(),
        next: Arc::default(),
        winners: Arc::default(),
    };
    for serial in 1..=QUOTA {
        let reply = apply(&flood.client, &flood.urls[0], &format!("w{serial}")).await;
        let place = Place::new("once", serial);
        assert_eq!(reply.expect("an answer"), Reply::Granted(place));
    }
    let mut redis = system.redis_connection().await.expect("Redis");
    for other in 0..others {
        let mut grant = redis::cmd("HSET");
        grant
            .arg("rushgate:{launch}:grants")
            .arg(other)
            .arg("once/1/5");
        grant.exec_async(&mut redis).await.expect("HSET");
    }
    let before = calls(&mut redis, &["evalsha"]).await;
    let people: Vec<_> = (0..AT_ONCE)
        .map(|_| tokio::spawn(flood.clone().go_on()))
        .collect();

    // A revoked serial, and then another one, goes to one of these applicants after the grace period.
    for turn in 0..=REVOKES {
        let from = now(&mut redis).await;
        let (loser, more) = (format!("w{}", turn + 1), (QUOTA + 1).to_string());
        let (arguments, serial) = match turn {
            REVOKES => (
                vec!["campaign", "change", "launch", "--quota", &more],
                QUOTA + 1,
            ),
            _ => (vec!["revoke", "launch", &loser], turn + 1),
        };
        system.operator.run(&arguments).await.expect("done");
        let (user_id, place) = flood.winner(turn as usize).await;
        assert_eq!(place.serial, serial);
        let at = granted_at(&mut redis, &user_id).await;
        assert!(at >= from + SETTLED, "{} ms too early", from + SETTLED - at);
        for serial in REVOKES + 1..=QUOTA {
            let place = Place::new("once", serial);
            flood.has(&format!("w{serial}"), &place).await;
        }
    }
    flood.over.store(true, Ordering::Relaxed);
    let mut refused = 0;
    for person in people {
        refused += person.await.expect("no panic");
    }
    let asked = calls(&mut redis, &["evalsha"]).await - before;
    assert!(
        asked * 3 < refused,
        "{refused} were refused, and the gate was asked {asked} times"
    );
    assert_eq!(flood.winners.lock().unwrap().len(), REVOKES as usize + 1);
}
