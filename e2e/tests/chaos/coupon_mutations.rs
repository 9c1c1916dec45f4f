//! Tests the checker on coupons: a short story with codes, giving back, redeeming and promotion is played with each
//! known bug, and the checker must report it.
//!
//! The test takes the place of the handler: it calls the gate's scripts, which may have a bug. Bridges, consumers and
//! operator are the real ones, and may have a bug too.

use crate::episode::REST;
use crate::world::{CODE_KEYS, World};
use futures::future::join_all;
use redis::aio::MultiplexedConnection;
use rushgate_e2e::campaign::Operator;
use rushgate_e2e::check::{Expected, Operated, SignedCodes, breaches};
use rushgate_e2e::history::{Call, Cancel, CancelReply, History, Place, Reply};
use rushgate_gate::cancel::{self, CancelOutcome};
use rushgate_gate::script::{self, Eval, Value};
use rushgate_gate::{Applicant, CodeKeys, Decision, Grant, GrantCode, Keys, Millis, apply};
use rushgate_testbed::wait::until;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long everything may take to come to rest, if the bug allows that.
const REST_WITH_A_BUG: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CouponBug {
    NoBug,
    /// The handler tells the next holder of a serial the code of the holder before.
    CodeToldTwice,
    /// The gate does not count how often a serial has been granted.
    CodeOfOlderTurn,
    /// The consumer computes codes without the user id.
    CodeWithoutUserId,
    /// The consumer signs with its newest key, not with the one of the campaign.
    RowHasAnotherCode,
    /// A freed serial goes to the waitlist although the round has ended.
    PromotionAfterTheEnd,
    /// What was redeemed can be given back.
    RedeemAndGiveBack,
    /// The operator does not look whether a coupon was redeemed before.
    RedeemTwice,
    /// Who leaves the waitlist keeps a place in its order.
    LeaverPromoted,
    /// A serial that was given back stays free after it is granted again.
    FreeSerialGrantedTwice,
    /// Giving back sends no event.
    GivenBackUnsaid,
    /// `restore` rebuilds redeemed coupons as issued.
    RedemptionLostByRestore,
    /// The gate does not count the pool codes that it gives to the waitlist.
    PoolCodeGivenAgain,
    /// The gate binds pool codes to serials: the next holder has the code of an older turn.
    PoolCodeOfOlderTurn,
    /// `restore` does not look which pool codes are taken.
    PoolSetBackByRestore,
}

use CouponBug::*;

/// Bugs of scripts and operator, and what the checker must report: they are played at the same time.
const TOGETHER: [(CouponBug, &str); 12] = [
    (
        CodeToldTwice,
        "C7: one code for once/1 of user-a and once/1 of user-d",
    ),
    (CodeOfOlderTurn, "was told with another code"),
    (PromotionAfterTheEnd, "after the end of the round"),
    (
        RedeemAndGiveBack,
        "was redeemed, and its holder has given it back",
    ),
    (
        RedeemTwice,
        "was redeemed, and a second time, for another order",
    ),
    (
        LeaverPromoted,
        "user-e has left the waitlist, and was promoted",
    ),
    (
        FreeSerialGrantedTwice,
        "C1: the gate holds serial once/1 twice",
    ),
    (
        GivenBackUnsaid,
        "has given serial once/1 back, and its row is not revoked",
    ),
    (
        RedemptionLostByRestore,
        "was redeemed, and the gate does not know",
    ),
    (
        PoolCodeGivenAgain,
        "C7: one code for once/1 of user-d and once/3 of user-f",
    ),
    (
        PoolCodeOfOlderTurn,
        "C7: one code for once/1 of user-a and once/1 of user-d",
    ),
    (
        PoolSetBackByRestore,
        "C7: one code for once/1 of user-a and once/1 of user-g",
    ),
];

/// Bugs of the consumer, one at a time.
const ALONE: [(CouponBug, &str, &str); 2] = [
    (
        CodeWithoutUserId,
        "bug::code_without_user_id",
        "has a code that is not computed from it",
    ),
    (
        RowHasAnotherCode,
        "bug::code_of_newest_key",
        "was told with another code",
    ),
];

