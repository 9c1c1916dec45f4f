//! Tests pool codes: they are loaded all or not at all, each grant takes the next one, and it keeps it whatever goes wrong.

use super::{SHOP, ask, codes, exits, give_back, said, told_to_all};
use redis::AsyncTypedCommands;
use rushgate_e2e::check::Expected;
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use rushgate_gate::Keys;
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

/// A system with a campaign with pool codes, and a directory for its files.
struct Pool {
    system: System,
    files: TempDir,
}

impl Pool {
    async fn start(quota: &str) -> Self {
        let identities = [("SPIN_VARIABLE_IDENTITIES", "upstream")];
        let system = System::start_with(Size::ONE_OF_EACH, &identities).await;
        let create = ["campaign", "create", "--id", SHOP, "--codes", "pool"];
        let terms = ["--quota", quota, "--self-cancel"];
        let created = exits(&system, 0, &[&create[..], &terms].concat()).await;
        let warns = format!("has 0 codes for {quota} coupons");
        assert!(created.contains(&warns), "{created}");
        let files = tempfile::tempdir().expect("a directory");
        Self { system, files }
    }

    /// What `codes load` says of a file with this text, with its exit code.
    async fn load(&self, text: &str, failpoint: &str) -> (Option<i32>, String) {
        let file = self.files.path().join("codes.csv");
        fs::write(&file, text).expect("written");
        let file = file.to_str().expect("a path");
        let operator = self.system.operator.with(&[("FAILPOINTS", failpoint)]);
        let load = ["codes", "load", "--campaign", SHOP, "--input", file];
        let ended = operator.end_of(&load).await.expect("run");
        (ended.code, format!("{}{}", ended.stdout, ended.stderr))
    }

    async fn loads(&self, text: &str) -> String {
        let (code, said) = self.load(text, "").await;
        assert_eq!(code, Some(0), "{said}");
        said
    }

    async fn refuses(&self, text: &str, why: &str) {
        let (code, said) = self.load(text, "").await;
        assert!(code == Some(1) && said.contains(why), "{code:?}: {said}");
    }

    async fn audit(&self, says: &str) {
        let found = exits(&self.system, 2, &["audit", SHOP]).await;
        assert!(found.contains(says), "wanted {says}: {found}");
    }

    /// The code that the applicant is told, by PUT and by GET; `None` if it is not loaded.
    async fn code(&self, user_id: &str) -> Option<String> {
        let url = self.system.url();
        let [put, get] = [
            ask(url, user_id, true).await,
            ask(url, user_id, false).await,
        ];
        assert_eq!(put["code"], get["code"], "{put} {get}");
        let is_unavailable = put["code"] == Value::Null;
        assert_eq!(put["code_unavailable"] == true, is_unavailable, "{put}");
        put["code"].as_str().map(str::to_owned)
    }

