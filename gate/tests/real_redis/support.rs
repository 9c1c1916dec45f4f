//! Helpers for the tests on a real Redis.

use redis::Commands;
use rushgate_gate::cancel::{self, CancelOutcome};
use rushgate_gate::load_codes::{self, LoadOutcome};
use rushgate_gate::project::{self, Origin, ProjectOutcome};
use rushgate_gate::redeem::{self, RedeemOutcome};
use rushgate_gate::script::Eval;
use rushgate_gate::{
    Applicant, Assignment, Call, CampaignId, CampaignState, Decision, Event, FencingToken, Keys,
    OnePer, PoolCode, Quota, Round, RoundId, Serial, Terms, UserIds, Value, Waitlist, apply,
    confirm, overview,
    projection::{self, Projection},
    refusal_cache, revoke, status,
};
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// A campaign with a unique id. `Drop` removes its keys.
pub(crate) struct Gate {
    pub(crate) redis: redis::Connection,
    pub(crate) id: CampaignId,
    /// Waitlist length for the next projection.
    pub(crate) waitlist: u32,
    /// Accepted user ids for the next projection.
    pub(crate) user_ids: UserIds,
    /// The other rules for the next projection.
    pub(crate) rules: Terms,
    /// Fencing token of projections and restores.
    pub(crate) fence: FencingToken,
}

impl Gate {
    /// A campaign that is not projected yet, on the server in `REDIS_URL`.
    pub(crate) fn unknown() -> Self {
        let url = std::env::var("REDIS_URL").expect("REDIS_URL is not set: run `cargo xtask test`");
        Self::on(&url)
    }