pub(crate) async fn every_bug_is_caught(world: &mut World) {
    world.plant(None).await;
    let (of_pools, others): (Vec<_>, Vec<_>) =
        TOGETHER.iter().partition(|(bug, _)| bug.is_of_pool());
    let bugs = others.iter().map(|(bug, _)| *bug).chain([NoBug]);
    let all = join_all(bugs.map(|bug| Story::play(world, bug))).await;
    assert_eq!(all.last(), Some(&vec![]), "without a bug");
    for ((bug, says), found) in others.iter().zip(&all) {
        is_caught(*bug, says, found);
    }
    for (bug, says) in of_pools {
        is_caught(bug, says, &Story::play(world, bug).await);
    }
    for (bug, failpoint, says) in ALONE {
        world.plant(Some(failpoint)).await;
        is_caught(bug, says, &Story::play(world, bug).await);
    }
}

fn is_caught(bug: CouponBug, says: &str, found: &[String]) {
    let caught = found.iter().find(|breach| breach.contains(says));
    let caught =
        caught.unwrap_or_else(|| panic!("{bug:?} is not caught: wanted {says}, found {found:#?}"));
    eprintln!("mutation {bug:?}: caught, {caught}");
}

/// One campaign of three coupons and what happened in it.
struct Story {
    bug: CouponBug,
    signed: SignedCodes,
    redis: MultiplexedConnection,
    operator: Operator,
    history: History,
    operated: Operated,
    /// The codes that the handler has told last, by place.
    told: BTreeMap<Place, String>,
}

impl Story {
    /// Plays it, and returns the checker's report.
    async fn play(world: &World, bug: CouponBug) -> Vec<String> {
        let campaign = format!("{bug:?}-{}", std::process::id()).to_lowercase();
        let key = CODE_KEYS[usize::from(bug == RowHasAnotherCode)];
        let operator = world.operator.with(&[("COUPON_CODE_KEYS", key)]);
        let failpoint = match bug {
            RedeemTwice => "bug::redeem_again=return",
            RedemptionLostByRestore => "bug::restore_forgets_redemptions=return",
            PoolSetBackByRestore => "bug::restore_sets_codes_back=return",
            _ => "",
        };
        let operator = operator.with(&[("FAILPOINTS", failpoint)]);
        let id = ["campaign", "create", "--id", &campaign, "--quota", "3"];
        let which = if bug.is_of_pool() { "pool" } else { "signed" };
        let terms = ["--codes", which, "--self-cancel", "--waitlist", "5"];
        let created = operator.run(&[&id[..], &terms].concat()).await;
        created.expect("created");
        if bug.is_of_pool() {
            world.write_codes(&campaign);
            let file = &world.code_files(&campaign)[0];
            let load = ["codes", "load", "--campaign", &campaign, "--input", file];
            operator.run(&load).await.expect("loaded");
        }
        let keys = CodeKeys::new([key]);
        let mut story = Self {
            bug,
            signed: SignedCodes {
                campaign: campaign.parse().expect("a campaign"),
                key: keys.newest().expect("a key"),
                keys,
            },
            redis: world.redis_connection().await.expect("Redis"),
            operator,
            history: History::default(),
            operated: Operated::default(),
            told: BTreeMap::new(),
        };
        for user_id in [
            "user-a", "user-b", "user-c", "user-d", "user-e", "user-f", "user-g",
        ] {
            story.apply(user_id).await;
        }
        story.cancel("user-e").await;
        until("the coupons have rows", async || {
            let count = world.database.count(&campaign).await.ok()?;
            (count == 3).then_some(())
        })
        .await;
        story.redeem("user-b", 2, "order-1").await;
        story.redeem("user-b", 2, "order-2").await;
        story.cancel("user-b").await;
        // Frees a serial for d, and then one for f.
        story.cancel("user-a").await;
        story.cancel("user-c").await;
        story.apply("user-d").await;
        story.apply("user-f").await;
        let ends = story.end().await;
        story.cancel("user-d").await;
        let restore = ["restore", &campaign, "--halt", "--wait", "60s"];
        if bug == RedemptionLostByRestore {
            story.operator.run(&restore).await.expect("restored");
        }
        if bug == PoolSetBackByRestore {
            let mut lose = redis::cmd("HDEL");
            lose.arg(Keys::of(&story.signed.campaign).campaign());
            let lost = lose.arg("codes_taken").exec_async(&mut story.redis).await;
            lost.expect("HDEL");
            // It opens the round again, and promotes g.
            story.operator.run(&restore).await.expect("restored");
        }
        story.found(world, &campaign, ends).await
    }

