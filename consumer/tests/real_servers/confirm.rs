//! Tests that committed rows are confirmed at the gate, also after a crash of the consumer, and that a campaign is
//! halted if the gate has lost its grants.

use crate::topic::TestRecord;
use crate::{CAMPAIGN, Rig, setting};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, AsyncTypedCommands};
use rushgate_gate::project::{self, Origin};
use rushgate_gate::script::Eval;
use rushgate_gate::status::{self, Status};
use rushgate_gate::{
    Applicant, Call, CampaignId, CampaignState, Decision, FencingToken, Keys, OnePer, Quota, Round,
    RoundId, Terms, UserIds, Value, Waitlist, apply, revoke,
};
use rushgate_testbed::port::Port;
use rushgate_testbed::wait::until;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// The gate, in a Redis database of this test, with the campaign that every test uses.
pub(crate) struct Gate {
    pub(crate) url: String,
    pub(crate) redis: MultiplexedConnection,
}

impl Gate {
    pub(crate) async fn open(quota: u32) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < crate::NO_GATE, "Redis has no more databases");
        let url = format!("{}/{number}", setting("REDIS_URL"));
        let client = redis::Client::open(url.as_str()).expect("an address");
        // The client's default of half a second is too short for a busy machine.
        let patience = AsyncConnectionConfig::new().set_response_timeout(Some(LONG));
        let redis = client.get_multiplexed_async_connection_with_config(&patience);
        let redis = redis.await;
        let mut this = Self {
            url,
            redis: redis.expect("REDIS_URL answers"),
        };
        this.redis.flushdb().await.expect("FLUSHDB");
        this.add(CAMPAIGN, quota).await;
        this
    }

    /// Adds a campaign with one round of this quota.
    pub(crate) async fn add(&mut self, campaign: &str, quota: u32) {
        let terms = Terms {
            one_per: OnePer::Campaign,
            waitlist: Waitlist::default(),
            user_ids: UserIds::Any,
            ..Terms::default()
        };
        let round = Round {
            id: RoundId::once(),
            opens_at: None,
            closes_at: None,
            quota: Quota::try_from(quota).expect("a quota"),
        };
        let running = CampaignState::Running;
        self.call(&project::call(
            &campaign.parse().expect("an id"),
            Origin::New,
            running,
            &terms,
            &[round],
            FencingToken::default(),
        ))
        .await;
    }

    /// Makes a grant to `user_id` and publishes the record that the bridge would publish.
    async fn grant(&mut self, rig: &Rig, user_id: &str) -> u32 {
        self.grant_of(CAMPAIGN, rig, user_id).await
    }

    /// Makes `count` grants, serial n to `u{n}`, and publishes their records together.
    pub(crate) async fn grant_all(&mut self, rig: &Rig, count: u32) {
        let campaign = CAMPAIGN.parse().expect("an id");
        for serial in 1..=count {
            let call = apply::call(&campaign, &applicant(&format!("u{serial}")));
            self.call(&call).await;
        }
        rig.topic.publish_grants(1..=count);
    }

    pub(crate) async fn grant_of(&mut self, campaign: &str, rig: &Rig, user_id: &str) -> u32 {
        let call = apply::call(&campaign.parse().expect("an id"), &applicant(user_id));
        let answer = apply::decision(&self.call(&call).await).expect("an answer");
        let Decision::Granted(grant) = answer.decision else {
            panic!("{answer:?}")
        };
        let serial = grant.serial.get();
        rig.topic.publish_grant_of(campaign, serial, user_id);
        serial
    }

    async fn status(&mut self, user_id: &str) -> Status {
        self.status_of(CAMPAIGN, user_id).await
    }

    async fn status_of(&mut self, campaign: &str, user_id: &str) -> Status {
        let campaign = campaign.parse().expect("an id");
        let call = status::call(&campaign, &applicant(user_id), None);
        status::status(&self.call(&call).await).expect("a status")
    }

    async fn until_issued(&mut self, user_id: &str) {
        self.until_issued_of(CAMPAIGN, user_id).await;
    }

    pub(crate) async fn until_issued_of(&mut self, campaign: &str, user_id: &str) {
        until("it is issued", async || {
            matches!(
                self.status_of(campaign, user_id).await,
                Status::Issued { .. }
            )
        })
        .await;
    }

    async fn call(&mut self, call: &Call) -> Vec<Value> {
        let command = call.command(Eval::BySource);
        command.query_async(&mut self.redis).await.expect("EVAL")
    }
}