    pub(crate) fn on(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "gate-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            redis: connect(url),
            id: id.parse().expect("an id"),
            waitlist: 0,
            user_ids: UserIds::Any,
            rules: Terms::default(),
            fence: FencingToken::default(),
        }
    }

    /// A running campaign with one round that is always open.
    pub(crate) fn open(quota: u32) -> Self {
        let mut gate = Self::unknown();
        gate.project(
            Origin::New,
            CampaignState::Running,
            OnePer::Campaign,
            &[always_open(quota)],
        );
        gate
    }

    pub(crate) fn call(&mut self, call: &Call) -> redis::RedisResult<Vec<Value>> {
        eval(&mut self.redis, call)
    }

    pub(crate) fn project(
        &mut self,
        origin: Origin,
        state: CampaignState,
        one_per: OnePer,
        rounds: &[Round],
    ) {
        let outcome = self.try_project(origin, state, one_per, rounds);
        assert!(
            matches!(outcome, ProjectOutcome::Projected { .. }),
            "{outcome:?}"
        );
    }

    pub(crate) fn try_project(
        &mut self,
        origin: Origin,
        state: CampaignState,
        one_per: OnePer,
        rounds: &[Round],
    ) -> ProjectOutcome {
        let terms = Terms {
            one_per,
            waitlist: Waitlist::try_from(self.waitlist).expect("a waitlist"),
            user_ids: self.user_ids,
            ..self.rules
        };
        let reply = self
            .call(&project::call(
                &self.id, origin, state, &terms, rounds, self.fence,
            ))
            .expect("project");
        project::outcome(&reply).expect("its reply")
    }

    pub(crate) fn projection(&mut self) -> Option<Projection> {
        let reply = self.call(&projection::call(&self.id)).expect("projection");
        projection::projection(&reply).expect("its reply")
    }

    pub(crate) fn apply(&mut self, user_id: &str) -> Decision {
        let reply = self
            .call(&apply::call(&self.id, &applicant(user_id)))
            .expect("apply");
        apply::decision(&reply).expect("its reply").decision
    }

    /// Applies, and returns the serial of the new or earlier grant.
    pub(crate) fn serial(&mut self, user_id: &str) -> u32 {
        match self.apply(user_id) {
            Decision::Granted(grant) | Decision::AlreadyGranted(grant) => grant.serial.get(),
            other => panic!("{user_id}: {other:?}"),
        }
    }

    pub(crate) fn status(&mut self, user_id: &str) -> status::Status {
        self.status_in(user_id, None)
    }

    pub(crate) fn status_in(&mut self, user_id: &str, round: Option<&str>) -> status::Status {
        let round = round.map(|id| id.parse().expect("a round id"));
        let reply = self
            .call(&status::call(&self.id, &applicant(user_id), round.as_ref()))
            .expect("application");
        status::status(&reply).expect("its reply")
    }

    pub(crate) fn revoke(&mut self, user_id: &str, round: Option<&str>) -> revoke::RevokeOutcome {
        let round = round.map(|id| id.parse().expect("a round id"));
        let reply = self
            .call(&revoke::call(&self.id, &applicant(user_id), round.as_ref()))
            .expect("revoke");
        revoke::outcome(&reply).expect("its reply")
    }

    pub(crate) fn cancel(&mut self, user_id: &str, round: Option<&str>) -> CancelOutcome {
        let round = round.map(|id| id.parse().expect("a round id"));
        let reply = self
            .call(&cancel::call(&self.id, &applicant(user_id), round.as_ref()))
            .expect("cancel");
        cancel::outcome(&reply).expect("its reply")
    }

    pub(crate) fn redeem(&mut self, round: &str, serial: u32, user_id: &str) -> RedeemOutcome {
        let grant = Assignment {
            round: round.parse().expect("a round id"),
            serial: serial.try_into().expect("a serial"),
            applicant: applicant(user_id),
        };
        let reply = self.call(&redeem::call(&self.id, &grant)).expect("redeem");
        redeem::outcome(&reply).expect("its reply")
    }

    /// Loads these pool codes after those that are loaded.
    pub(crate) fn load(&mut self, codes: &[&str]) {
        let LoadOutcome::Done(before) = self.try_load(1, 1, &[]) else {
            panic!("unknown")
        };
        let width = codes.iter().map(|code| code.len()).max().unwrap_or(0);
        let outcome = self.try_load(width, before.loaded + 1, codes);
        assert!(matches!(outcome, LoadOutcome::Done(_)), "{outcome:?}");
    }

    pub(crate) fn try_load(&mut self, width: usize, first: u32, codes: &[&str]) -> LoadOutcome {
        let codes = codes.iter().map(|code| code.parse().expect("a code"));
        let codes: Vec<PoolCode> = codes.collect();
        let call = load_codes::call(&self.id, width, first, &codes);
        let reply = self.call(&call).expect("load_codes");
        load_codes::outcome(&reply).expect("its reply")
    }

    pub(crate) fn confirm(
        &mut self,
        round: &str,
        serial: u32,
        user_id: &str,
    ) -> confirm::ConfirmOutcome {
        self.confirm_many(&[(round, serial, user_id)])
    }

    pub(crate) fn confirm_many(&mut self, grants: &[(&str, u32, &str)]) -> confirm::ConfirmOutcome {
        let grants = grants.iter().map(|(round, serial, user_id)| {
            let round: RoundId = round.parse().expect("a round id");
            let serial = Serial::try_from(*serial).expect("a serial");
            (round, serial, applicant(user_id))
        });
        let grants: Vec<_> = grants.collect();
        let rows = grants
            .iter()
            .map(|(round, serial, applicant)| confirm::Row {
                round,
                serial: *serial,
                applicant,
                is_revoked: false,
            });
        self.confirm_rows(rows)
    }

    pub(crate) fn confirm_rows<'a>(
        &mut self,
        rows: impl IntoIterator<Item = confirm::Row<'a>>,
    ) -> confirm::ConfirmOutcome {
        let reply = self.call(&confirm::call(&self.id, rows)).expect("confirm");
        confirm::outcome(&reply).expect("its reply")
    }

    /// What may be cached.
    pub(crate) fn refusal_answer(&mut self) -> refusal_cache::Cacheable {
        let reply = self
            .call(&refusal_cache::call(&self.id))
            .expect("refusal_cache");
        refusal_cache::cacheable(&reply).expect("its reply")
    }

    /// The same, when no filter is being built any more.
    pub(crate) fn complete_answer(&mut self) -> refusal_cache::Cacheable {
        loop {
            let answer = self.refusal_answer();
            if answer.refusal.is_some() || answer.ttl == refusal_cache::GRACE_PERIOD {
                return answer;
            }
        }
    }

    /// The refusal that may be cached.
    pub(crate) fn refusal(&mut self) -> Option<refusal_cache::CacheableRefusal> {
        self.complete_answer().refusal
    }

    /// Ends a running grace period.
    pub(crate) fn end_grace_period(&mut self) {
        let campaign = Keys::of(&self.id).campaign();
        self.redis.hdel(campaign, "settling").expect("HDEL")
    }

    /// Lets a running grace period end `millis` ms from now.
    pub(crate) fn extend_grace_period(&mut self, millis: i64) {
        let campaign = Keys::of(&self.id).campaign();
        let field: Option<String> = self.redis.hget(&campaign, "settling").expect("HGET");
        if let Some((_, word)) = field.as_deref().and_then(|field| field.split_once('/')) {
            let field = format!("{}/{word}", self.now() + millis);
            self.redis.hset(campaign, "settling", field).expect("HSET")
        }
    }

    pub(crate) fn overview(&mut self) -> Option<overview::Overview> {
        let reply = self.call(&overview::call(&self.id)).expect("overview");
        overview::overview(&reply).expect("its reply")
    }

    /// All events of the stream, oldest first.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let entries: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
            .arg(Keys::of(&self.id).stream())
            .arg("-")
            .arg("+")
            .query(&mut self.redis)
            .expect("XRANGE");
        entries
            .ids
            .iter()
            .map(|entry| {
                let fields: HashMap<String, Vec<u8>> = entry
                    .map
                    .iter()
                    .map(|(name, value)| {
                        (
                            name.clone(),
                            redis::from_redis_value(value.clone()).expect("bytes"),
                        )
                    })
                    .collect();
                Event::from_fields(|name| fields.get(name).map(Vec::as_slice)).expect("an event")
            })
            .collect()
    }

    /// The clock of Redis, in ms.
    pub(crate) fn now(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query(&mut self.redis).expect("TIME");
        seconds * 1_000 + micros / 1_000
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // The test may have stopped the server.
        let _ = redis::cmd("DEL")
            .arg(&Keys::of(&self.id).all())
            .exec(&mut self.redis);
    }
}