    async fn apply(&mut self, user_id: &str) {
        let applicant: Applicant = user_id.parse().expect("an applicant");
        let (began, call) = (
            Instant::now(),
            apply::call(&self.signed.campaign, &applicant),
        );
        let reply = self.call(apply::SCRIPT.source(), &call).await;
        let decided = apply::decision(&reply).expect("a decision");
        let reply = match &decided.decision {
            Decision::Granted(grant) => Reply::Granted(self.tell(user_id, grant)),
            Decision::AlreadyGranted(grant) => Reply::AlreadyGranted(self.tell(user_id, grant)),
            Decision::Waitlisted(waiting) => Reply::Waitlisted(waiting.position),
            other => Reply::Unexplained(other.as_str().to_owned()),
        };
        self.history.note(Call {
            user_id: user_id.to_owned(),
            began,
            ended: Instant::now(),
            reply,
        });
    }

    /// Runs a script, which may have the bug. Returns nothing if it fails: a bug may make it find a contradiction.
    async fn call(&mut self, source: &str, call: &script::Call) -> Vec<Value> {
        let mut command = redis::cmd("EVAL");
        command.arg(self.bug.planted(source));
        for argument in call.arguments(Eval::BySource).skip(1) {
            command.arg(argument);
        }
        let reply = command.query_async(&mut self.redis).await;
        reply.unwrap_or_default()
    }

    /// Tells a winner the code, as the handler does.
    fn tell(&mut self, user_id: &str, grant: &Grant) -> Place {
        let place = Place::new(grant.round.as_str(), grant.serial.get());
        let mut code = match &grant.code {
            GrantCode::Pool(code) => code.as_ref().expect("a code").as_str().to_owned(),
            _ => {
                let code = self.signed.code(user_id, &place, grant.turn.get());
                code.expect("a code")
            }
        };
        if let (CodeToldTwice, Some(told)) = (self.bug, self.told.get(&place)) {
            code.clone_from(told);
        }
        self.told.insert(place.clone(), code.clone());
        self.history.note_code(user_id, place.clone(), code);
        place
    }

    async fn cancel(&mut self, user_id: &str) {
        let applicant: Applicant = user_id.parse().expect("an applicant");
        let call = cancel::call(&self.signed.campaign, &applicant, None);
        let began = Instant::now();
        let reply = self.call(cancel::SCRIPT.source(), &call).await;
        let reply = match cancel::outcome(&reply) {
            Ok(CancelOutcome::Left { .. }) => CancelReply::Left,
            Ok(
                CancelOutcome::Revoked { grant, .. } | CancelOutcome::AlreadyRevoked { grant, .. },
            ) => CancelReply::GivenBack(Place::new(grant.round.as_str(), grant.serial.get())),
            Ok(CancelOutcome::Redeemed) => CancelReply::Redeemed,
            other => CancelReply::Unexplained(format!("{other:?}")),
        };
        self.history.note_cancel(Cancel {
            user_id: user_id.to_owned(),
            began,
            ended: Instant::now(),
            is_certain: true,
            reply,
        });
    }

    async fn redeem(&mut self, user_id: &str, serial: u32, order: &str) {
        let place = Place::new("once", serial);
        let code = self.told[&place].clone();
        let redeem = ["coupon", "redeem", &code, "--order", order];
        let ended = self.operator.end_of(&redeem).await.expect("run");
        if ended.code == Some(0) {
            let grant = (user_id.to_owned(), place);
            let orders = self.operated.redeemed.entry(grant).or_default();
            orders.insert(order.to_owned());
        }
    }

