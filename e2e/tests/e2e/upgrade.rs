//! Tests the upgrade from the last version without coupon codes, while a rush is under way: database and gate are upgraded
//! in place, and grants of that version become coupons wherever they are on their way.
//!
//! That version is played here: with the tables of its migrations, with its script for applications, and with what its
//! programs wrote to Redis, Kafka and the database.

use crate::setup::migrator;
use crate::view::View;
use futures::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use rushgate_e2e::check::Expected;
use rushgate_e2e::history::{Call, History, Place, Reply};
use rushgate_e2e::rights::{self, Role};
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use sqlx::{Connection, MySqlConnection};
use std::ops::Range;
use std::time::Instant;

const LAUNCH: &str = "launch";
const QUOTA: u32 = 300;

/// Applicants of the rush. The first of them have come to the older version before.
const APPLICANTS: u32 = 500;

/// The last migration of the older version.
const LAST_MIGRATION: i64 = 7;

const OLDER_APPLY: &str = include_str!("upgrade/older_apply.lua");

/// The keys of that script, in its order.
const KEYS: [&str; 10] = [
    "campaign", "schedule", "rounds", "grants", "stream", "waitlist", "waiting", "revoked", "pool",
    "known",
];

/// A campaign of the older version, and what its programs do with it.
struct Older {
    campaign: &'static str,
    redis: MultiplexedConnection,
    history: History,
}

