//! Tests operator commands that change running campaigns.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn quotas_go_up_at_once_and_down_to_what_is_given() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, "launch");
    launch
        .does(&[
            "campaign",
            "create",
            "--id",
            "launch",
            "--quota",
            "2",
            "--waitlist",
            "2",
        ])
        .await;
    for (user_id, reply) in [
        ("a", granted(1)),
        ("b", granted(2)),
        ("c", Reply::Waitlisted(1)),
        ("d", Reply::Waitlisted(2)),
        ("e", Reply::SoldOut),
    ] {
        assert_eq!(launch.apply(user_id).await, reply, "{user_id}");
    }
    let refused = launch
        .cannot(&["campaign", "change", "launch", "--quota", "1"])
        .await;
    assert!(
        refused.contains("given out serials up to 2: choose a --quota of at least 2"),
        "{refused}"
    );

    let raised = [
        "campaign",
        "change",
        "launch",
        "--quota",
        "5",
        "--reason",
        "another box",
    ];
    let said = launch.does(&raised).await;
    assert!(
        said.contains("changed: quota 5") && said.contains("2 from the waitlist got a coupon"),
        "{said}"
    );
    let said = launch.does(&raised).await;
    assert!(said.contains("unchanged: quota 5"), "{said}");
    assert_eq!(
        launch.apply("c").await,
        Reply::AlreadyGranted(Place::new("once", 3))
    );
    launch.gets("e", Place::new("once", 5)).await;
    let said = launch
        .does(&["campaign", "change", "launch", "--waitlist", "0"])
        .await;
    assert!(!said.contains("waitlist"), "{said}");
    assert_eq!(launch.apply("f").await, Reply::SoldOut);

    system.drained("launch").await;
    until("all five have their rows", async || {
        (system.database.count("launch").await.expect("the database") == 5).then_some(())
    })
    .await;
    let log = launch.json(&["campaign", "log", "launch"]).await;
    assert_eq!(log.len(), 3, "{log:?}");
    for (line, (action, detail, reason)) in log.iter().zip([
        (
            "created",
            "quota 2, opens now, closes never, one per campaign, waitlist 2",
            None,
        ),
        ("changed", "once: quota 2 -> 5", Some("another box")),
        ("changed", "waitlist 2 -> 0", None),
    ]) {
        assert_eq!(line["action"], action, "{line}");
        assert_eq!(line["detail"], detail, "{line}");
        assert_eq!(line["reason"].as_str(), reason, "{line}");
        assert!(line["actor"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_paused_resumed_and_closed() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let launch = View::of(&system, "launch");
    launch
        .does(&["campaign", "create", "--id", "launch", "--quota", "5"])
        .await;
    assert_eq!(launch.apply("a").await, granted(1));
    for (command, state, refusal) in [
        ("pause", "paused", Some((503, "paused"))),
        ("resume", "running", None),
        ("close", "closed", Some((410, "closed"))),
    ] {
        let said = launch
            .does(&["campaign", command, "launch", "--reason", "as agreed"])
            .await;
        assert_eq!(
            said.trim(),
            format!("campaign launch is {state}"),
            "{command}"
        );
        let said = launch.does(&["campaign", command, "launch"]).await;
        assert_eq!(
            said.trim(),
            format!("campaign launch is {state} already"),
            "{command}"
        );
        match refusal {
            Some((status, code)) => {
                assert_eq!(
                    launch.refusal("c").await,
                    (status, code.to_owned()),
                    "{command}"
                );
            }
            None => assert_eq!(launch.apply("b").await, granted(2), "{command}"),
        }
    }
    // Winners keep their coupons, and a closed campaign stays closed.
    assert_eq!(
        launch.apply("a").await,
        Reply::AlreadyGranted(Place::new("once", 1))
    );
    for command in ["pause", "resume"] {
        let refused = launch.cannot(&["campaign", command, "launch"]).await;
        assert!(
            refused.contains("closed for good"),
            "{command:?}: {refused}"
        );
    }
    let refused = launch
        .cannot(&["campaign", "change", "launch", "--quota", "9"])
        .await;
    assert!(refused.contains("closed for good"), "{refused}");
    assert_eq!(
        launch.actions().await,
        ["created", "paused", "resumed", "closed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_added_and_removed_while_they_have_no_winners() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let advent = View::of(&system, "advent");
    #[rustfmt::skip]
    let terms = [
        "campaign", "create", "--id", "advent", "--quota", "100", "--one-per", "round", "--from", "2126-12-01",
        "--to", "2126-12-25", "--daily", "10:00", "--for", "2h", "--timezone", "Asia/Seoul",
    ];
    for _ in 0..2 {
        let said = advent.does(&terms).await;
        assert!(
            said.contains(
                "daily at 10:00:00 for 2h in Asia/Seoul, 2126-12-01 to 2126-12-25 (25 rounds)"
            ),
            "{said}"
        );
    }
    assert_eq!(advent.refusal("a").await, (409, "not_open".to_owned()));
    for (to, rounds) in [("2127-11-30", 365), ("2126-12-03", 3)] {
        let said = advent
            .does(&["campaign", "change", "advent", "--to", to])
            .await;
        assert!(said.contains(&format!("({rounds} rounds)")), "{to}: {said}");
    }
    let shown = advent.shown().await;
    assert_eq!(
        shown["next_round"],
        json!({"round": "2126-12-01", "opens_at": "2126-12-01T01:00:00.000Z"}),
        "{shown}"
    );

    // An applicant wins on the second day, which therefore cannot be removed.
    let now = [
        "--opens-at",
        "2026-01-01T00:00:00Z",
        "--closes-at",
        "2125-01-01T00:00:00Z",
    ];
    let today = ["campaign", "change", "advent", "--round", "2126-12-02"];
    advent.does(&[&today[..], &now[..]].concat()).await;
    advent.gets("a", Place::new("2126-12-02", 1)).await;
    let refused = advent
        .cannot(&["campaign", "change", "advent", "--to", "2126-12-01"])
        .await;
    assert!(
        refused.contains("round 2126-12-02 of campaign"),
        "{refused}"
    );
    let shown = advent.shown().await;
    let rounds = shown["terms"]["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.len(), 3, "{shown}");
    let round = &shown["round"];
    assert!(
        round["round"] == "2126-12-02" && round["quota"] == 100,
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_deadlock_took_back_is_made_again() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let launch = View::of(&system, "launch");
    launch
        .does(&["campaign", "create", "--id", "launch", "--quota", "2"])
        .await;
    // The other transaction holds the round and waits for the campaign; the operator's holds the campaign and waits for
    // the round. The other one has changed more, so it is not the deadlock victim.
    let mut rival = system.database.session().await.expect("a session");
    let mut does = async |statement: &'static str| {
        let done = sqlx::raw_sql(statement).execute(&mut *rival).await;
        done.expect(statement);
    };
    does("BEGIN").await;
    does("INSERT INTO campaigns (campaign_id, state, one_per) VALUES ('a', 'closed', 'round'), ('b', 'closed', 'round')").await;
    does("UPDATE rounds SET quota = 3").await;
    let change = ["campaign", "change", "launch", "--quota", "5"];
    let (said, ()) = tokio::join!(launch.does(&change), async {
        until("the operator has the campaign", async || {
            let take = "SELECT state FROM campaigns WHERE campaign_id = 'launch' FOR UPDATE NOWAIT";
            system.database.run(take).await.is_err().then_some(())
        })
        .await;
        does("UPDATE campaigns SET waitlist = 1 WHERE campaign_id = 'launch'").await;
        does("ROLLBACK").await;
    });
    assert!(said.contains("changed: quota 5"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_says_what_to_do_next() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let launch = View::of(&system, "launch");
    launch
        .does(&["campaign", "create", "--id", "launch", "--quota", "5"])
        .await;
    for (arguments, expected) in [
        (
            vec!["revoke", "launch", "nobody"],
            "rushgate coupon find nobody",
        ),
        (vec!["revoke", "nope", "a"], "rushgate campaign list"),
        (vec!["campaign", "pause", "nope"], "rushgate campaign list"),
        (
            vec!["campaign", "change", "launch", "--to", "2126-01-01"],
            "use --closes-at for this one",
        ),
        (
            vec![
                "campaign", "change", "launch", "--round", "monday", "--quota", "6",
            ],
            "it has once",
        ),
        (
            vec![
                "campaign",
                "create",
                "--id",
                "x",
                "--quota",
                "1",
                "--from",
                "2126-01-01",
            ],
            "--timezone",
        ),
        (
            vec!["campaign", "create", "--id", "x", "--quota", "0"],
            "whole number from 1",
        ),
        (
            vec!["campaign", "change", "launch", "--user-ids", "numeric"],
            "unexpected argument '--user-ids'",
        ),
        (
            vec![
                "campaign",
                "create",
                "--id",
                "x",
                "--quota",
                "1",
                "--user-ids",
                "unstated",
            ],
            "possible values: any, numeric",
        ),
        (
            vec!["revoke", "launch", "a", "--round", "nope"],
            "has no round nope",
        ),
    ] {
        let refused = launch.cannot(&arguments).await;
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
    // A campaign in which no coupon can be won any more is probably a mistake.
    let create = ["campaign", "create", "--id", "late", "--quota", "1"];
    let late = [&create[..], &["--closes-at", "2024-12-01T10:00:00Z"]].concat();
    let said = launch.exits(0, &late).await;
    let warning =
        "warning: campaign late: it is over: its last round closed at 2024-12-01T10:00:00.000Z";
    assert!(said.contains(warning), "{said}");
    let list = launch.does(&["campaign", "list"]).await;
    assert_eq!(list.matches("once (over)").count(), 1, "{list}");
    let show = launch.does(&["campaign", "show", "late"]).await;
    assert!(show.contains("round once (over)"), "{show}");
    // So is a mistyped change.
    let past = ["--closes-at", "2024-12-01T10:00:00Z"];
    let soon = ["campaign", "create", "--id", "soon", "--quota", "1"];
    assert!(!launch.exits(0, &soon).await.contains("warning"));
    let said = launch
        .exits(0, &[&["campaign", "change", "soon"], &past[..]].concat())
        .await;
    assert!(
        said.contains("warning: campaign soon: it is over"),
        "{said}"
    );

    // Passwords come from the environment, and are not printed.
    let password = url::Url::parse(&rushgate_e2e::shared::server("DATABASE_URL")).expect("a URL");
    let password = password.password().expect("a password").to_owned();
    for arguments in [
        vec!["--help"],
        vec!["campaign", "create", "--help"],
        vec!["revoke", "--help"],
    ] {
        let help = launch.does(&arguments).await;
        assert!(
            help.contains("DATABASE_URL") && !help.contains(&password),
            "{arguments:?}: {help}"
        );
    }
    let found = launch.does(&["coupon", "find", "nobody"]).await;
    assert!(
        found.contains("they never applied, or were refused"),
        "{found}"
    );
    assert_eq!(launch.apply("a").await, granted(1));
    let found = launch
        .does(&["coupon", "find", "a", "--campaign", "launch"])
        .await;
    assert!(
        found.contains("granted once/1") && found.contains("on its way"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_redis_that_may_lose_grants_are_told_where_they_may_be_asked_for() {
    let mut system = System::start(Size::NONE).await;
    system.operator.create("launch", 1).await.expect("created");
    let commands: [&[&str]; 2] = [&["setup"], &["audit"]];
    {
        let launch = View::of(&system, "launch");
        for command in commands {
            let said = launch.exits(0, command).await;
            assert!(!said.contains("warning: Redis"), "{command:?}: {said}");
        }
    }
    let mut redis = system.redis_connection().await.expect("Redis");
    for (name, value) in [
        ("maxmemory", "0"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendonly", "no"),
    ] {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        set.exec_async(&mut redis).await.expect("set");
    }
    {
        let launch = View::of(&system, "launch");
        for command in commands {
            let said = launch.exits(0, command).await;
            for warning in [
                "maxmemory is not set",
                "maxmemory-policy is allkeys-lru",
                "there is no append-only file",
            ] {
                assert_eq!(
                    said.matches(warning).count(),
                    1,
                    "{command:?}: {warning}: {said}"
                );
            }
        }
        // A user without the right gets no warning, and nothing else changes.
        for user in ["rushgate-operator", "rushgate-bridge"] {
            let mut acl = redis::cmd("ACL");
            acl.arg(["SETUSER", user, "-info"].as_slice());
            acl.exec_async(&mut redis).await.expect("set");
        }
        for command in commands {
            let said = launch.exits(0, command).await;
            assert!(!said.contains("warning: Redis"), "{command:?}: {said}");
        }
    }
    system.start_bridge().await;
    until("the first bridge has read the campaigns", async || {
        let mut exists = redis::cmd("EXISTS");
        exists.arg("rushgate:{launch}:stream");
        let exists: i64 = exists.query_async(&mut redis.clone()).await.expect("asked");
        (exists == 1).then_some(())
    })
    .await;
    let mut acl = redis::cmd("ACL");
    acl.arg(["SETUSER", "rushgate-bridge", "+info"].as_slice());
    acl.exec_async(&mut redis).await.expect("set");
    system.start_bridge().await;
    until("the second bridge warns", async || {
        let log = system.bridges[1].log();
        log.contains("Redis: maxmemory-policy is allkeys-lru")
            .then_some(())
    })
    .await;
    assert!(!system.bridges[0].log().contains("maxmemory"));
}