fn id() -> CampaignId {
    CAMPAIGN.parse().expect("an id")
}

fn applicant(user_id: &str) -> Applicant {
    user_id.parse().expect("a user id")
}

const LOG: &str = "SELECT CONCAT_WS('|', action, detail) FROM campaign_log";

#[tokio::test(flavor = "multi_thread")]
async fn committed_rows_are_issued_at_the_gate() {
    let rig = Rig::new(10, 2).await;
    let mut gate = Gate::open(10).await;
    let consumer = rig.consumer(&[("REDIS_URL", &gate.url)]);
    gate.grant(&rig, "a").await;
    gate.grant(&rig, "b").await;
    gate.until_issued("a").await;
    gate.until_issued("b").await;
    rig.topic.until_committed(2).await;
    assert_eq!(rig.database.active().await, 2);
    let confirmed = consumer.metric("rushgate_consumer_confirmed_total").await;
    assert_eq!(confirmed, Some(2.0));

    // The consumer loads the script again if the server has lost it.
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .exec_async(&mut gate.redis)
        .await
        .expect("SCRIPT FLUSH");
    gate.grant(&rig, "c").await;
    gate.until_issued("c").await;
    assert_eq!(rig.database.texts(LOG).await, Vec::<String>::new());
}

/// As after a crash between COMMIT and confirmation: the row exists, and the record is delivered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_committed_and_not_confirmed_is_confirmed_when_it_comes_again() {
    let rig = Rig::new(10, 1).await;
    let mut gate = Gate::open(10).await;
    let serial = gate.grant(&rig, "a").await;
    rig.database
        .execute(format!(
            "INSERT INTO coupons (campaign_id, round_id, serial, user_id, quota, person_scope, granted_at) \
             VALUES ('{CAMPAIGN}', 'once', {serial}, 'a', 10, '', '2026-12-01 01:00:00.123')"
        ))
        .await;
    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url)]);
    gate.until_issued("a").await;
    rig.topic.until_committed(1).await;
}

/// Offsets are committed only after the confirmation. Rows are written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_rows_are_written_and_offsets_wait() {
    let mut rig = Rig::new(10, 1).await;
    let mut gate = Gate::open(10).await;
    gate.grant(&rig, "a").await;
    // No server listens at this address.
    let away = Port::free().expect("a free port");
    let address = format!("redis://{}", away.address());
    let mut cut_off = rig.consumer(&[("REDIS_URL", &address)]);
    until("the row is there", async || {
        rig.database.active().await == 1
    })
    .await;
    cut_off
        .until_at_least("rushgate_consumer_confirm_retries_total", 2.0)
        .await;
    assert_eq!(rig.topic.committed(), 0);
    assert_eq!(cut_off.metric("rushgate_consumer_ready").await, Some(1.0));
    cut_off.kill();
    assert!(matches!(gate.status("a").await, Status::Granted(_)));
    // Another group, so that the test does not wait until Kafka notices the dead consumer.
    rig.topic.read_again();

    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url)]);
    gate.until_issued("a").await;
    rig.topic.until_committed(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_grant_halts_the_campaign_and_is_logged_once() {
    let rig = Rig::new(10, 1).await;
    let mut gate = Gate::open(10).await;
    for user_id in ["a", "b", "c"] {
        gate.grant(&rig, user_id).await;
    }
    let grants = Keys::of(&id()).grants();
    for user_id in ["a", "b"] {
        gate.redis.hdel(&grants, user_id).await.expect("HDEL");
    }
    let consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "1")]);
    rig.topic.until_committed(3).await;
    assert_eq!(rig.database.active().await, 3);
    let call = apply::call(&id(), &applicant("d"));
    let answer = apply::decision(&gate.call(&call).await).expect("an answer");
    assert_eq!(answer.decision, Decision::Halted);
    let log = rig.database.texts(LOG).await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].starts_with("halted|Redis has lost "), "{log:?}");
    let state = "SELECT state FROM campaigns";
    assert_eq!(rig.database.texts(state).await, ["halted"]);
    assert!(
        consumer
            .log()
            .contains("the gate does not know committed grants")
    );
    gate.until_issued("c").await;
}

