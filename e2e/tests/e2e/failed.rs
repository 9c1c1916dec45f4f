//! Tests `rushgate failed`: how an operator lists, shows, replays and discards dead letters.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;

fn grant(round: &str, serial: u32, user_id: &str) -> String {
    format!(
        r#"{{"type":"coupon.granted","campaign":"launch","round":"{round}","serial":{serial},"user_id":"{user_id}","at":1796086800123}}"#
    )
}

impl View<'_> {
    /// From now on the database refuses rows for which this is true.
    pub(crate) async fn refuses(&self, rows: &str) {
        let refuse = format!("ALTER TABLE coupons ADD CONSTRAINT planted CHECK (NOT ({rows}))");
        self.system.database.run(&refuse).await.expect("refuses");
    }

    /// From now on it accepts them again.
    pub(crate) async fn refuses_nothing(&self) {
        let refuse = "ALTER TABLE coupons DROP CONSTRAINT planted";
        self.system.database.run(refuse).await.expect("refuses");
    }

    /// Waits until this many dead letters are open and nothing else is on its way; returns the list.
    pub(crate) async fn lists(&self, dead_letters: usize) -> String {
        until(
            &format!("{dead_letters} dead letters are open"),
            async || {
                let list = self.does(&["failed", "list"]).await;
                let shown = self.does(&["campaign", "show", self.campaign]).await;
                let rests = shown.contains("in the stream") && {
                    let waits = |what: &str| {
                        let line = shown.lines().find(|line| line.contains(what));
                        line.is_none_or(|line| !line.trim_end().ends_with(" 0"))
                    };
                    !waits("in the stream") && !waits("in Kafka")
                };
                (rests && list.lines().count() == dead_letters + 1).then_some(list)
            },
        )
        .await
    }
}

