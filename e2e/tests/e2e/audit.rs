//! Tests `rushgate audit`: what it reports when the stores agree and when they do not, and what it repairs.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use std::collections::BTreeSet;

const LAUNCH: &str = "launch";

/// Runs a Redis command that no program of ours would run.
async fn redis(system: &System, words: &[&str]) -> redis::Value {
    let mut connection = system.redis_connection().await.expect("Redis");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let done = command.query_async(&mut connection).await;
    done.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Removes the last entry of the stream, as in a loss.
async fn lose_last_entry(system: &System) {
    let stream = "rushgate:{launch}:stream";
    let mut connection = system.redis_connection().await.expect("Redis");
    let mut command = redis::cmd("XREVRANGE");
    command.arg(stream).arg(["+", "-", "COUNT", "1"].as_slice());
    let last: redis::streams::StreamRangeReply =
        command.query_async(&mut connection).await.expect("read");
    let id = &last.ids.first().expect("an entry").id;
    assert_eq!(
        redis(system, &["XDEL", stream, id]).await,
        redis::Value::Int(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_is_audited_all_the_time_and_nothing_is_found() {
    let system = System::start(Size::TWO_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    let said = launch.exits(0, &["audit"]).await;
    assert_eq!(said, "there is no campaign");
    let create = [
        "campaign",
        "create",
        "--id",
        LAUNCH,
        "--quota",
        "1000",
        "--waitlist",
        "500",
    ];
    launch.does(&create).await;
    // From here on, rows come at once: the consumers have their partitions.
    assert_eq!(launch.apply("first").await, granted(1));
    launch.has_rows(1).await;
    let people = system.rush(LAUNCH, 6_000);
    let rush = tokio::spawn(async move { rush::run(&people, || ()).await });
    let mut revoked = BTreeSet::new();
    while !rush.is_finished() || revoked.len() < 2 {
        let said = launch.exits(0, &["audit", LAUNCH]).await;
        // On a busy machine it may print what it waits for.
        let found = said.lines().next();
        assert!(
            found.is_some_and(|line| line.ends_with("all agree")),
            "{said}"
        );
        // One applicant gives the coupon back meanwhile.
        let user_id = until("a coupon is held", async || {
            let rows = system.database.rows(LAUNCH).await.ok()?;
            let mut people = rows.into_iter().map(|row| row.user_id);
            people.find(|user_id| !revoked.contains(user_id))
        })
        .await;
        launch.does(&["revoke", LAUNCH, &user_id]).await;
        revoked.insert(user_id);
    }
    let outcome = rush.await.expect("no panic").expect("a rush");
    assert_eq!(outcome.history.unexplained, Vec::<String>::new());
    system.drained(LAUNCH).await;
    launch.has_rows(1_000).await;
    let said = launch.exits(0, &["audit"]).await;
    assert_eq!(
        said,
        "campaign launch: 1000 held at the gate, 1000 coupons, 0 on the way, all agree"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_disagreement_is_told_and_what_can_be_proven_is_repaired() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 10).await.expect("created");
    {
        let launch = View::of(&system, LAUNCH);
        for person in 1..=8 {
            assert_eq!(launch.apply(&format!("p{person}")).await, granted(person));
        }
        launch.has_rows(8).await;
        system.drained(LAUNCH).await;
        launch.exits(0, &["audit", LAUNCH]).await;
        redis(
            &system,
            &[
                "XADD",
                "rushgate:{launch}:stream",
                "*",
                "type",
                "coupon.granted",
            ],
        )
        .await;
        launch.publish("launch/once/9", "{").await;
        until("both are dead letters", async || {
            let list = launch.json(&["failed", "list"]).await;
            (list.len() == 2).then_some(())
        })
        .await;
    }
    assert_eq!(system.bridges.remove(0).terminate(), Some(0));
    let launch = View::of(&system, LAUNCH);

    let delete = "DELETE FROM coupons WHERE user_id = 'p1'";
    let revoke =
        "UPDATE coupons SET state = 'revoked', revoked_at = granted_at WHERE user_id = 'p5'";
    for statement in [delete, revoke] {
        assert_eq!(
            system.database.run(statement).await.expect("done"),
            1,
            "{statement}"
        );
    }
    let grants = "rushgate:{launch}:grants";
    let redis::Value::BulkString(p2) = redis(&system, &["HGET", grants, "p2"]).await else {
        panic!("p2 holds nothing");
    };
    let p2 = String::from_utf8(p2).expect("a grant");
    let unconfirmed = p2.strip_suffix("/issued").expect("issued");
    redis(&system, &["HSET", grants, "p2", unconfirmed]).await;
    redis(
        &system,
        &["HINCRBY", "rushgate:{launch}:rounds", "once/issued", "-1"],
    )
    .await;
    redis(&system, &["HDEL", grants, "p4"]).await;
    assert_eq!(launch.apply("p9").await, granted(9));
    lose_last_entry(&system).await;
    launch.does(&["revoke", LAUNCH, "p3"]).await;
    lose_last_entry(&system).await;
    let lower = "UPDATE rounds SET quota = 5";
    system.database.run(lower).await.expect("lowered");

    let said = launch.exits(2, &["audit", LAUNCH]).await;
    let bridges = "rushgate:{launch}:dead-letters";
    assert!(
        said.starts_with(
            "campaign launch: 7 held at the gate, 6 coupons, 0 on the way, 10 findings\n"
        ),
        "{said}"
    );
    let lost =
        "once/4 of p4 has an active row, and the gate does not know it: Redis has lost grants";
    let contradiction =
        "once/5 of p5 is held at the gate, and its row is revoked: Redis has lost a revocation";
    let letter = "is open: undecodable: `rushgate failed show`";
    let unpublished = "of the bridge is open: `rushgate failed show`";
    let repairable = [
        "once/1 of p1 is held at the gate and has no row: its record is in Kafka, and the consumers have committed \
         past it: --repair puts it back",
        "once/9 of p9 is held at the gate and has no row: it has left the stream, and Kafka holds no record of it now: \
         --repair puts it back",
        "once/2 of p2 has a committed row that the gate does not know of: --repair confirms it",
        "once/3 of p3 is revoked at the gate, and its row is active: --repair puts the revocation",
    ];
    let over_quota =
        "round once has 6 active coupons for a quota of 5: the table's keys do not allow that";
    let terms = "quota of round once: 5 in the database, 10 at the gate: --repair gives the gate";
    for expected in [lost, contradiction, letter, unpublished, over_quota, terms] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    for expected in repairable {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // An audit without --repair changes nothing.
    assert_eq!(launch.exits(2, &["audit"]).await, said);
    let raise = "UPDATE rounds SET quota = 10";
    system.database.run(raise).await.expect("raised");

    // It repairs what is certain, nothing else, and only once.
    let before = redis(&system, &["XLEN", bridges]).await;
    let said = launch.exits(2, &["audit", LAUNCH, "--repair"]).await;
    assert!(said.contains("8 findings"), "{said}");
    assert!(
        said.ends_with("repaired: 3 put back on the stream, 1 confirmed"),
        "{said}"
    );
    let said = launch.exits(2, &["audit", LAUNCH, "--repair"]).await;
    assert!(
        said.contains("3 on the way, 4 findings") && !said.contains("repaired"),
        "{said}"
    );
    assert_eq!(redis(&system, &["XLEN", bridges]).await, before);
    let p2_now = redis(&system, &["HGET", grants, "p2"]).await;
    assert_eq!(p2_now, redis::Value::BulkString(p2.into_bytes()));
    assert_eq!(
        redis(&system, &["HGET", grants, "p4"]).await,
        redis::Value::Nil
    );
    system.start_bridge().await;
    let launch = View::of(&system, LAUNCH);
    let said = until("it has gone through", async || {
        let said = launch.exits(2, &["audit", LAUNCH]).await;
        said.contains(" 0 on the way").then_some(said)
    })
    .await;
    assert!(
        said.contains("7 held at the gate, 7 coupons, 0 on the way, 4 findings"),
        "{said}"
    );
    for expected in [lost, contradiction, letter, unpublished] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let rows = system.database.rows(LAUNCH).await.expect("the database");
    let holders: Vec<_> = rows
        .iter()
        .map(|row| (row.place.serial, row.user_id.as_str()))
        .collect();
    let expected = [
        (1, "p1"),
        (2, "p2"),
        (4, "p4"),
        (6, "p6"),
        (7, "p7"),
        (8, "p8"),
        (9, "p9"),
    ];
    assert_eq!(holders, expected);
    let actions = launch.actions().await;
    let repaired = actions.iter().filter(|action| *action == "repaired");
    assert_eq!(repaired.count(), 1, "{actions:?}");

    // The other findings need an operator, who has the commands for them.
    launch
        .does(&["restore", LAUNCH, "--halt", "--wait", "60s"])
        .await;
    launch
        .does(&["failed", "discard", "--all", "--note", "as agreed"])
        .await;
    // Only a statement in the database has revoked p5, so p5 has a coupon again.
    launch.has_rows(8).await;
    system.drained(LAUNCH).await;
    let said = launch.exits(0, &["audit", LAUNCH]).await;
    assert_eq!(
        said,
        "campaign launch: 8 held at the gate, 8 coupons, 0 on the way, all agree"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gate_has_lost_of_its_own_books_is_found_and_counted_again() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    let create = ["campaign", "create", "--id", LAUNCH, "--quota", "3"];
    launch.does(&create).await;
    for (serial, person) in (1..).zip(["a", "b", "c"]) {
        assert_eq!(launch.apply(person).await, granted(serial));
    }
    launch.has_rows(3).await;
    launch.does(&["revoke", LAUNCH, "c"]).await;
    system.drained(LAUNCH).await;
    let finds = async |wound: &[&str], expected: &[&str]| {
        launch.exits(0, &["audit", LAUNCH]).await;
        redis(&system, wound).await;
        let found = launch.exits(2, &["audit", LAUNCH]).await;
        for expected in expected {
            assert!(found.contains(expected), "{expected} is not in: {found}");
        }
        assert!(found.contains("`rushgate restore --halt`"), "{found}");
        launch.does(&["restore", LAUNCH, "--halt"]).await;
        launch.exits(0, &["audit", LAUNCH]).await;
    };
    let no_free = "round once: the counter of free serials is 1, but 0 are stored";
    finds(&["DEL", "rushgate:{launch}:pool"], &[no_free]).await;
    let held = ["ZADD", "rushgate:{launch}:pool", "0", "once/000000002"];
    let is_free = "once/2 of b is held, and also free to be given again";
    finds(
        &held,
        &[
            is_free,
            "round once: the counter of free serials is 1, but 2 are stored",
        ],
    )
    .await;
    let no_revocation = "the counter of revocations is 1, but 0 are stored";
    finds(&["DEL", "rushgate:{launch}:revoked"], &[no_revocation]).await;

    launch.gets("d", Place::new("once", 3)).await;
    launch
        .does(&["campaign", "change", LAUNCH, "--waitlist", "5"])
        .await;
    until("e waits", async || {
        (launch.apply("e").await == Reply::Waitlisted(1)).then_some(())
    })
    .await;
    launch.has_rows(3).await;
    system.drained(LAUNCH).await;
    let miscount = "round once: the counter of waiting applicants is 1, but 0 are on the waitlist";
    finds(&["DEL", "rushgate:{launch}:waitlist"], &[miscount]).await;
    let miscount = "the counters of waiting applicants add up to 1, but 0 are stored";
    finds(&["DEL", "rushgate:{launch}:waiting"], &[miscount]).await;
    launch.does(&["revoke", LAUNCH, "a"]).await;
    let place = Place::new("once", 1);
    assert_eq!(launch.apply("e").await, Reply::AlreadyGranted(place));

    // Dead letters that name no campaign belong to the audit of all campaigns.
    launch.publish("nothing", "{").await;
    launch.lists(1).await;
    let found = launch.exits(2, &["audit"]).await;
    let expected = "no campaign: 1 open dead letters name no known campaign, such as ";
    assert!(found.contains(expected), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_record_that_kafka_keeps_no_more_nothing_is_said_that_is_not_known() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 10).await.expect("created");
    let launch = View::of(&system, LAUNCH);
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    system.drained(LAUNCH).await;
    system.stores().empty_topic().await.expect("emptied");
    launch.exits(0, &["audit"]).await;

    let delete = "DELETE FROM coupons";
    assert_eq!(system.database.run(delete).await.expect("done"), 1);
    let said = launch.exits(2, &["audit"]).await;
    assert!(
        said.ends_with(
            "once/1 of a is held at the gate and has no row: it has left the stream, and Kafka holds no record of it \
             now: --repair puts it back on the stream"
        ),
        "{said}"
    );
    let said = launch.exits(0, &["audit", "--repair"]).await;
    assert!(said.contains("1 put back on the stream"), "{said}");
    launch.has_rows(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_dead_letters_are_one_line_and_a_command_that_lists_them() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 10).await.expect("created");
    let launch = View::of(&system, LAUNCH);
    for serial in 1..=100 {
        let key = format!("launch/once/{serial}");
        launch.publish(&key, "{").await;
    }
    let entry = ["XADD", "rushgate:{launch}:stream", "*", "type", "nothing"];
    for _ in 0..3 {
        redis(&system, &entry).await;
    }
    until("all are dead letters", async || {
        let list = launch.json(&["failed", "list"]).await;
        (list.len() == 103).then_some(())
    })
    .await;
    let said = launch.exits(2, &["audit"]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].ends_with("0 on the way, 103 findings"), "{said}");
    assert!(
        lines[1].contains("is open: undecodable; also ")
            && lines[1].contains(" and 98 more (100 in all)"),
        "{said}"
    );
    assert!(lines[2].contains(" and 1 more (3 in all)"), "{said}");
    for (line, listed) in [(lines[1], 100), (lines[2], 3)] {
        let command = line
            .split('`')
            .find(|command| command.contains("failed list"));
        let command = command.and_then(|command| command.strip_prefix("rushgate "));
        let words: Vec<&str> = command.expect(line).split(' ').collect();
        let list = launch.json(&words).await;
        assert_eq!(list.len(), listed, "{line}: {list:?}");
    }
    let said = launch.exits(2, &["audit", LAUNCH, "--all"]).await;
    assert_eq!(said.lines().count(), 104, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_campaign_is_told_and_what_cannot_be_found_out_is_no_finding() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 10).await.expect("created");
    system.crash_redis();
    {
        let launch = View::of(&system, LAUNCH);
        let said = launch.exits(1, &["audit"]).await;
        assert!(said.contains(": unknown: cannot use Redis at"), "{said}");
    }
    system.lose_redis_data();
    system.start_redis();
    let launch = View::of(&system, LAUNCH);
    for (code, arguments, expected) in [
        (1, vec!["audit", "none"], "there is no campaign none"),
        (1, vec!["audit", "--repare"], "unexpected argument"),
        (0, vec!["audit", "--help"], "--repair"),
        (
            2,
            vec!["audit"],
            "the gate does not know the campaign: Redis has lost it: `rushgate restore`",
        ),
    ] {
        let said = launch.exits(code, &arguments).await;
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    launch.does(&["restore", LAUNCH]).await;
    launch.exits(0, &["audit"]).await;
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_keys_are_of_another_type_is_restored() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let launch = View::of(&system, LAUNCH);
    let create = ["campaign", "create", "--id", LAUNCH, "--quota", "3"];
    let created = launch.does(&create).await;
    assert!(
        created.starts_with("campaign launch is running: "),
        "{created}"
    );
    for (serial, person) in (1..).zip(["a", "b"]) {
        assert_eq!(launch.apply(person).await, granted(serial));
    }
    launch.has_rows(2).await;
    system.drained(LAUNCH).await;
    launch.publish("nothing", "{").await;
    launch.lists(1).await;
    let but_the_first = [
        "schedule",
        "rounds",
        "grants",
        "waitlist",
        "waiting",
        "revoked",
        "pool",
        "known",
        "stream",
        "dead-letters",
    ];
    for keys in [&but_the_first[..], &["campaign"]] {
        for key in keys {
            redis(
                &system,
                &["SET", &format!("rushgate:{{launch}}:{key}"), "x"],
            )
            .await;
        }
        if keys.contains(&"dead-letters") {
            // Dead letters of the consumer are replayed nevertheless.
            let replayed = launch.exits(1, &["failed", "replay", "--all"]).await;
            assert!(replayed.contains("sent again, as attempt 2"), "{replayed}");
        }
        let restored = launch.does(&["restore", LAUNCH, "--halt"]).await;
        for key in keys {
            let aside = format!("{key} was a string and is rushgate:{{launch}}:{key}:string now");
            assert!(restored.contains(&aside), "{key}: {restored}");
        }
        launch.exits(0, &["audit", LAUNCH]).await;
    }
    assert_eq!(launch.apply("c").await, granted(3));
    launch.has_rows(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_fails_for_one_campaign_is_done_for_the_others() {
    let system = System::start(Size::NONE).await;
    let other = View::of(&system, "other");
    for campaign in [LAUNCH, "other"] {
        system.operator.create(campaign, 3).await.expect("created");
    }
    let wound = ["HSET", "rushgate:{launch}:rounds", "once/granted", "x"];
    redis(&system, &wound).await;
    let wound = "UPDATE campaigns SET state = 'paused'";
    system.database.run(wound).await.expect("done");
    let ended = system.operator.end_of(&["audit", "--repair"]).await;
    let ended = ended.expect("run");
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("error: campaign launch: "),
        "{ended:?}"
    );
    let agreed = other.exits(0, &["audit", "other"]).await;
    assert!(agreed.contains("all agree"), "{agreed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_in_redis_that_are_not_utf8_hurt_no_other_campaign() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let (launch, other) = (View::of(&system, LAUNCH), View::of(&system, "other"));
    for campaign in [LAUNCH, "other"] {
        system.operator.create(campaign, 3).await.expect("created");
    }
    let mut connection = system.redis_connection().await.expect("Redis");
    for (command, key, more) in [
        ("SADD", "rushgate:campaigns", vec![&b"\xff"[..]]),
        ("HSET", "rushgate:{launch}:grants", vec![b"\xff", b"x"]),
        (
            "XADD",
            "rushgate:{launch}:stream",
            vec![b"*", b"\xff", b"x"],
        ),
    ] {
        let mut command = redis::cmd(command);
        command.arg(key).arg(more);
        command.exec_async(&mut connection).await.expect("done");
    }
    assert_eq!(other.apply("a").await, granted(1));
    other.has_rows(1).await;
    let letter = launch.lists(1).await;
    let found = launch.exits(2, &["audit"]).await;
    for expected in [
        "cannot be parsed: `rushgate restore --halt`",
        "campaign other: 1 held at the gate, 1 coupons, 0 on the way, all agree",
    ] {
        assert!(found.contains(expected), "{expected} is not in: {found}");
    }
    let id = letter[0]["id"].as_str().expect("a dead letter");
    launch.does(&["failed", "discard", id]).await;
    launch.does(&["restore", LAUNCH, "--halt"]).await;
    launch.exits(0, &["audit"]).await;

    // Without the set of campaigns, they are read out of its index.
    redis(&system, &["DEL", "rushgate:campaigns"]).await;
    assert_eq!(other.apply("b").await, granted(2));
    other.has_rows(2).await;
}