/// A grant in the stream.
struct Entry {
    id: String,
    serial: String,
    user_id: String,
    at: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_that_is_under_way_during_an_upgrade_stays_exact() {
    let mut system = System::start(Size::NONE).await;
    make_older(&system).await;
    let mut launch = Older::create(&system, LAUNCH, QUOTA, 0).await;
    let mut line = Older::create(&system, "line", 1, 5).await;
    for user_id in ["a", "b", "c"] {
        line.apply(user_id).await;
    }

    // Grants everywhere: confirmed; only in the table; only in Kafka; pending at a bridge; in the stream.
    launch.come(0..60).await;
    let records = launch.publish(&system, 30, 45).await;
    launch.write(&system, &records[..15]).await;
    launch.confirm(&records[..10]).await;

    let setup = system.logins.of(Role::Setup);
    let setup = system.operator.logged_in(setup);
    let (done, ()) = tokio::join!(setup.run(&["setup"]), launch.come(60..120));
    done.expect("setup");
    rights::after_setup(&system.database, &system.logins.schema).await;
    // A consumer that is not replaced yet.
    launch.write(&system, &records[15..20]).await;
    system.start_consumer().await;
    system.start_bridge().await;
    system.start_handler().await;

    let view = View::of(&system, LAUNCH);
    for person in [0, 12, 17, 25, 40, 50, 119] {
        let user_id = format!("user-{person}");
        let place = launch.history.places[&user_id][0].clone();
        let again = view.apply(&user_id).await;
        assert_eq!(again, Reply::AlreadyGranted(place), "{user_id}");
    }
    // Longer than the older tables allow.
    let long = "k".repeat(128);
    let reply = launch.apply_at(&view, &long).await;
    assert!(matches!(reply, Reply::Granted(_)), "{reply:?}");

    // Some applicants come to handlers of both versions, while others come to the new one.
    let crowd = system.rush(LAUNCH, APPLICANTS as usize);
    let (outcome, ()) = tokio::join!(
        rush::run(&crowd, || ()),
        launch.come_to_both(&view, 100..220)
    );
    let mut outcome = outcome.expect("a rush");
    let known = &launch.history.places;
    let mut new = outcome.history.places.iter();
    let new = new.find(|(user_id, _)| !known.contains_key(*user_id));
    let (user_id, places) = new.expect("a winner at the new handler only");
    let again = launch.apply(user_id).await;
    assert_eq!(again, Reply::AlreadyGranted(places[0].clone()));

    // A waitlist of the older version moves up.
    let waitlist = View::of(&system, "line");
    let place = Place::new("once", 1);
    let again = waitlist.apply("a").await;
    assert_eq!(again, Reply::AlreadyGranted(place.clone()));
    assert_eq!(waitlist.apply("c").await, Reply::Waitlisted(2));
    let revoked = waitlist.does(&["revoke", "line", "a"]).await;
    assert!(
        revoked.ends_with("its serial now belongs to b\n"),
        "{revoked}"
    );
    assert_eq!(waitlist.apply("b").await, Reply::AlreadyGranted(place));
    assert_eq!(waitlist.apply("c").await, Reply::Waitlisted(1));
    waitlist.has_rows(1).await;
    system.drained("line").await;
    let rows = system.database.rows("line").await.expect("the database");
    let holders: Vec<_> = rows.iter().map(|row| row.user_id.as_str()).collect();
    assert_eq!(holders, ["b"]);

    outcome.history.add(launch.history);
    let expected = Expected::once(QUOTA, APPLICANTS);
    assert_eq!(system.check(&expected, LAUNCH, &outcome).await, vec![]);
    let agreed = view.exits(0, &["audit"]).await;
    assert!(agreed.contains("all agree"), "{agreed}");
}

/// Replaces the tables by empty ones of the older version.
async fn make_older(system: &System) {
    // In an order that foreign keys allow.
    let drop = "DROP TABLE coupons, rounds, campaign_log, intentions, failed_events, pool_codes, campaigns, \
                _sqlx_migrations";
    system.database.run(drop).await.expect("dropped");
    let connection = MySqlConnection::connect(system.database_url()).await;
    let mut connection = connection.expect("the schema");
    let run = migrator()
        .await
        .run_to(LAST_MIGRATION, &mut connection)
        .await;
    run.expect("the tables of the older version");
}

impl Older {
    /// Writes what `rushgate campaign create` of that version wrote.
    async fn create(system: &System, campaign: &'static str, quota: u32, waitlist: u32) -> Self {
        let sql = format!(
            "INSERT INTO campaigns (campaign_id, state, one_per, projected_at, waitlist, user_ids, fencing_token) \
             VALUES ('{campaign}', 'running', 'campaign', UTC_TIMESTAMP(3), {waitlist}, 'any', 1); \
             INSERT INTO rounds (campaign_id, round_id, quota) VALUES ('{campaign}', 'once', {quota}); \
             INSERT INTO campaign_log (campaign_id, action, detail) VALUES ('{campaign}', 'created', 'before')"
        );
        system.database.run(&sql).await.expect("created");
        let redis = system.redis_connection().await.expect("Redis");
        let mut older = Self {
            campaign,
            redis,
            history: History::default(),
        };
        let [rules, schedule, rounds] =
            ["campaign", "schedule", "rounds"].map(|key| older.key(key));
        let (quota, waitlist) = (quota.to_string(), waitlist.to_string());
        older.tell(&["SADD", "rushgate:campaigns", campaign]).await;
        #[rustfmt::skip]
        let of_campaign = [
            "HSET", &rules, "state", "running", "one_per", "campaign", "waitlist", &waitlist, "fence", "1",
            "user_ids", "any", "round", "once", "from", "0", "until", "+inf", "next", "",
        ];
        older.tell(&of_campaign).await;
        #[rustfmt::skip]
        let of_round = [
            "HSET", &rounds, "once/closes_at", "", "once/quota", &quota, "once/granted", "0",
        ];
        older.tell(&of_round).await;
        older.tell(&["ZADD", &schedule, "0", "once"]).await;
        older
    }

    fn key(&self, name: &str) -> String {
        format!("rushgate:{{{}}}:{name}", self.campaign)
    }

    /// Sends a command to Redis.
    async fn tell(&mut self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let done = command.exec_async(&mut self.redis).await;
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }

    /// A handler of that version asks the gate.
    async fn apply(&mut self, user_id: &str) -> Reply {
        let began = Instant::now();
        let keys = KEYS.map(|name| self.key(name));
        let mut eval = redis::cmd("EVAL");
        eval.arg(OLDER_APPLY).arg(keys.len()).arg(&keys);
        eval.arg(&[self.campaign, user_id]);
        let decided = eval.query_async(&mut self.redis).await;
        let decided: (String, String, u32, i64, i64) = decided.expect("a decision");
        let (decision, round, serial, ..) = decided;
        let reply = match decision.as_str() {
            "granted" => Reply::Granted(Place { round, serial }),
            "already_granted" => Reply::AlreadyGranted(Place { round, serial }),
            "waitlisted" => Reply::Waitlisted(serial),
            "sold_out" => Reply::SoldOut,
            other => Reply::Unexplained(other.to_owned()),
        };
        self.note(user_id, began, reply)
    }

    /// A handler of now decides.
    async fn apply_at(&mut self, view: &View<'_>, user_id: &str) -> Reply {
        let began = Instant::now();
        let reply = view.apply(user_id).await;
        self.note(user_id, began, reply)
    }

