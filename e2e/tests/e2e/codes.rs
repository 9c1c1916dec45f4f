//! Tests coupon codes, here signed ones: only the winner can read a code, a coupon is redeemed at most once, even by two tills at
//! the same moment, and codes and redemptions survive failures.

mod pool;

use rdkafka::Message;
use reqwest::{Client, StatusCode};
use rushgate_e2e::check::{Expected, SignedCodes};
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use rushgate_gate::CodeKeys;
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::collections::BTreeMap;

const SHOP: &str = "shop";
const KEY: &str = "the first key of the codes: 32 or more";
const LATER_KEY: &str = "a later key of the codes: 32 or more";

/// A system whose programs have the key, with a campaign with signed codes.
async fn shop(size: Size, quota: &str) -> System {
    let settings = [
        ("COUPON_CODE_KEYS", KEY),
        ("SPIN_VARIABLE_COUPON_CODE_KEYS", KEY),
        ("SPIN_VARIABLE_IDENTITIES", "upstream"),
    ];
    let system = System::start_with(size, &settings).await;
    let create = ["campaign", "create", "--id", SHOP, "--codes", "signed"];
    let create = [&create[..], &["--quota", quota, "--self-cancel"]].concat();
    system.operator.run(&create).await.expect("created");
    system
}

fn signed() -> SignedCodes {
    let keys = CodeKeys::new([KEY]);
    SignedCodes {
        campaign: SHOP.parse().expect("a campaign"),
        key: keys.newest().expect("a key"),
        keys,
    }
}

/// The response to PUT (`apply`) or GET for an application at this handler.
async fn ask(url: &str, user_id: &str, apply: bool) -> Value {
    let url = format!("{url}/v1/campaigns/{SHOP}/applications/{user_id}");
    let request = match apply {
        true => Client::new().put(url),
        false => Client::new().get(url),
    };
    let response = request.send().await.expect("an answer");
    response.json().await.expect("JSON")
}

/// Gives the coupon back by DELETE: 0 if that was done, 1 if the coupon is redeemed; with the response.
async fn give_back(url: &str, user_id: &str) -> (i32, String) {
    let url = format!("{url}/v1/campaigns/{SHOP}/applications/{user_id}");
    let response = Client::new().delete(url).send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("a body");
    match status {
        StatusCode::OK => (0, text),
        StatusCode::CONFLICT if text.contains("coupon_redeemed") => (1, text),
        other => panic!("{other}: {text}"),
    }
}

/// The exit code of the command, and what it said.
async fn said(system: &System, words: &[&str]) -> (i32, String) {
    let ended = system.operator.end_of(words).await.expect("run");
    let code = ended.code.expect("an exit code");
    (code, ended.said())
}

/// What the command said, which must end with this exit code.
async fn exits(system: &System, code: i32, words: &[&str]) -> String {
    let (ended, text) = said(system, words).await;
    assert_eq!(ended, code, "{words:?}: {text}");
    text
}

