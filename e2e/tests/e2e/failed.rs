//! Tests `rushgate failed`: how an operator lists, shows, replays and discards dead letters.

use crate::view::{View, granted};
use rushgate_e2e::history::{Place, Reply};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};

fn grant(round: &str, serial: u32, user_id: &str) -> String {
    format!(
        r#"{{"type":"coupon.granted","campaign":"launch","round":"{round}","serial":{serial},"user_id":"{user_id}","at":1796086800123}}"#
    )
}

impl View<'_> {
    /// What `failed show` says about a dead letter.
    async fn dead_letter(&self, id: &str) -> Value {
        self.json(&["failed", "show", id]).await.remove(0)
    }

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
    pub(crate) async fn lists(&self, dead_letters: usize) -> Vec<Value> {
        until(
            &format!("{dead_letters} dead letters are open"),
            async || {
                let list = self.json(&["failed", "list"]).await;
                let shown = self.shown().await;
                let rests = shown["in_stream"] == 0 && shown["in_kafka"] == 0;
                (rests && list.len() == dead_letters).then_some(list)
            },
        )
        .await
    }
}

/// The id of the only dead letter in the list that has all of these as reason, key or number of attempts.
pub(crate) fn named(list: &[Value], expected: &[Value]) -> String {
    let fields =
        |listed: &Value| ["reason", "record_key", "attempts"].map(|field| listed[field].clone());
    let has_all = |listed: &&Value| {
        let fields = fields(listed);
        expected.iter().all(|value| fields.contains(value))
    };
    let mut found = list.iter().filter(has_all);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("{expected:?}: {list:?}"));
    assert_eq!(found.next(), None, "{expected:?}: {list:?}");
    first["id"].as_str().expect("an id").to_owned()
}