    fn note(&mut self, user_id: &str, began: Instant, reply: Reply) -> Reply {
        self.history.note(Call {
            user_id: user_id.to_owned(),
            began,
            ended: Instant::now(),
            reply: reply.clone(),
        });
        reply
    }

    async fn come(&mut self, people: Range<u32>) {
        for person in people {
            self.apply(&format!("user-{person}")).await;
        }
    }

    /// Each of them comes to a handler of that version, and to one of now, in one order or the other.
    async fn come_to_both(&mut self, view: &View<'_>, people: Range<u32>) {
        for person in people {
            let user_id = format!("user-{person}");
            if person % 2 == 0 {
                self.apply(&user_id).await;
            }
            self.apply_at(view, &user_id).await;
            if person % 2 == 1 {
                self.apply(&user_id).await;
            }
        }
    }

    /// A bridge of that version has read this many entries, and has published the first of them. Returns these.
    async fn publish(&mut self, system: &System, published: usize, read: usize) -> Vec<Entry> {
        let (stream, count) = (self.key("stream"), read.to_string());
        let group = "kafka-bridge";
        self.tell(&["XGROUP", "CREATE", &stream, group, "0"]).await;
        // The bridge that replaces it has the same name.
        #[rustfmt::skip]
        let reads = [
            "XREADGROUP", "GROUP", group, "bridge-0", "COUNT", &count, "STREAMS", &stream, ">",
        ];
        self.tell(&reads).await;
        let mut range = redis::cmd("XRANGE");
        range.arg(&[stream.as_str(), "-", "+"]);
        let entries = range.query_async(&mut self.redis).await;
        let entries: StreamRangeReply = entries.expect("entries");
        let entries = entries.ids.into_iter().take(published).map(|entry| {
            let text = |name| entry.get::<String>(name).expect("a field");
            Entry {
                serial: text("serial"),
                user_id: text("user_id"),
                at: text("at"),
                id: entry.id.clone(),
            }
        });
        let entries: Vec<Entry> = entries.collect();
        assert_eq!(entries.len(), published);
        let view = View::of(system, self.campaign);
        join_all(entries.iter().map(|entry| send(&view, entry))).await;
        for Entry { id, .. } in &entries {
            self.tell(&["XACK", &stream, group, id]).await;
            self.tell(&["XDEL", &stream, id]).await;
        }
        entries
    }

    /// A consumer of that version has written these rows.
    async fn write(&self, system: &System, records: &[Entry]) {
        let campaign = self.campaign;
        let row = |entry: &Entry| {
            let Entry {
                serial,
                user_id,
                at,
                ..
            } = entry;
            format!(
                "('{campaign}', 'once', {serial}, '{user_id}', {QUOTA}, '', 1, 1, \
                 TIMESTAMPADD(MICROSECOND, {at} * 1000, '1970-01-01'))"
            )
        };
        let rows: Vec<String> = records.iter().map(row).collect();
        let rows = rows.join(", ");
        let insert = format!(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, turn, win, granted_at) \
             VALUES {rows}"
        );
        system.database.run(&insert).await.expect("written");
    }

    /// It has confirmed them, but has not committed the offsets of their records.
    async fn confirm(&mut self, records: &[Entry]) {
        let (grants, rounds) = (self.key("grants"), self.key("rounds"));
        for entry in records {
            let held = format!("once/{}/{}/issued", entry.serial, entry.at);
            self.tell(&["HSET", &grants, &entry.user_id, &held]).await;
            self.tell(&["HINCRBY", &rounds, "once/issued", "1"]).await;
        }
    }
}

/// Publishes a record as a bridge of that version does.
async fn send(view: &View<'_>, entry: &Entry) {
    let campaign = view.campaign;
    let Entry {
        serial,
        user_id,
        at,
        ..
    } = entry;
    let key = format!("{campaign}/once/{serial}");
    let value = format!(
        r#"{{"type":"coupon.granted","campaign":"{campaign}","round":"once","serial":{serial},"user_id":"{user_id}","at":{at}}}"#
    );
    let (id, source) = (
        format!("{key}/coupon.granted"),
        format!("/rushgate/{campaign}"),
    );
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", id.as_str()),
        ("ce_source", source.as_str()),
        ("ce_type", "coupon.granted"),
        ("content-type", "application/json"),
    ];
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        });
    view.publish_with(&key, &value, headers).await;
}