/// Redis loses a grant that was confirmed long ago, and grants its serial again. The first grant has nothing to
/// confirm any more, but the second one collides with its row.
#[tokio::test(flavor = "multi_thread")]
async fn a_serial_that_is_given_twice_halts_the_campaign() {
    let rig = Rig::new(10, 1).await;
    let mut gate = Gate::open(10).await;
    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url)]);
    gate.grant(&rig, "a").await;
    gate.until_issued("a").await;
    let keys = Keys::of(&id());
    gate.redis.hdel(keys.grants(), "a").await.expect("HDEL");
    let counts = [("once/granted", "0"), ("once/issued", "0")];
    let rounds = keys.rounds();
    gate.redis
        .hset_multiple(rounds, &counts)
        .await
        .expect("HSET");

    assert_eq!(gate.grant(&rig, "b").await, 1);
    rig.topic.until_committed(2).await;
    let call = apply::call(&id(), &applicant("c"));
    let answer = apply::decision(&gate.call(&call).await).expect("an answer");
    assert_eq!(answer.decision, Decision::Halted);
    assert_eq!(
        rig.database.texts("SELECT user_id FROM coupons").await,
        ["a"]
    );
    let failed = "SELECT CONCAT_WS(' ', reason, detail) FROM failed_events";
    let detail =
        "serial_taken welcome/once/1 of user_id b, but welcome/once/1 is held by user_id a";
    assert_eq!(rig.database.texts(failed).await, [detail]);
}

/// A record that no gate granted becomes a dead letter and halts nothing: the gate knows the coupon that is in
/// its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_record_halts_nothing() {
    let rig = Rig::new(10, 1).await;
    let mut gate = Gate::open(10).await;
    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url)]);
    gate.grant(&rig, "a").await;
    gate.until_issued("a").await;
    rig.topic.publish("granted", 1, "forger");
    rig.topic.until_committed(2).await;
    assert_eq!(rig.database.failed().await, 1);
    gate.grant(&rig, "b").await;
    gate.until_issued("b").await;
    assert_eq!(rig.database.texts(LOG).await, Vec::<String>::new());
}

/// Real events of the gate, delivered in the worst order: later grants first, revocations last.
#[tokio::test(flavor = "multi_thread")]
async fn a_serial_that_changed_hands_ends_with_its_last_holder_whatever_comes_first() {
    let rig = Rig::new(1, 1).await;
    let mut gate = Gate::open(1).await;
    let mut story = vec![];
    for user_id in ["a", "b", "c"] {
        let call = apply::call(&id(), &applicant(user_id));
        gate.call(&call).await;
        if user_id != "c" {
            let call = revoke::call(&id(), &applicant(user_id), None);
            gate.call(&call).await;
            // End the grace period, so that the serial goes to the next applicant.
            let mut settle = redis::cmd("HDEL");
            settle.arg(Keys::of(&id()).campaign()).arg("settling");
            settle.exec_async(&mut gate.redis).await.expect("HDEL");
        }
    }
    let entries: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
        .arg(Keys::of(&id()).stream())
        .arg("-")
        .arg("+")
        .query_async(&mut gate.redis)
        .await
        .expect("XRANGE");
    for entry in &entries.ids {
        let field = |name: &str| entry.get::<Vec<u8>>(name);
        let fields: std::collections::HashMap<_, _> = [
            "type", "campaign", "round", "serial", "turn", "user_id", "win", "at",
        ]
        .into_iter()
        .filter_map(|name| Some((name, field(name)?)))
        .collect();
        let event = rushgate_gate::Event::from_fields(|name| fields.get(name).map(Vec::as_slice));
        story.push(event.expect("an event"));
    }
    assert_eq!(story.len(), 5);
    story.reverse();
    for event in story.iter().chain(&story) {
        rig.topic.publish_record(&TestRecord {
            key: &event.key().to_string(),
            value: &serde_json::to_vec(event).expect("JSON"),
            headers: &[],
        });
    }
    let _consumer = rig.consumer(&[("REDIS_URL", &gate.url), ("CONSUMER_BATCH_SIZE", "2")]);
    rig.topic.until_committed(10).await;
    let rows = "SELECT CONCAT_WS(' ', user_id, state, granted_at IS NULL, turn) FROM coupons ORDER BY turn";
    assert_eq!(
        rig.database.texts(rows).await,
        ["a revoked 0 1", "b revoked 0 2", "c active 0 3"]
    );
    assert_eq!(rig.database.failed().await, 0);
    gate.until_issued("c").await;
    assert_eq!(rig.database.texts(LOG).await, Vec::<String>::new());
}