/// What `named` looks for, as values.
macro_rules! with {
    ($($value:expr),+) => { &[$(serde_json::Value::from($value)),+] };
}
pub(crate) use with;

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
    // They are judged by the quota of 4.
    launch.lists(7).await;
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
        named(&list, with![reason, key, 1]);
    }
    let already_holds = named(&list, with!["launch/once/4"]);
    let only = launch
        .json(&[
            "failed",
            "list",
            "--campaign",
            "launch",
            "--reason",
            "over_quota",
        ])
        .await;
    assert_eq!(only.len(), 2, "{only:?}");
    let refused = launch
        .cannot(&["failed", "list", "--campaign", "none"])
        .await;
    assert!(refused.contains("there is no campaign none"), "{refused}");

    // The whole record.
    let over_quota = named(&list, with!["over_quota", "launch/once/3"]);
    let shown = launch.dead_letter(&over_quota).await;
    for (field, expected) in [
        ("reason", Value::from("over_quota")),
        (
            "detail",
            "launch/once/3 is above the round's quota of 2".into(),
        ),
        ("key", "launch/once/3".into()),
        ("attempts", 1.into()),
        ("resolution", "open".into()),
        ("topic", system.topic().into()),
    ] {
        assert_eq!(shown[field], expected, "{field}: {shown}");
    }
    let value = shown["value"].as_str().expect("a value");
    assert!(value.contains(r#""serial":3,"user_id":"c""#), "{shown}");
    let headers = shown["headers"].as_array().expect("headers");
    let id = json!({"name": "ce_id", "value": "launch/once/3/coupon.granted"});
    assert!(headers.contains(&id), "{shown}");

    // Replayed too early, it fails again, and shows the number of attempts.
    launch.does(&["failed", "replay", &over_quota]).await;
    let list = launch.lists(8).await;
    let again = named(&list, with!["over_quota", "launch/once/3", 2]);
    assert_ne!(again, over_quota);
    let shown = launch.dead_letter(&over_quota).await;
    assert_eq!(shown["resolution"], "replayed", "{shown}");
    let shown = launch.dead_letter(&again).await;
    let until = &shown["parked_until"];
    assert_eq!(until, "the quota has room for the serial", "{shown}");
    let text = launch.does(&["failed", "show", &again]).await;
    assert!(text.contains("; then the consumer replays it"), "{text}");
    // When there is room, it becomes a coupon without a command; a second replay still gives a single coupon.
    let raise = "UPDATE rounds SET quota = 4";
    system.database.run(raise).await.expect("raised");
    launch.has_rows(3).await;
    launch.lists(7).await;
    let shown = launch.dead_letter(&again).await;
    let note = shown["note"].as_str().expect("a note");
    assert!(note.starts_with("by the consumer"), "{shown}");
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
    let shown = launch.dead_letter(&already_holds).await;
    assert_eq!(shown["note"], "a test record", "{shown}");
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
        let id = named(&list, &words.map(Value::from));
        let said = launch
            .does(&["failed", "discard", &id, "--return-serial"])
            .await;
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    let id = named(&list, with!["undecodable", "launch/once/3"]);
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
    launch.lists(0).await;
    let said = launch.does(&["failed", "replay", "--all"]).await;
    assert_eq!(said.trim(), "there is no open dead letter");
    let list = launch.json(&["failed", "list", "--all"]).await;
    let discarded = list
        .iter()
        .filter(|listed| listed["resolution"] == "discarded");
    assert_eq!(discarded.count(), 7, "{list:?}");

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
    let id = named(&list, with!["row_refused"]);
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
    let expected = "launch/once/2 of b is revoked; its serial is free again";
    let log = launch.log().await;
    assert!(
        log.contains(&("revoked".to_owned(), expected.to_owned())),
        "{log:?}"
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
        anna = named(&list, with!["unpublishable", "launch/once/1"]);
        ben = named(&list, with!["unpublishable", "launch/once/2"]);
        let first = named(&list, with!["unpublishable", Value::Null]);
        // After the replay it has all its fields, also one with a name that the bridge uses.
        launch.does(&["failed", "replay", &first]).await;
        let list = launch.lists(3).await;
        malformed = named(&list, with!["unpublishable", Value::Null]);
        let mut range = redis::cmd("XRANGE");
        range.arg(["rushgate:{launch}:dead-letters", "-", "+"].as_slice());
        let dead_letters: redis::Value = range.query_async(&mut redis).await.expect("dead letters");
        assert!(
            format!("{dead_letters:?}").contains("its own"),
            "{dead_letters:?}"
        );
        assert!(anna.starts_with("launch/"), "{anna}");
        for (arguments, expected) in [
            (["--reason", "unpublishable"], 3),
            (["--reason", "serial_taken"], 0),
            (["--campaign", "launch"], 3),
        ] {
            let list = launch
                .json(&[&["failed", "list"], &arguments[..]].concat())
                .await;
            assert_eq!(list.len(), expected, "{arguments:?}: {list:?}");
        }
        let shown = launch.dead_letter(&anna).await;
        let detail = shown["detail"].as_str().expect("a detail");
        assert!(
            detail.contains("which KAFKA_VALUE_FORMAT=long needs"),
            "{shown}"
        );
        let fields = &shown["fields"];
        assert!(
            fields["serial"] == "1"
                && fields["user_id"] == "anna"
                && fields["entry_id"].is_string(),
            "{shown}"
        );

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
        named(&list, with!["launch/once/2"]);
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
        let log = launch.json(&["campaign", "log", "launch"]).await;
        let discarded = log.iter().find(|line| {
            let detail = line["detail"].as_str().expect("a detail");
            detail.contains("user_id=ben") && detail.contains("type=coupon.granted")
        });
        let discarded = discarded.unwrap_or_else(|| panic!("{log:?}"));
        assert_eq!(discarded["reason"], "as agreed", "{log:?}");
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
        let anna = named(&list, with!["unpublishable", "launch/once/1"]);
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