/// A Redis server for one test, because the test would disturb others.
pub(crate) struct Server {
    redis: Redis,
    process: Process,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let redis = Redis::on_socket(directory.path());
        Self {
            process: redis.start(&[]).expect("Redis"),
            _directory: directory,
            redis,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    pub(crate) fn set(&self, setting: &str, value: &str) {
        redis::cmd("CONFIG")
            .arg("SET")
            .arg(setting)
            .arg(value)
            .exec(&mut connect(&self.url()))
            .expect("CONFIG SET");
    }

    /// A field of the reply to `INFO persistence`.
    pub(crate) fn info(&self, field: &str) -> String {
        let info: String = redis::cmd("INFO")
            .arg("persistence")
            .query(&mut connect(&self.url()))
            .expect("INFO");
        let value = info.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name == field).then(|| value.to_owned())
        });
        value.expect(field)
    }

    /// Kills it after it has written a snapshot to the append-only file, and starts it again.
    pub(crate) fn restart_with_all_data(&mut self) {
        let before = self.info("aof_rewrites");
        redis::cmd("BGREWRITEAOF")
            .exec(&mut connect(&self.url()))
            .expect("BGREWRITEAOF");
        while self.info("aof_rewrites") == before || self.info("aof_rewrite_in_progress") != "0" {
            std::thread::yield_now();
        }
        assert_eq!(self.info("aof_last_bgrewrite_status"), "ok");
        self.process.kill();
        self.process = self.redis.start(&[]).expect("Redis");
    }
}

pub(crate) fn connect(url: &str) -> redis::Connection {
    redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .unwrap_or_else(|error| panic!("no Redis at {url}: {error}"))
}

/// Runs a script by SHA-1, and by source if the server does not have it.
pub(crate) fn eval(redis: &mut redis::Connection, call: &Call) -> redis::RedisResult<Vec<Value>> {
    match call.command(Eval::BySha).query(redis) {
        Err(error) if error.code() == Some("NOSCRIPT") => call.command(Eval::BySource).query(redis),
        reply => reply,
    }
}

pub(crate) fn applicant(user_id: &str) -> Applicant {
    user_id.parse().expect("a user id")
}

pub(crate) fn always_open(quota: u32) -> Round {
    round("once", None, None, quota)
}

pub(crate) fn round(id: &str, opens_at: Option<i64>, closes_at: Option<i64>, quota: u32) -> Round {
    let instant = |millis: i64| millis.try_into().expect("an instant");
    Round {
        id: id.parse::<RoundId>().expect("a round id"),
        opens_at: opens_at.map(instant),
        closes_at: closes_at.map(instant),
        quota: Quota::try_from(quota).expect("a quota"),
    }
}