/// The id of the dead letter whose line contains all of these.
pub(crate) fn named(list: &str, words: &[&str]) -> String {
    let mut lines = list
        .lines()
        .skip(1)
        .filter(|line| words.iter().all(|word| line.contains(word)));
    let line = lines.next().unwrap_or_else(|| panic!("{words:?}: {list}"));
    assert_eq!(lines.next(), None, "{words:?}: {list}");
    line.split_whitespace().next().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_consumer_refuses_is_listed_shown_replayed_and_discarded() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 4).await.expect("created");
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    assert_eq!(launch.apply("b").await, granted(2));
    launch.has_rows(2).await;

    for (key, value) in [
        ("launch/once/3", "{".to_owned()),
        ("launch/once/3", grant("once", 4, "m")),
        ("launch/late/1", grant("late", 1, "m")),
        ("launch/once/5", grant("once", 5, "m")),
        ("launch/once/1", grant("once", 1, "m")),
        ("launch/once/4", grant("once", 4, "a")),
        ("other/once/1", "{".to_owned()),
    ] {
        launch.publish(key, &value).await;
    }
    // A grant of the gate for which the database has no room: its quota was lowered by hand.
    let lower = "UPDATE rounds SET quota = 2";
    system.database.run(lower).await.expect("lowered");
    assert_eq!(launch.apply("c").await, granted(3));

    let list = launch.lists(8).await;
    let reasons = [
        ("undecodable", "launch/once/3"),
        ("key_mismatch", "launch/once/3"),
        ("unknown_round", "launch/late/1"),
        ("over_quota", "launch/once/5"),
        ("over_quota", "launch/once/3"),
        ("serial_taken", "launch/once/1"),
        ("undecodable", "other/once/1"),
    ];
    for (reason, key) in reasons {
        named(&list, &[reason, key, " 1  open"]);
    }
    let already_holds = named(&list, &["launch/once/4"]);
    let only = launch
        .does(&[
            "failed",
            "list",
            "--campaign",
            "launch",
            "--reason",
            "over_quota",
        ])
        .await;
    assert_eq!(only.lines().count(), 3, "{only}");
    let refused = launch
        .cannot(&["failed", "list", "--campaign", "none"])
        .await;
    assert!(refused.contains("there is no campaign none"), "{refused}");

    // The whole record.
    let over_quota = named(&list, &["over_quota", "launch/once/3"]);
    let shown = launch.does(&["failed", "show", &over_quota]).await;
    for expected in [
        "reason       over_quota: launch/once/3 is above the round's quota of 2",
        "key          launch/once/3",
        r#""serial":3,"user_id":"c""#,
        "header       ce_id: launch/once/3/coupon.granted",
        "attempts     1",
        "resolution   open",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(
        shown.contains(&format!("{} partition", system.topic())),
        "{shown}"
    );

    // Replayed too early, it fails again, and shows the number of attempts.
    launch.does(&["failed", "replay", &over_quota]).await;
    let list = launch.lists(8).await;
    let again = named(&list, &["over_quota", "launch/once/3", " 2  open"]);
    assert_ne!(again, over_quota);
    let shown = launch.does(&["failed", "show", &over_quota]).await;
    assert!(shown.contains("resolution   replayed at"), "{shown}");
    let shown = launch.does(&["failed", "show", &again]).await;
    assert!(
        shown.contains(
            "parked       until the quota has room for the serial; then the consumer replays it"
        ),
        "{shown}"
    );
    // When there is room, it becomes a coupon without a command; a second replay still gives a single coupon.
    let raise = "UPDATE rounds SET quota = 4";
    system.database.run(raise).await.expect("raised");
    launch.has_rows(3).await;
    launch.lists(7).await;
    let shown = launch.does(&["failed", "show", &again]).await;
    assert!(shown.contains("note         by the consumer"), "{shown}");
    let said = launch
        .does(&["failed", "replay", &again, &over_quota])
        .await;
    assert_eq!(said.matches(": was replayed already").count(), 2, "{said}");
    let forget = "UPDATE failed_events SET resolution = NULL, resolved_at = NULL WHERE resolution IS NOT NULL";
    assert_eq!(system.database.run(forget).await.expect("forgotten"), 2);
    launch.lists(7).await;
    launch.has_rows(3).await;

    // A dead letter of an invalid grant is discarded, once.
    let discard = [
        "failed",
        "discard",
        &already_holds,
        "--note",
        "a test record",
    ];
    let said = launch.does(&discard).await;
    assert_eq!(said.trim(), format!("{already_holds}: discarded"));
    let said = launch.does(&discard).await;
    assert!(said.contains("was discarded already, at 20"), "{said}");
    let said = launch.exits(1, &["failed", "replay", &already_holds]).await;
    assert!(said.contains("was discarded already, at 20"), "{said}");
    let shown = launch.does(&["failed", "show", &already_holds]).await;
    assert!(shown.contains("note         a test record"), "{shown}");
    // No serial is returned that another applicant has, or that belongs to none.
    for (words, expected) in [
        (
            ["serial_taken", "launch/once/1"],
            ", the gate has no such grant",
        ),
        (
            ["over_quota", "launch/once/5"],
            ", the gate has no such grant",
        ),
    ] {
        let id = named(&list, &words);
        let said = launch
            .does(&["failed", "discard", &id, "--return-serial"])
            .await;
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    let id = named(&list, &["undecodable", "launch/once/3"]);
    let refused = launch
        .cannot(&["failed", "discard", &id, "--return-serial"])
        .await;
    assert!(
        refused.contains(&format!(
            "dead letter {id}: the record does not say whose grant it is"
        )),
        "{refused}"
    );
    let said = launch
        .does(&["failed", "discard", "--all", "--campaign", "launch"])
        .await;
    assert_eq!(said.lines().count(), 3, "{said}");
    let said = launch
        .does(&["failed", "discard", "--all", "--reason", "undecodable"])
        .await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(launch.lists(0).await.lines().count(), 1);
    let said = launch.does(&["failed", "replay", "--all"]).await;
    assert_eq!(said.trim(), "there is no open dead letter");
    let list = launch.does(&["failed", "list", "--all"]).await;
    assert_eq!(list.matches("discarded").count(), 7, "{list}");

    // An unknown id is reported, and the others are still processed.
    for (arguments, expected) in [
        (
            vec!["show", "999"],
            "dead letter 999: there is no such dead letter",
        ),
        (
            vec!["show", "launch/1-1"],
            "dead letter launch/1-1: there is no such dead letter, or it was resolved",
        ),
        (vec!["discard", "none/1-1"], "there is no campaign none"),
        (
            vec!["replay", "launch/1-1"],
            "there is no such dead letter, or it was resolved",
        ),
        (vec!["replay", "999", &again], "was replayed already, at 20"),
        (
            vec!["replay", "999", &again],
            "dead letter 999: there is no such dead letter",
        ),
        (
            vec!["replay", "once/3"],
            "is not the id of a dead letter: write a number such as 17",
        ),
        (vec!["replay"], "required"),
        (vec!["replay", "17", "--all"], "cannot be used with"),
    ] {
        let arguments = [vec!["failed"], arguments].concat();
        let refused = launch.exits(1, &arguments).await;
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_record_goes_to_the_partition_where_the_bridge_has_put_it() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 20).await.expect("created");
    let launch = View::of(&system, "launch");
    // The database refuses all but the first.
    launch.refuses("serial > 1").await;
    for serial in 1..=20 {
        assert_eq!(launch.apply(&format!("p{serial}")).await, granted(serial));
    }
    launch.lists(19).await;
    launch.refuses_nothing().await;
    let said = launch.does(&["failed", "replay", "--all"]).await;
    assert_eq!(
        said.matches("sent again, as attempt 2").count(),
        19,
        "{said}"
    );
    launch.has_rows(20).await;

    let partitions = system.stores().partitions().await.expect("the topic");
    for (key, partitions) in &partitions {
        let first = partitions.first();
        let all_the_same = partitions.iter().all(|partition| Some(partition) == first);
        assert!(all_the_same, "{key} is on {partitions:?}");
    }
    let records: usize = partitions.values().map(Vec::len).sum();
    assert_eq!((partitions.len(), records), (20, 39), "{partitions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_serial_of_a_discarded_grant_goes_to_another_applicant() {
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("launch", 2).await.expect("created");
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    launch.refuses("user_id = 'b' AND state = 'active'").await;
    assert_eq!(launch.apply("b").await, granted(2));
    let list = launch.lists(1).await;
    let id = named(&list, &["row_refused"]);
    launch.refuses_nothing().await;
    assert_eq!(launch.apply("c").await, Reply::SoldOut);

    let discard = [
        "failed",
        "discard",
        &id,
        "--return-serial",
        "--note",
        "as agreed",
    ];
    let said = launch.does(&discard).await;
    assert_eq!(
        said.trim(),
        format!("{id}: discarded, once/2 of b is revoked; its serial is free again")
    );
    let said = launch.does(&discard).await;
    assert!(said.contains("was discarded already"), "{said}");
    launch.gets("c", Place::new("once", 2)).await;
    assert_eq!(launch.refusal("b").await, (410, "revoked".to_owned()));
    launch.has_rows(2).await;
    system.drained("launch").await;
    let rows = system.database.rows("launch").await.expect("the database");
    let holders: Vec<_> = rows.iter().map(|row| row.user_id.as_str()).collect();
    assert_eq!(holders, ["a", "c"]);
    let log = launch.does(&["campaign", "log", "launch"]).await;
    assert!(
        log.contains("revoked  launch/once/2 of b is revoked; its serial is free again"),
        "{log}"
    );
    launch.exits(0, &["audit", "launch"]).await;

    // An applicant who has the coupon of this grant keeps it.
    launch
        .publish("launch/once/2", &grant("once", 2, "c"))
        .await;
    launch
        .publish("launch/late/2", &grant("late", 2, "c"))
        .await;
    launch.lists(1).await;
    // (With a reason for which the consumer does not replay it.)
    let claim = "UPDATE failed_events SET record_key = 'launch/once/2', payload = REPLACE(payload, 'late', 'once'), \
                 reason = 'row_refused' WHERE resolution IS NULL";
    assert_eq!(system.database.run(claim).await.expect("changed"), 1);
    let refused = launch
        .exits(1, &["failed", "discard", "--all", "--return-serial"])
        .await;
    assert!(
        refused.contains("the applicant has the coupon of this grant"),
        "{refused}"
    );
    launch.has_rows(2).await;
}

/// Makes the campaign older than `--user-ids`: its user ids are not restricted.
async fn forget_user_ids(system: &System) {
    let older = "UPDATE campaigns SET user_ids = 'unstated'";
    system.database.run(older).await.expect("done");
    let mut redis = system.redis_connection().await.expect("Redis");
    redis::cmd("HDEL")
        .arg(["rushgate:{launch}:campaign", "user_ids"].as_slice())
        .exec_async(&mut redis)
        .await
        .expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bridge_cannot_publish_is_listed_shown_replayed_and_discarded() {
    // Numeric values, which user ids such as `anna` cannot have.
    let long = [("KAFKA_VALUE_FORMAT", "long")];
    let mut system = System::start_with(Size::ONE_OF_EACH, &long).await;
    system.operator.create("launch", 2).await.expect("created");
    let (anna, ben, malformed);
    {
        let launch = View::of(&system, "launch");
        assert_eq!(launch.apply("anna").await, granted(1));
        assert_eq!(launch.apply("ben").await, granted(2));
        let mut redis = system.redis_connection().await.expect("Redis");
        forget_user_ids(&system).await;
        redis::cmd("XADD")
            .arg("rushgate:{launch}:stream")
            .arg(["*", "type", "coupon.granted", "reason", "its own"].as_slice())
            .exec_async(&mut redis)
            .await
            .expect("added");
        let list = launch.lists(3).await;
        anna = named(&list, &["unpublishable", "launch/once/1 "]);
        ben = named(&list, &["unpublishable", "launch/once/2 "]);
        let first = named(&list, &["unpublishable", "no event"]);
        // After the replay it has all its fields, also one with a name that the bridge uses.
        launch.does(&["failed", "replay", &first]).await;
        let list = launch.lists(3).await;
        malformed = named(&list, &["unpublishable", "no event"]);
        let mut range = redis::cmd("XRANGE");
        range.arg(["rushgate:{launch}:dead-letters", "-", "+"].as_slice());
        let dead_letters: redis::Value = range.query_async(&mut redis).await.expect("dead letters");
        assert!(
            format!("{dead_letters:?}").contains("its own"),
            "{dead_letters:?}"
        );
        assert!(anna.starts_with("launch/"), "{anna}");
        for (arguments, expected) in [
            (["--reason", "unpublishable"], 4),
            (["--reason", "serial_taken"], 1),
            (["--campaign", "launch"], 4),
        ] {
            let list = launch
                .does(&[&["failed", "list"], &arguments[..]].concat())
                .await;
            assert_eq!(list.lines().count(), expected, "{arguments:?}: {list}");
        }
        let shown = launch.does(&["failed", "show", &anna]).await;
        for expected in [
            "which KAFKA_VALUE_FORMAT=long needs",
            "field        serial: 1",
            "field        user_id: anna",
            "entry_id: ",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }

        // The serial goes to another applicant; the revocation cannot be published either, as long as this lasts.
        let said = launch
            .does(&[
                "failed",
                "discard",
                &ben,
                "--return-serial",
                "--note",
                "as agreed",
            ])
            .await;
        assert_eq!(
            said.trim(),
            format!("{ben}: discarded, once/2 of ben is revoked; its serial is free again")
        );
        launch.gets("7", Place::new("once", 2)).await;
        launch.has_rows(1).await;
        let list = launch.lists(3).await;
        assert_eq!(list.matches("launch/once/2 ").count(), 1, "{list}");
        let said = launch
            .exits(1, &["failed", "discard", &malformed, "--return-serial"])
            .await;
        assert!(
            said.contains("the record does not say whose grant it is"),
            "{said}"
        );
        let said = launch.does(&["failed", "discard", &malformed]).await;
        assert_eq!(said.trim(), format!("{malformed}: discarded"));
        // Run again, as after a lost answer: it was already done.
        for (code, command, expected) in [
            (0, "discard", "was discarded already, at 20"),
            (1, "replay", "was discarded already, at 20"),
            (
                1,
                "show",
                "there is no such dead letter, or it was resolved",
            ),
        ] {
            let said = launch.exits(code, &["failed", command, &malformed]).await;
            assert!(said.contains(expected), "{command}: {said}");
        }
        let log = launch.does(&["campaign", "log", "launch"]).await;
        assert!(
            log.contains("user_id=ben")
                && log.contains("(as agreed)")
                && log.contains("type=coupon.granted"),
            "{log}"
        );
    }

    // A bridge that can publish it does.
    assert_eq!(system.bridges.remove(0).terminate(), Some(0));
    system.set("KAFKA_VALUE_FORMAT", "json");
    system.start_bridge().await;
    let launch = View::of(&system, "launch");
    let said = launch.does(&["failed", "replay", &anna]).await;
    assert!(said.contains("on the stream again"), "{said}");
    let said = launch.does(&["failed", "replay", &anna]).await;
    assert!(said.contains("was replayed already, at 20"), "{said}");
    let said = launch.does(&["failed", "replay", "--all"]).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    launch.has_rows(2).await;
    system.drained("launch").await;
    let rows = system.database.rows("launch").await.expect("the database");
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| (row.place, row.user_id))
        .collect();
    let place = |serial| Place::new("once", serial);
    assert_eq!(
        rows,
        [(place(1), "anna".to_owned()), (place(2), "7".to_owned())]
    );
    launch.exits(0, &["audit", "launch"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_discarded_is_not_brought_back_by_a_repair() {
    // Numeric values, which user ids such as `anna` cannot have.
    let long = [("KAFKA_VALUE_FORMAT", "long")];
    let mut system = System::start_with(Size::ONE_OF_EACH, &long).await;
    system.operator.create("launch", 2).await.expect("created");
    {
        forget_user_ids(&system).await;
        let launch = View::of(&system, "launch");
        assert_eq!(launch.apply("anna").await, granted(1));
        let list = launch.lists(1).await;
        let anna = named(&list, &["unpublishable", "launch/once/1 "]);
        let said = launch.does(&["failed", "discard", &anna]).await;
        assert_eq!(said.trim(), format!("{anna}: discarded"));
        let found = launch.exits(2, &["audit", "launch", "--repair"]).await;
        let expected = "once/1 of anna is held at the gate, and its dead letter was discarded: `rushgate revoke`";
        assert!(found.contains(expected), "{found}");
        launch.lists(0).await;
    }
    assert_eq!(system.bridges.remove(0).terminate(), Some(0));
    system.set("KAFKA_VALUE_FORMAT", "json");
    system.start_bridge().await;
    let launch = View::of(&system, "launch");
    launch.does(&["revoke", "launch", "anna"]).await;
    system.drained("launch").await;
    launch.exits(0, &["audit", "launch"]).await;
}