    async fn show(&self) -> String {
        let shown = exits(&self.system, 0, &["codes", "show", "--campaign", SHOP]).await;
        shown.trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_winner_has_a_code_of_their_own_also_after_giving_back_and_a_lost_redis() {
    let pool = Pool::start("6").await;
    let system = &pool.system;
    assert_eq!(pool.code("a").await, None);
    let loaded = pool.loads("Code,price\nTree-0001,5\n\nTREE 0002,6\n").await;
    let counts = "2 codes loaded, 1 taken, 1 left";
    assert_eq!(
        loaded.trim(),
        format!("campaign shop: 2 codes were added; in all {counts}")
    );
    assert_eq!(pool.show().await, format!("campaign shop: {counts}"));
    assert_eq!(pool.code("a").await.as_deref(), Some("Tree-0001"));
    assert_eq!(pool.code("b").await.as_deref(), Some("TREE 0002"));

    // The reserve is empty: the grant stands, and its code follows.
    assert_eq!(pool.code("c").await, None);
    system.at_rest(SHOP).await;
    pool.audit("once/3 of c waits for its code").await;
    let shown = exits(system, 0, &["campaign", "show", SHOP]).await;
    assert!(
        shown.contains("2 codes loaded, 3 taken: 1 more are needed"),
        "{shown}"
    );
    pool.loads("tree-3\ntree-4\ntree-5\ntree-6\ntree-7\ntree-8\n")
        .await;
    assert_eq!(pool.code("c").await.as_deref(), Some("tree-3"));
    exits(system, 0, &["audit", SHOP]).await;
    let found = codes(system).await;
    assert_eq!(found["a"], "Tree-0001");
    assert_eq!(found["c"], "tree-3");

    // What is given back or revoked is not given again.
    assert_eq!(give_back(system.url(), "b").await.0, 0);
    exits(system, 0, &["revoke", SHOP, "c"]).await;
    let freed = until("a freed place is granted", async || {
        let answer = ask(system.url(), "d", true).await;
        (answer["decision"] == "granted").then_some(answer)
    });
    let freed = freed.await;
    assert_eq!(
        (&freed["serial"], &freed["code"]),
        (&2.into(), &"tree-4".into())
    );
    assert_eq!(pool.code("e").await.as_deref(), Some("tree-5"));
    system.at_rest(SHOP).await;

    // At the till.
    let redeem = ["coupon", "redeem", "TREE oooi", "--order", "A-1"];
    let redeemed = exits(system, 0, &redeem).await;
    assert!(
        redeemed.contains("coupon shop/once/1 of a is redeemed"),
        "{redeemed}"
    );
    let revoked = exits(system, 1, &["coupon", "redeem", "tree0002"]).await;
    assert!(revoked.contains("was revoked"), "{revoked}");
    let unused = exits(system, 1, &["coupon", "show", "tree-8"]).await;
    assert!(unused.contains("no coupon has this code"), "{unused}");
    let list = exits(system, 0, &["coupon", "list", "--campaign", SHOP]).await;
    assert!(list.contains("once,1,a,Tree-0001,active,"), "{list}");

    // Redis loses the campaign: each winner has the same code, and the next one another.
    let before = codes(system).await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let keys = Keys::of(&SHOP.parse().expect("an id"));
    redis.del(&keys.all()).await.expect("DEL");
    exits(system, 0, &["restore", SHOP, "--wait", "60s"]).await;
    exits(system, 0, &["audit", SHOP]).await;
    assert_eq!(codes(system).await, before);
    for (user_id, code) in [("a", "Tree-0001"), ("d", "tree-4"), ("e", "tree-5")] {
        assert_eq!(pool.code(user_id).await.as_deref(), Some(code), "{user_id}");
    }
    assert_eq!(pool.code("f").await.as_deref(), Some("tree-6"));
    // An operator who fears that a lost grant had taken the next code.
    exits(
        system,
        0,
        &[
            "restore",
            SHOP,
            "--halt",
            "--skip-codes",
            "1",
            "--wait",
            "60s",
        ],
    )
    .await;
    assert_eq!(pool.code("g").await.as_deref(), Some("tree-8"));
    system.at_rest(SHOP).await;
    assert!(told_to_all(system).await.contains("shop"));

    // What the audit names, each with its way out.
    system
        .database
        .run("UPDATE coupons SET code_number = NULL WHERE user_id = 'd'")
        .await
        .expect("planted");
    pool.audit("of d has a row without its code").await;
    exits(system, 0, &["coupon", "codes", "--campaign", SHOP]).await;
    system
        .database
        .run("UPDATE coupons SET code_number = 50 WHERE user_id = 'd'")
        .await
        .expect("planted");
    pool.audit("of d has a row with a code that is not its own")
        .await;
    system
        .database
        .run("UPDATE coupons SET code_number = NULL WHERE user_id = 'd'")
        .await
        .expect("changed");
    exits(system, 0, &["coupon", "codes", "--campaign", SHOP]).await;
    redis.del(keys.codes()).await.expect("DEL");
    pool.audit("the gate has not all codes").await;
    exits(system, 0, &["coupon", "codes", "--campaign", SHOP]).await;
    assert_eq!(exits(system, 0, &["audit", SHOP]).await.lines().count(), 1);
    assert_eq!(pool.code("d").await.as_deref(), Some("tree-4"));
    redis
        .hset(keys.campaign(), "codes_taken", 2)
        .await
        .expect("HSET");
    pool.audit("the gate would give codes that are taken").await;
    let held = redis
        .hget(keys.grants(), "d")
        .await
        .expect("HGET")
        .expect("held");
    let without = held.replace("#4", "");
    redis.hset(keys.grants(), "d", without).await.expect("HSET");
    pool.audit("of d was granted without a code by a handler of an older version")
        .await;
    let as_of_a = held.replace("#4", "#1");
    redis.hset(keys.grants(), "d", as_of_a).await.expect("HSET");
    pool.audit("has the code of another grant at the gate")
        .await;
    exits(system, 0, &["restore", SHOP, "--halt", "--wait", "60s"]).await;
    exits(system, 0, &["audit", SHOP]).await;
    assert_eq!(pool.code("d").await.as_deref(), Some("tree-4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_loaded_all_or_not_at_all() {
    let pool = Pool::start("5").await;
    let system = &pool.system;
    let create = ["campaign", "create", "--id", "other", "--codes", "pool"];
    exits(system, 0, &[&create[..], &["--quota", "5"]].concat()).await;
    pool.loads("1111\n2222\n").await;
    let other = pool.files.path().join("codes.csv");
    let other = other.to_str().expect("a path");
    let elsewhere = ["codes", "load", "--campaign", "other", "--input", other];
    let refused = exits(system, 1, &elsewhere).await;
    assert!(
        refused.contains("line 1 has a code of campaign shop; line 2 has"),
        "{refused}"
    );

    for (text, why) in [
        ("3333\n33-33\n", "line 2 has the same code as line 1"),
        (
            "code\n3333\n2 2 2 2\n",
            "line 3 has code 2 of this campaign",
        ),
        (
            "3333\nabc\nGrün-44\n",
            "2 lines are refused: line 2 is not a coupon code: it has 4 to 64",
        ),
        (
            "2222\n1111\n",
            "line 1 has code 2 of this campaign; line 2 has code 1",
        ),
        ("code\n", "the input has no code"),
        (
            "Coupon code\n3333\n4444;5\n",
            "2 lines are refused: line 1 looks like a header: codes are in the first column, which is named `code`",
        ),
        ("code\n4444;5\n", "line 2 has a semicolon in its code"),
    ] {
        pool.refuses(text, why).await;
        assert!(pool.show().await.contains(": 2 codes loaded,"), "{text}");
    }
    let stdin = exits(system, 1, &["codes", "load", "--campaign", SHOP]).await;
    assert!(stdin.contains("the input has no code"), "{stdin}");
    let many = (1..=2_500).map(|number| format!("many-{number:05}\n"));
    let many: String = many.collect();
    let doubled = format!("{many}MANY 00001\n");
    pool.refuses(
        &doubled,
        "1 lines are refused: line 2501 has the same code as line 1",
    )
    .await;

    // Killed before the commit, and after it; then the same command again.
    let (code, text) = pool
        .load(&many, "operator::codes_inserted=1*off->return")
        .await;
    assert_eq!(code, None, "{text}");
    assert!(pool.show().await.contains(": 2 codes loaded,"));
    let (code, text) = pool.load(&many, "operator::codes_committed=return").await;
    assert_eq!(code, None, "{text}");
    pool.audit("the gate has not all codes").await;
    let again = pool.loads(&many).await;
    assert!(
        again.contains("all 2500 codes were loaded before; in all 2502 codes loaded, 0 taken"),
        "{again}"
    );
    exits(system, 0, &["audit", SHOP]).await;
    for (user_id, code) in [("a", "1111"), ("b", "2222"), ("c", "many-00001")] {
        assert_eq!(pool.code(user_id).await.as_deref(), Some(code));
    }
    let none = ["campaign", "create", "--id", "none", "--quota", "5"];
    exits(system, 0, &none).await;
    let (ended, text) = said(system, &["codes", "load", "--campaign", "none"]).await;
    assert!(
        ended == 1 && text.contains("campaign none has no pool of codes"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_takes_each_code_once_and_the_last_ones_follow() {
    let pool = Pool::start("100").await;
    let codes = |numbers: std::ops::Range<u32>| -> String {
        numbers
            .map(|number| format!("rush-{number:04}\n"))
            .collect()
    };
    pool.loads(&codes(0..60)).await;
    let outcome = rush::run(&pool.system.rush(SHOP, 300), || ())
        .await
        .expect("a rush");
    assert_eq!(outcome.history.codes.len(), 60);
    pool.loads(&codes(60..120)).await;
    let expected = Expected {
        has_pool: true,
        ..Expected::once(100, 300)
    };
    let found = pool.system.check(&expected, SHOP, &outcome).await;
    assert_eq!(found, [], "{found:?}");
    let rows = pool.system.database.codes(SHOP).await.expect("rows");
    assert!(rows.iter().all(|row| row.code.is_some()), "{rows:?}");
    exits(&pool.system, 0, &["audit", SHOP]).await;
}