/// The codes in the rows, by applicant.
async fn codes(system: &System) -> BTreeMap<String, String> {
    let rows = system.database.codes(SHOP).await.expect("rows");
    let codes = rows.into_iter().map(|row| (row.user_id, row.code));
    let codes = codes.filter_map(|(user_id, code)| Some((user_id, code?)));
    codes.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_tells_each_winner_the_code_of_their_row_and_no_one_else() {
    let mut system = shop(Size::ONE_OF_EACH, "100").await;
    let outcome = rush::run(&system.rush(SHOP, 300), || ())
        .await
        .expect("a rush");
    let expected = Expected {
        codes: Some(signed()),
        ..Expected::once(100, 300)
    };
    let found = system.check(&expected, SHOP, &outcome).await;
    assert_eq!(found, [], "{found:?}");
    assert_eq!(outcome.history.codes.len(), 100);
    let (user_id, code) = codes(&system).await.pop_first().expect("a winner");
    assert_eq!(
        ask(system.url(), &user_id, true).await["code"],
        code.as_str()
    );
    assert_eq!(
        ask(system.url(), &user_id, false).await["code"],
        code.as_str()
    );

    // A handler that cannot know who asks, and one with another key.
    for (number, (identities, key)) in [("unproven", KEY), ("upstream", LATER_KEY)]
        .iter()
        .enumerate()
    {
        system.set("SPIN_VARIABLE_IDENTITIES", identities);
        system.set("SPIN_VARIABLE_COUPON_CODE_KEYS", key);
        system.start_handler().await;
        let url = format!("http://{}", system.handler_addresses()[number + 1]);
        for apply in [true, false] {
            let answer = ask(&url, &user_id, apply).await;
            assert_eq!(answer["user_id"], user_id.as_str(), "{answer}");
            assert_eq!(answer["code"], Value::Null, "{answer}");
            let is_unavailable = answer["code_unavailable"] == true;
            assert_eq!(is_unavailable, *identities == "upstream", "{answer}");
        }
    }
    // Once an instance, of which there are a few, not for each request.
    let url = format!("http://{}", system.handler_addresses()[2]);
    for _ in 0..20 {
        ask(&url, &user_id, false).await;
    }
    let logged = system.handler(2).log().matches("lacks the key").count();
    assert!((1..10).contains(&logged), "{logged} times");
    assert!(told_to_all(&system).await.contains(&user_id));
}

/// Logs, metrics and records, none of which has a code of a row.
async fn told_to_all(system: &System) -> String {
    let (topic, mut public) = (system.stores(), system.logs());
    public += &(system.consumers[0].log() + &system.bridges[0].log());
    public += &system.metrics("consumer-0").await.expect("metrics");
    let public = tokio::task::spawn_blocking(move || {
        let read = topic.read_topic(|record| {
            public += &String::from_utf8_lossy(record.payload().unwrap_or_default());
        });
        read.expect("the topic");
        public
    });
    let public = public.await.expect("read");
    let codes = codes(system).await;
    assert!(codes.values().all(|code| !public.contains(code)));
    public
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_redeemed_once_whoever_comes_at_the_same_moment() {
    let mut system = shop(Size::ONE_OF_EACH, "30").await;
    for number in 1..=30 {
        ask(system.url(), &format!("u{number}"), true).await;
    }
    system.at_rest(SHOP).await;
    let code = codes(&system).await;
    let redeem = async |user_id: &str, order: &str| {
        let words = ["coupon", "redeem", &code[user_id], "--order", order];
        said(&system, &words).await
    };

    // However it is typed; again for the same order; not for another one, and not without one.
    let typed = code["u1"].replace('-', " ").to_lowercase();
    let (ended, text) = said(&system, &["coupon", "redeem", &typed, "--order", "A-1"]).await;
    assert_eq!(
        (ended, text.trim()),
        (0, "coupon shop/once/1 of u1 is redeemed for order A-1")
    );
    let (ended, text) = redeem("u1", "A-1").await;
    assert!(
        ended == 0 && text.contains("was redeemed for order A-1 already, at 20"),
        "{text}"
    );
    let (ended, text) = redeem("u1", "A-2").await;
    assert!(ended == 1 && text.contains(" for order A-1"), "{text}");
    let (ended, text) = said(&system, &["coupon", "redeem", &code["u1"]]).await;
    assert!(
        ended == 1 && text.contains("was redeemed before, at 20"),
        "{text}"
    );
    assert!(ask(system.url(), "u1", false).await["redeemed_at"].is_string());
    let (ended, text) = said(&system, &["revoke", SHOP, "u1"]).await;
    assert!(ended == 1 && text.contains("is redeemed"), "{text}");
    let (ended, text) = said(&system, &["coupon", "redeem", "0000-0000-0000-0000"]).await;
    assert!(
        ended == 1 && text.contains("no coupon has this code"),
        "{text}"
    );
    let (ended, text) = said(&system, &["coupon", "redeem", "00-0"]).await;
    assert!(
        ended == 1 && text.contains("is not a coupon code"),
        "{text}"
    );
    let shown = exits(&system, 0, &["coupon", "show", &code["u1"]]).await;
    assert!(
        shown.contains("of u1: redeemed") && shown.contains("for order A-1"),
        "{shown}"
    );

    // Two tills with one code: one of them redeems it.
    for user_id in ["u2", "u3", "u4", "u5", "u6"] {
        let (one, other) = tokio::join!(redeem(user_id, "left"), redeem(user_id, "right"));
        assert_eq!(one.0 + other.0, 1, "{user_id}: {one:?} {other:?}");
    }
    // Redeemed and given back, or revoked, at the same moment: one of the two happens.
    let revoke = async |user_id: &str| said(&system, &["revoke", SHOP, user_id]).await;
    for user_id in ["u7", "u8", "u9", "u10", "u11", "u12"] {
        let give_back = async || match user_id.len() {
            2 => revoke(user_id).await,
            _ => give_back(system.url(), user_id).await,
        };
        let (redeemed, revoked) = tokio::join!(redeem(user_id, "A"), give_back());
        assert_eq!(
            redeemed.0 + revoked.0,
            1,
            "{user_id}: {redeemed:?} {revoked:?}"
        );
        let state = ask(system.url(), user_id, false).await;
        let is_revoked = state["decision"] == "revoked";
        assert_eq!(is_revoked, revoked.0 == 0, "{user_id}: {state}");
    }
    assert_eq!(revoke("u13").await.0, 0);
    let (ended, text) = redeem("u13", "A").await;
    assert!(ended == 1 && text.contains("cannot be redeemed"), "{text}");
    // Not any more, except what an interrupted command has begun: u15 is marked at the gate.
    let mut redis = system.redis_connection().await.expect("Redis");
    let grants = "rushgate:{shop}:grants";
    let held: String = redis::cmd("HGET")
        .arg(grants)
        .arg("u15")
        .query_async(&mut redis)
        .await
        .expect("held");
    let marked = format!("{held}/1796087000000");
    let () = redis::cmd("HSET")
        .arg(grants)
        .arg("u15")
        .arg(marked)
        .query_async(&mut redis)
        .await
        .expect("marked");
    let found = exits(&system, 2, &["audit", SHOP]).await;
    assert!(
        found.contains("u15 is redeemed at the gate, and its row is not"),
        "{found}"
    );
    let expire = "UPDATE campaigns SET valid_until = '2020-01-01'";
    system.database.run(expire).await.expect("changed");
    let (ended, text) = redeem("u14", "A").await;
    assert!(
        ended == 1 && text.contains("was valid until 2020-01-01T00:00:00.000Z"),
        "{text}"
    );
    let (ended, text) = redeem("u15", "A").await;
    assert!(ended == 0, "{text}");

    // A program without the key hands out and writes no code, and says so.
    system.consumers.pop().expect("a consumer").terminate();
    system
        .start_consumer_with(&[("COUPON_CODE_KEYS", LATER_KEY)])
        .await;
    let before = codes(&system).await;
    let freed = until("a freed place is granted", async || {
        let answer = ask(system.url(), "late", true).await;
        (answer["decision"] == "granted").then_some(answer)
    });
    let freed = freed.await;
    system.drained(SHOP).await;
    let metrics = system.metrics("consumer-0").await.expect("metrics");
    assert!(
        metrics.contains("rushgate_consumer_rows_without_code_total 1"),
        "{metrics}"
    );
    let found = exits(&system, 2, &["audit", SHOP]).await;
    assert!(
        found.contains("of late has a row without its code"),
        "{found}"
    );
    let foreign = system.operator.with(&[("COUPON_CODE_KEYS", LATER_KEY)]);
    let refused = foreign.run(&["coupon", "codes", "--campaign", SHOP]).await;
    let refused = refused.expect_err("another key").to_string();
    assert!(refused.contains("lacks the key"), "{refused}");
    let wrote = exits(&system, 0, &["coupon", "codes", "--campaign", SHOP]).await;
    assert_eq!(wrote.trim(), "campaign shop: 1 codes written");
    assert_eq!(
        codes(&system).await["late"],
        freed["code"].as_str().expect("a code")
    );

    // Redis loses everything: codes and redemptions are what they were.
    let restore = ["restore", SHOP, "--halt", "--wait", "60s"];
    let restored = exits(&system, 0, &restore).await;
    assert_eq!(
        exits(&system, 0, &["audit", SHOP]).await.lines().count(),
        1,
        "{restored}"
    );
    let mut after = codes(&system).await;
    after.remove("late");
    assert_eq!(after, before);
    assert!(ask(system.url(), "u1", false).await["redeemed_at"].is_string());
    assert_eq!(
        ask(system.url(), "u1", false).await["code"],
        code["u1"].as_str()
    );

    let wrong = "UPDATE coupons SET code = '0000-0000-0000-0000' WHERE user_id = 'u20'";
    system.database.run(wrong).await.expect("planted");
    let found = exits(&system, 2, &["audit", SHOP]).await;
    assert!(
        found.contains("of u20 has a row with a code that is not its own"),
        "{found}"
    );

    let list = exits(&system, 0, &["coupon", "list", "--campaign", SHOP]).await;
    let first = list.lines().nth(1).expect("a row");
    let of_u1 = format!("once,1,u1,{},active,", code["u1"]);
    assert!(
        first.starts_with(&of_u1) && first.ends_with(",A-1"),
        "{first}"
    );
    let json = system
        .operator
        .json(&["coupon", "list", "--campaign", SHOP]);
    let json = json.await.expect("a list");
    assert_eq!(json.len(), list.lines().count() - 1);
    assert_eq!(json[0]["code"], code["u1"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_with_codes_needs_a_key_and_keeps_it() {
    let system = System::start(Size::NONE).await;
    let create = [
        "campaign", "create", "--id", SHOP, "--quota", "5", "--codes",
    ];
    let with = async |keys: &str, codes: &str| {
        let operator = system.operator.with(&[("COUPON_CODE_KEYS", keys)]);
        operator.run(&[&create[..], &[codes]].concat()).await
    };
    let refused = with("", "signed").await.expect_err("no key").to_string();
    assert!(refused.contains("--codes signed needs a key"), "{refused}");
    with(KEY, "signed").await.expect("created");
    // The same command again, when the key has been replaced.
    let keys = format!("{LATER_KEY},{KEY}");
    with(&keys, "signed").await.expect("it exists");
    let other = with(&keys, "none")
        .await
        .expect_err("other terms")
        .to_string();
    assert!(other.contains("exists with other terms"), "{other}");
    let key: String = sqlx::query_scalar("SELECT code_key FROM campaigns")
        .fetch_one(
            &sqlx::MySqlPool::connect(system.database_url())
                .await
                .expect("a pool"),
        )
        .await
        .expect("a key");
    assert_eq!(key, signed().key.to_string());
}