    /// The round ends now.
    async fn end(&mut self) -> Millis {
        let time: (i64, i64) = redis::cmd("TIME")
            .query_async(&mut self.redis)
            .await
            .expect("TIME");
        let now = time.0 * 1000 + time.1 / 1000 + 1;
        let mut end = redis::cmd("HSET");
        end.arg(Keys::of(&self.signed.campaign).rounds());
        end.arg("once/closes_at").arg(now);
        end.exec_async(&mut self.redis).await.expect("HSET");
        sleep(Duration::from_millis(2)).await;
        Millis::try_from(now).expect("a time")
    }

    /// Waits until nothing is on its way, if the bug allows that, and checks.
    async fn found(self, world: &World, campaign: &str, ends: Millis) -> Vec<String> {
        let rest = match self.bug {
            NoBug => REST,
            _ => REST_WITH_A_BUG,
        };
        let deadline = Instant::now() + rest;
        let evidence = loop {
            match world.stores().read(campaign).await {
                Ok(evidence) if evidence.is_at_rest() || Instant::now() > deadline => {
                    break evidence;
                }
                Err(error) if Instant::now() > deadline => panic!("the stores: {error:#}"),
                _ => sleep(Duration::from_millis(50)).await,
            }
        };
        let expected = Expected {
            quota: 3,
            operated: self.operated,
            codes: (!self.bug.is_of_pool()).then_some(self.signed),
            has_pool: self.bug.is_of_pool(),
            ends: (self.bug != PoolSetBackByRestore).then_some(ends),
            restored: matches!(self.bug, RedemptionLostByRestore | PoolSetBackByRestore),
            ..Expected::default()
        };
        let found = breaches(&expected, &self.history, &evidence);
        found.iter().map(ToString::to_string).collect()
    }
}

impl CouponBug {
    fn is_of_pool(self) -> bool {
        matches!(
            self,
            PoolCodeGivenAgain | PoolCodeOfOlderTurn | PoolSetBackByRestore
        )
    }

    /// The script with the bug, if it belongs there.
    fn planted(self, source: &str) -> String {
        let (script, right, wrong) = match self {
            CodeOfOlderTurn => (
                apply::SCRIPT.source(),
                "codes and revokes and 1 + turns_before(KEYS[8], held_round, serial) or 1",
                "1",
            ),
            PromotionAfterTheEnd => (
                cancel::SCRIPT.source(),
                "if closes_at and now >= closes_at and",
                "if false and",
            ),
            RedeemAndGiveBack => (
                cancel::SCRIPT.source(),
                "(redeemed_of(mark) and 'redeemed')",
                "false",
            ),
            LeaverPromoted => (
                cancel::SCRIPT.source(),
                "redis.call('ZREM', KEYS[6], waitlist_member(round, ticket, user_id))",
                "",
            ),
            FreeSerialGrantedTwice => (
                cancel::SCRIPT.source(),
                "redis.call('ZREM', KEYS[9], member)",
                "",
            ),
            PoolCodeGivenAgain => (
                cancel::SCRIPT.source(),
                "redis.call('HSET', KEYS[1], 'codes_taken', string.sub(code, 2))",
                "",
            ),
            PoolCodeOfOlderTurn => (
                cancel::SCRIPT.source(),
                "code = '#' .. 1 + (redis.call('HGET', KEYS[1], 'codes_taken') or 0)",
                "code = '#' .. number",
            ),
            GivenBackUnsaid => (
                cancel::SCRIPT.source(),
                "emit(KEYS[5], 'coupon.revoked', campaign_id, round, serial, user_id, now, turn, win, code)",
                "",
            ),
            _ => return source.to_owned(),
        };
        if script != source {
            return source.to_owned();
        }
        assert!(
            source.contains(right),
            "{self:?} has no place in its script any more: {right}"
        );
        source.replace(right, wrong)
    }
}
