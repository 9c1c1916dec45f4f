//! Creates campaigns in the states that the commands need, each with a few calls.
//!
//! No bridge or consumer runs, so events stay where they are, and only the command changes the campaign.

use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use reqwest::Client;
use rushgate_e2e::application::apply;
use rushgate_e2e::history::Reply;
use rushgate_e2e::system::System;
use rushgate_gate::{CodeKeys, CodeOf, Event, Keys, Ordinal, RoundId, Serial};
use rushgate_testbed::wait::until;
use sqlx::MySqlPool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system, and connections to it.
pub(super) struct Scene {
    pub(super) system: System,
    pub(super) redis: MultiplexedConnection,
    pub(super) database: MySqlPool,
    client: Client,
    numbers: AtomicU64,
}

/// The id of a dead letter in `rushgate failed`.
pub(super) type DeadLetterId = String;

impl Scene {
    pub(super) async fn of(system: System) -> Self {
        let redis = system.redis_connection().await.expect("Redis");
        let database = MySqlPool::connect(system.database_url()).await;
        Self {
            redis,
            database: database.expect("the database"),
            client: Client::new(),
            numbers: AtomicU64::new(0),
            system,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn does(&self, arguments: &[&str]) -> String {
        let done = self.system.operator.run(arguments).await;
        done.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// A campaign with these terms and applicants, each of whom got a place or a position on the waitlist.
    pub(super) async fn campaign(&self, id: &str, terms: &[&str], people: &[&str]) {
        let create = [&["campaign", "create", "--id", id], terms].concat();
        self.does(&create).await;
        let url = format!("{}/v1/campaigns/{id}/applications", self.system.url());
        for user_id in people {
            let reply = until(&format!("{user_id} has an answer"), async || {
                let reply = apply(&self.client, &url, user_id).await.ok()?;
                (reply != Reply::Unavailable).then_some(reply)
            })
            .await;
            // A request that was sent again may have been granted the first time.
            let is_in = matches!(
                reply,
                Reply::Granted(_) | Reply::AlreadyGranted(_) | Reply::Waitlisted(_)
            );
            assert!(is_in, "{id}, {user_id}: {reply:?}");
        }
    }

    pub(super) async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let done = command.query_async(&mut self.redis.clone()).await;
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    async fn sql(&self, statement: &'static str, values: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for value in values {
            query = query.bind(*value);
        }
        let done = query.execute(&self.database).await;
        let done = done.unwrap_or_else(|error| panic!("{statement} {values:?}: {error}"));
        done.last_insert_id()
    }

    /// Removes the events about an applicant from the stream.
    pub(super) async fn takes(&self, campaign: &str, user_id: &str) -> BTreeMap<String, String> {
        let stream = keys(campaign).stream();
        let entries: StreamRangeReply = self.redis(&["XRANGE", &stream, "-", "+"]).await;
        let of_user = |entry: &&redis::streams::StreamId| {
            entry.get::<String>("user_id").as_deref() == Some(user_id)
        };
        let entry = entries.ids.iter().find(of_user).expect("an entry");
        let removed: u32 = self.redis(&["XDEL", &stream, &entry.id]).await;
        assert_eq!(removed, 1);
        let names = entry.map.keys();
        let fields = names.map(|name| (name.clone(), entry.get(name).expect("a value")));
        fields.collect()
    }

    /// An applicant's grant has its row, as written by the consumer; the gate may or may not know it.
    pub(super) async fn has_row(&self, campaign: &str, user_id: &str, is_confirmed: bool) {
        let keys = keys(campaign);
        let fields = self.takes(campaign, user_id).await;
        self.sql(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
             SELECT campaign_id, round_id, ?, ?, quota, '', '2026-12-01' + INTERVAL (? - 1796083200000) * 1000 MICROSECOND \
             FROM rounds WHERE campaign_id = ?",
            &[&fields["serial"], user_id, &fields["at"], campaign],
        )
        .await;
        if is_confirmed {
            let held: String = self.redis(&["HGET", &keys.grants(), user_id]).await;
            let issued = format!("{held}/issued");
            let _: u32 = self
                .redis(&["HSET", &keys.grants(), user_id, &issued])
                .await;
            let count = ["HINCRBY", &keys.rounds(), "once/issued", "1"];
            let _: u32 = self.redis(&count).await;
        }
    }

    /// An applicant's grant could not become a row.
    pub(super) async fn could_not_insert(&self, campaign: &str, user_id: &str) -> DeadLetterId {
        let fields = self.takes(campaign, user_id).await;
        let event = Event::from_fields(|name| fields.get(name).map(String::as_bytes));
        let event = event.expect("an event");
        let value = serde_json::to_string(&event).expect("JSON");
        self.dead_letter(&event.key().to_string(), &value).await
    }

    /// A record that could not become a row.
    pub(super) async fn dead_letter(&self, key: &str, value: &str) -> DeadLetterId {
        let offset = self.number().to_string();
        let id = self
            .sql(
                "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, \
                 headers, reason, detail) VALUES ('planted', 0, ?, 0, ?, ?, '{}', 'row_refused', 'planted')",
                &[&offset, key, value],
            )
            .await;
        id.to_string()
    }

    /// A stream entry that could not be published.
    pub(super) async fn could_not_publish(
        &self,
        campaign: &str,
        fields: &BTreeMap<String, String>,
    ) -> DeadLetterId {
        let dead_letters = keys(campaign).dead_letters();
        let mut add = vec!["XADD", &dead_letters, "*"];
        for (name, value) in fields {
            add.extend([name.as_str(), value.as_str()]);
        }
        add.extend(["reason", "planted", "entry_id", "1-1"]);
        let entry_id: String = self.redis(&add).await;
        format!("{campaign}/{entry_id}")
    }

    /// Redis loses an applicant's grant.
    pub(super) async fn loses(&self, campaign: &str, user_id: &str) {
        let grants = keys(campaign).grants();
        let lost: u32 = self.redis(&["HDEL", &grants, user_id]).await;
        assert_eq!(lost, 1);
    }

    /// Redis loses the whole campaign.
    pub(super) async fn loses_all(&self, campaign: &str) {
        for key in keys(campaign).all() {
            let _: u32 = self.redis(&["DEL", &key]).await;
        }
    }

    /// A consumer has halted the campaign.
    pub(super) async fn halts(&self, campaign: &str) {
        let _: u32 = self
            .redis(&["HSET", &keys(campaign).campaign(), "state", "halted"])
            .await;
        let halt = "UPDATE campaigns SET state = 'halted' WHERE campaign_id = ?";
        self.sql(halt, &[campaign]).await;
        let log = "INSERT INTO campaign_log (campaign_id, action, detail) VALUES (?, 'halted', 'is halted')";
        self.sql(log, &[campaign]).await;
    }
}

pub(super) fn keys(campaign: &str) -> Keys {
    Keys::of(&campaign.parse().expect("a campaign"))
}

/// The key of the codes of all campaigns with signed codes.
pub(super) const CODE_KEY: &str = "the key of the codes of interrupted commands";

/// The code of serial 1, which `a` has.
pub(super) fn code_of_the_first(campaign: &str) -> String {
    let keys = CodeKeys::new([CODE_KEY]);
    let of = CodeOf {
        campaign: &campaign.parse().expect("a campaign"),
        round: &RoundId::once(),
        serial: Serial::try_from(1_u32).expect("a serial"),
        turn: Ordinal::FIRST,
        applicant: &"a".parse().expect("an applicant"),
    };
    let code = keys.code(keys.newest().expect("a key"), of);
    code.expect("a code").to_string()
}
