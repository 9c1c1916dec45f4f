//! Tests that gate and database have the same terms, or that a command makes them agree: after an older version, a
//! loss in Redis, or a change by hand.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};

const LAUNCH: &str = "launch";

/// The arguments that create the campaign with these terms.
fn create<'a>(terms: &[&'a str]) -> Vec<&'a str> {
    [&["campaign", "create", "--id", LAUNCH][..], terms].concat()
}

/// The quota in the database.
async fn quota(system: &System) -> u32 {
    let mut session = system.database.session().await.expect("the database");
    let quota = sqlx::query_scalar("SELECT quota FROM rounds WHERE campaign_id = ?").bind(LAUNCH);
    quota.fetch_one(&mut *session).await.expect("a round")
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_that_differ_are_found_and_repaired() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "5"])).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    system.drained(LAUNCH).await;

    // As an older version left it when an answer was lost: the gate has 25, the database 5.
    launch
        .does(&["campaign", "change", LAUNCH, "--quota", "25"])
        .await;
    let wound = [
        "UPDATE rounds SET quota = 5, closes_at = '2099-01-01 00:00:00'",
        "UPDATE campaigns SET waitlist = 3, user_ids = 'numeric', state = 'paused'",
    ];
    system.database.run(&wound.join("; ")).await.expect("done");
    let found = launch.exits(2, &["audit"]).await;
    for expected in [
        "5 findings",
        "quota of round once: 5 in the database, 25 at the gate",
        "waitlist: 3 in the database, 0 at the gate",
        "user ids: numeric in the database, any at the gate",
        "closes 2099-01-01T00:00:00.000Z in the database, opens now, closes never at the gate",
        "the campaign is paused in the database and running at the gate",
    ] {
        assert!(found.contains(expected), "{expected} is not in: {found}");
    }
    launch.exits(0, &["audit", "--repair"]).await;
    // As before, for the applicants below.
    let any = "UPDATE campaigns SET user_ids = 'any'";
    system.database.run(any).await.expect("done");
    launch.exits(0, &["audit", "--repair"]).await;
    let agreed = launch.exits(0, &["audit"]).await;
    assert!(agreed.contains("all agree"), "{agreed}");
    assert_eq!(quota(&system).await, 5);
    launch
        .has_logged("quota of round once: 5 in the database, 25 at the gate")
        .await;
    assert_eq!(launch.refusal("b").await, (503, "paused".to_owned()));
    launch.does(&["campaign", "resume", LAUNCH]).await;
    assert_eq!(launch.apply("b").await, granted(2));

    // There is still room for what the gate has granted.
    launch.has_rows(2).await;
    system.drained(LAUNCH).await;
    let wound = "UPDATE rounds SET quota = 1";
    system.database.run(wound).await.expect("done");
    let refused = launch.exits(1, &["campaign", "pause", LAUNCH]).await;
    assert!(
        refused.contains("`rushgate audit launch --repair` makes them agree"),
        "{refused}"
    );
    // More rows than the quota is a finding of its own, which ends with the other one.
    launch.exits(2, &["audit", "--repair"]).await;
    launch.exits(0, &["audit"]).await;
    assert_eq!(quota(&system).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_of_an_older_version_promotes_forever_until_it_is_changed() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    let create = create(&["--quota", "1", "--waitlist", "5"]);
    let created = launch.does(&create).await;
    assert!(
        created.ends_with("one per campaign, waitlist 5\n"),
        "{created}"
    );
    // What the migration and an older gate leave: the columns have their defaults, and the fields are missing.
    let older = "UPDATE campaigns SET codes = DEFAULT, self_cancel = DEFAULT, promote_until = DEFAULT, \
         show_remaining = DEFAULT";
    system.database.run(older).await.expect("done");
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut forget = redis::cmd("HDEL");
    forget.arg("rushgate:{launch}:campaign");
    forget.arg(&["codes", "self_cancel", "promote_until", "show_remaining"]);
    forget.exec_async(&mut redis).await.expect("HDEL");
    launch.exits(0, &["audit"]).await;
    // Creating it again is no change, although new campaigns have another rule.
    let again = launch.does(&create).await;
    assert!(again.ends_with("waitlist 5, promotes forever\n"), "{again}");

    assert_eq!(launch.apply("a").await, granted(1));
    for position in 1..=3 {
        let applied = launch.apply(&format!("w{position}")).await;
        assert_eq!(applied, Reply::Waitlisted(position));
    }
    launch.has_rows(1).await;
    let close = ["--closes-at", "2020-01-01T00:00:00Z"];
    let change = ["campaign", "change", LAUNCH];
    launch.does(&[&change[..], &close].concat()).await;
    let revoked = launch.does(&["revoke", LAUNCH, "a"]).await;
    assert!(
        revoked.ends_with("its serial now belongs to w1\n"),
        "{revoked}"
    );

    let rules = [
        "--self-cancel",
        "--promote-until",
        "closes",
        "--valid-until",
        "2099-01-01T00:00:00Z",
    ];
    launch.does(&[&change[..], &rules].concat()).await;
    launch
        .has_logged(
            "self-cancel off -> on; promote until forever -> closes; valid until unset -> 2099-01-01",
        )
        .await;
    let terms = &launch.shown().await["terms"];
    assert!(
        terms["waitlist"] == 5
            && terms["self_cancel"] == true
            && terms["promote_until"] == "closes"
            && terms["valid_until"] == "2099-01-01T00:00:00.000Z",
        "{terms}"
    );
    let revoked = launch.does(&["revoke", LAUNCH, "w1"]).await;
    assert!(revoked.ends_with("its serial is free again\n"), "{revoked}");
    let found = launch.does(&["coupon", "find", "w2"]).await;
    assert!(found.contains("waited in round once since"), "{found}");

    let forever = ["--promote-until", "forever", "--self-cancel=false"];
    let changed = launch.does(&[&change[..], &forever].concat()).await;
    assert!(
        changed.ends_with("; 1 from the waitlist got a coupon\n"),
        "{changed}"
    );
    system.drained(LAUNCH).await;
    launch.exits(0, &["audit"]).await;

    // A gate that is rebuilt knows which coupons are redeemed.
    let redeemed = "UPDATE coupons SET redeemed_at = '2026-01-01' WHERE user_id = 'w2'";
    system.database.run(redeemed).await.expect("done");
    launch.does(&["restore", LAUNCH, "--halt"]).await;
    let found = launch.does(&["coupon", "find", "w2"]).await;
    let expected = "issued once/1, granted at ";
    assert!(
        found.contains(expected) && found.contains(", redeemed at 2026-01-01T00:00:00.000Z"),
        "{found}"
    );
    let refused = launch.exits(1, &["revoke", LAUNCH, "w2"]).await;
    assert!(
        refused.contains("is redeemed, so it cannot be revoked"),
        "{refused}"
    );

    let other = ["--id", "other", "--quota", "1", "--codes", "signed"];
    let refused = launch
        .exits(1, &[&["campaign", "create"][..], &other].concat())
        .await;
    assert!(refused.contains("COUPON_CODE_KEYS"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_per_rule_of_a_campaign_with_winners_stays() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "3"])).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    let wound = "UPDATE campaigns SET one_per = 'round'";
    system.database.run(wound).await.expect("done");
    let refused = launch.exits(1, &["campaign", "pause", LAUNCH]).await;
    for expected in [
        "under the rule of one per campaign",
        "`rushgate audit launch --repair`",
    ] {
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    let found = launch.exits(2, &["audit"]).await;
    let expected = "one per: round in the database, campaign at the gate";
    assert!(
        found.contains(expected) && found.contains("1 finding"),
        "{found}"
    );
    launch.exits(0, &["audit", "--repair"]).await;
    launch.exits(0, &["audit"]).await;
    launch.does(&["campaign", "pause", LAUNCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_finished_first_is_told_also_by_a_command_that_fails() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "3"])).await;
    let interrupted = "INSERT INTO intentions (campaign_id, fencing_token, actor, deed) \
                       SELECT campaign_id, fencing_token, 'kim', '\"pause\"' FROM campaigns";
    for (command, expected) in [
        (
            &["revoke", LAUNCH, "nobody"][..],
            "nobody holds no grant of campaign",
        ),
        (
            &["campaign", "change", LAUNCH, "--round", "none"],
            "has no round none",
        ),
        (
            &["failed", "replay", "launch/1-1"],
            "there is no such dead letter, or it was resolved",
        ),
        (
            &["failed", "discard", "launch/1-1", "--return-serial"],
            "there is no such dead letter, or it was resolved",
        ),
    ] {
        launch.does(&["campaign", "resume", LAUNCH]).await;
        system.database.run(interrupted).await.expect("done");
        let shown = launch.shown().await;
        assert_eq!(shown["unfinished"], "pause by kim", "{command:?}: {shown}");
        let failed = launch.exits(1, command).await;
        let finished = "finished first: pause by kim: campaign launch is paused: ";
        let finished = failed.find(finished).expect(&failed);
        let why = failed.find(expected).expect(&failed);
        assert!(finished < why, "{command:?}: {failed}");
    }
    let shown = launch.shown().await;
    assert!(shown["unfinished"].is_null(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_has_lost_its_schedule_is_told_it_again() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "3"])).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut lose = redis::cmd("DEL");
    lose.arg("rushgate:{launch}:schedule");
    lose.exec_async(&mut redis).await.expect("DEL");
    launch.exits(2, &["audit"]).await;
    launch.exits(0, &["audit", "--repair"]).await;
    launch.exits(0, &["audit"]).await;
    launch.gets("b", Place::new("once", 2)).await;
    assert_eq!(quota(&system).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_makes_room_for_what_the_gate_has_granted() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "3"])).await;
    for (user_id, serial) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(launch.apply(user_id).await, granted(serial), "{user_id}");
    }
    launch.has_rows(3).await;
    system.drained(LAUNCH).await;
    let wound = "UPDATE rounds SET quota = 2; UPDATE campaigns SET state = 'halted'";
    system.database.run(wound).await.expect("done");
    let restored = launch.does(&["restore", LAUNCH]).await;
    assert!(
        restored.contains("the gate had 3 of 3 held grants"),
        "{restored}"
    );
    assert_eq!(quota(&system).await, 3);
    launch
        .has_logged("taken from the gate: once: quota 2 -> 3")
        .await;
    assert_eq!(launch.apply("d").await, Reply::SoldOut);
    let agreed = launch.exits(0, &["audit"]).await;
    assert!(agreed.contains("all agree"), "{agreed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_that_only_one_of_them_knows_is_told_to_the_other() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    launch.does(&create(&["--quota", "3"])).await;
    let halt = "UPDATE campaigns SET state = 'halted'";
    system.database.run(halt).await.expect("done");
    assert_eq!(launch.apply("a").await, granted(1));
    let found = launch.exits(2, &["audit", "--repair"]).await;
    assert!(found.contains("`rushgate restore launch`"), "{found}");
    assert_eq!(launch.refusal("b").await, (503, "halted".to_owned()));
    launch.does(&["restore", LAUNCH]).await;
    assert_eq!(launch.apply("b").await, granted(2));
    launch.has_rows(2).await;
    launch.exits(0, &["audit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_exists_is_enough_also_when_redis_has_lost_it() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    let create = create(&["--quota", "3", "--if-missing"]);
    let launch = View::of(&system, LAUNCH);
    launch.does(&create).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    launch.exits(0, &create).await;

    // A consumer that confirms a grant would halt the campaign first.
    assert_eq!(system.consumers.remove(0).terminate(), Some(0));
    system.crash_redis();
    system.lose_redis_data();
    system.start_redis();
    let launch = View::of(&system, LAUNCH);
    let warned = launch.exits(0, &create).await;
    assert!(
        warned.contains("warning: Redis has lost campaign launch")
            && warned.contains("`rushgate restore launch`"),
        "{warned}"
    );
    launch.exits(1, &create[..6]).await;
    launch.does(&["restore", LAUNCH]).await;
    assert_eq!(launch.apply("b").await, granted(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_of_the_coupons_that_are_left_what_the_operator_allows() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let launch = View::of(&system, LAUNCH);
    let terms = [
        "--quota",
        "10",
        "--waitlist",
        "5",
        "--show-remaining",
        "rough",
    ];
    let created = launch.does(&create(&terms)).await;
    assert!(
        created.ends_with("waitlist 5, remaining coupons rough\n"),
        "{created}"
    );
    let url = format!("{}/v1/campaigns/{LAUNCH}", system.url());
    let told = async |expected: Value| {
        until(&format!("the API tells {expected}"), async || {
            let answer = reqwest::get(&url).await.expect("an answer");
            let body: Value = answer.json().await.expect("JSON");
            let round = &body["round"];
            let rule = &body["rules"]["show_remaining"];
            json!([
                rule,
                round["granted"],
                round["remaining"],
                round["availability"]
            ]) == expected
        })
        .await;
    };
    told(json!(["rough", null, null, "many"])).await;
    for (serial, user_id) in (1..).zip(["a", "b", "c", "d", "e", "f", "g", "h", "i"]) {
        assert_eq!(launch.apply(user_id).await, granted(serial));
    }
    told(json!(["rough", null, null, "few"])).await;
    launch
        .does(&["campaign", "change", LAUNCH, "--show-remaining", "hidden"])
        .await;
    told(json!(["hidden", null, null, null])).await;
    let log = launch.does(&["campaign", "log", LAUNCH]).await;
    assert!(log.contains("show remaining rough -> hidden"), "{log}");
    // Operators see every count.
    let shown = launch.does(&["campaign", "show", LAUNCH]).await;
    assert!(shown.contains("remaining coupons hidden"), "{shown}");
    let remaining = shown
        .lines()
        .find(|line| line.trim_start().starts_with("remaining "));
    assert!(
        remaining.is_some_and(|line| line.ends_with(" 1")),
        "{shown}"
    );

    let wound = "UPDATE campaigns SET show_remaining = 'exact'";
    system.database.run(wound).await.expect("done");
    let found = launch.exits(2, &["audit"]).await;
    let difference = "show remaining: exact in the database, hidden at the gate";
    assert!(found.contains(difference), "{found}");
    launch.exits(0, &["audit", "--repair"]).await;
    launch.exits(0, &["audit"]).await;
    told(json!(["exact", 9, 1, "few"])).await;
}
