//! Tests what `rushgate` reports while a server is unavailable, slow or broken.

use crate::view::{View, granted};
use futures::future::join_all;
use rushgate_e2e::campaign::{AS_JSON, Ended, Operator};
use rushgate_e2e::history::Reply;
use rushgate_e2e::rights::{Logins, Role};
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::{DEADLINE, until};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const NOWHERE: &str = "127.0.0.1:1";

/// The same system, with a wrong address for one server.
fn without(system: &System, server: &str) -> Operator {
    let operator = &system.operator;
    match server {
        "Redis" => operator.with(&[("REDIS_URL", &format!("redis://{NOWHERE}"))]),
        "the database" => {
            operator.with(&[("DATABASE_URL", &format!("mysql://rushgate@{NOWHERE}/x"))])
        }
        _ => operator.with(&[("KAFKA_BROKERS", NOWHERE)]),
    }
}

async fn end_of(operator: &Operator, arguments: &[&str]) -> Ended {
    let ended = timeout(DEADLINE, operator.end_of(arguments)).await;
    let ended = ended.unwrap_or_else(|_| panic!("{arguments:?} has not ended in {DEADLINE:?}"));
    ended.expect("run")
}

/// How `campaign show` of the command has ended, and what it has said.
async fn show(operator: &Operator, campaign: &str) -> (Ended, Value) {
    let arguments = [&["campaign", "show", campaign], &AS_JSON[..]].concat();
    let ended = end_of(operator, &arguments).await;
    let mut shown = ended.objects().expect("JSON");
    assert_eq!(shown.len(), 1, "{ended:?}");
    (ended, shown.remove(0))
}

/// The errors that a command has printed as JSON: code and message.
fn errors(ended: &Ended) -> Vec<(String, String)> {
    let lines = ended.stderr.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
    let errors = lines.iter().filter(|line| line["severity"] == "error");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    errors
        .map(|error| (text(&error["code"]), text(&error["message"])))
        .collect()
}

/// One campaign with a grant that became a row, another with a grant that became a dead letter.
async fn two_campaigns() -> System {
    let system = System::start(Size::ONE_OF_EACH).await;
    for campaign in ["launch", "other"] {
        system.operator.create(campaign, 5).await.expect("created");
    }
    let lower = "UPDATE rounds SET quota = 1 WHERE campaign_id = 'other'";
    system.database.run(lower).await.expect("lowered");
    let other = View::of(&system, "other");
    assert_eq!(other.apply("a").await, granted(1));
    assert_eq!(other.apply("b").await, granted(2));
    until("there is a dead letter", async || {
        let list = other.json(&["failed", "list"]).await;
        list.iter()
            .any(|listed| listed["reason"] == "over_quota")
            .then_some(())
    })
    .await;
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;
    system.drained("launch").await;
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cause_stands_once_in_an_error() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    system.operator.create("launch", 5).await.expect("created");
    let operator = &system.operator;
    let database = server("DATABASE_URL");
    let mut wrong_password = url::Url::parse(&database).expect("a URL");
    wrong_password
        .set_password(Some("wrong"))
        .expect("a password");
    let wrong_redis_password = system.stores().redis_url.replace("//", "//:wrong@");
    let renamed = "RENAME TABLE coupons TO elsewhere";
    system.database.run(renamed).await.expect("renamed");
    let set = ["SET", "rushgate:{launch}:campaign", "no hash"];
    let mut redis = system.redis_connection().await.expect("Redis");
    let set = redis::cmd(set[0])
        .arg(&set[1..])
        .exec_async(&mut redis)
        .await;
    set.expect("set");
    let letter = "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, headers, reason, detail) \
                  VALUES ('t', 0, 0, 0, '{}', 'undecodable', '')";
    system.database.run(letter).await.expect("inserted");

    let log = ["campaign", "log", "launch"];
    for (operator, arguments, cause) in [
        (without(&system, "the database"), log, "Connection refused"),
        (
            operator.with(&[("DATABASE_URL", wrong_password.as_str())]),
            log,
            "1045",
        ),
        (operator.clone(), ["coupon", "find", "a"], "1146"),
        (
            without(&system, "Redis"),
            ["campaign", "pause", "launch"],
            "Connection refused",
        ),
        (
            operator.with(&[("REDIS_URL", &wrong_redis_password)]),
            ["campaign", "pause", "launch"],
            "authentication",
        ),
        (
            operator.clone(),
            ["campaign", "pause", "launch"],
            "WRONGTYPE",
        ),
        (
            without(&system, "Kafka"),
            ["failed", "replay", "1"],
            "cannot use Kafka",
        ),
        (
            operator.with(&[("KAFKA_TOPIC", "no-such-topic")]),
            ["failed", "replay", "1"],
            "no-such-topic",
        ),
    ] {
        let ended = end_of(&operator, &arguments).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}, {cause}: {ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let error = lines.last().and_then(|line| line.strip_prefix("error: "));
        let error = error.unwrap_or_else(|| panic!("{ended:?}"));
        assert_eq!(error.matches(cause).count(), 1, "{cause}: {error}");
        let parts: Vec<&str> = error.split(": ").collect();
        for (number, part) in parts.iter().enumerate() {
            let before = parts[..number].join(": ");
            assert!(
                !before.contains(part),
                "{arguments:?}, {cause}: {part:?} stands twice: {error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_hides_nothing_of_what_the_others_know() {
    let system = two_campaigns().await;
    let operator = without(&system, "Kafka");
    let (ended, shown) = show(&operator, "launch").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(shown["round"]["granted"], 1, "{shown}");
    for (what, expected) in [
        ("in_stream", Some(0)),
        ("in_kafka", None),
        ("inserted", Some(1)),
        ("consumer_dead_letters", Some(0)),
    ] {
        assert_eq!(shown[what].as_u64(), expected, "{what}: {shown}");
    }
    let why = format!("in Kafka: unknown: cannot use Kafka at {NOWHERE}: ");
    let [(code, message)] = &errors(&ended)[..] else {
        panic!("{ended:?}");
    };
    assert!(
        code == "incomplete" && message.starts_with(&why),
        "{ended:?}"
    );
    // One wait of 10 s in all. A wait for each of these campaigns would pass the deadline.
    let more = (0..14).map(|number| format!("z{number:02}"));
    let more = more.map(async |campaign| system.operator.create(&campaign, 1).await);
    for created in join_all(more).await {
        created.expect("created");
    }
    let ended = end_of(&operator, &["audit"]).await;
    assert_eq!(
        ended.code,
        Some(2),
        "a dead letter is one, whatever Kafka says: {ended:?}"
    );
    assert!(
        ended.stdout.contains(
            "campaign launch: 1 held at the gate, 1 coupons, unknown on the way, no finding in what could be read"
        ) && ended.stdout.contains("is open: over_quota"),
        "{ended:?}"
    );
    let why = "error: campaign launch in Kafka, campaign other in Kafka, campaign z";
    let waits = ended.stderr.matches("unknown: cannot use Kafka").count();
    assert!(ended.stderr.contains(why) && waits == 1, "{ended:?}");
    let ended = end_of(&operator, &["audit", "launch"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");

    let operator = without(&system, "Redis");
    let ended = end_of(&operator, &["campaign", "show", "launch"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stdout
            .starts_with("campaign launch: running (in the database), quota 5, "),
        "{ended:?}"
    );
    let why = "error: granted, issued, waitlisted, in the stream, dead letters of the bridge: unknown: cannot use Redis";
    assert!(ended.stderr.contains(why), "{ended:?}");
    let (ended, shown) = show(&operator, "launch").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        shown["at_gate"] == "unknown" && shown["terms"]["state"] == "running",
        "{shown}"
    );
    for (what, expected) in [
        ("in_stream", None),
        ("in_kafka", Some(0)),
        ("inserted", Some(1)),
        ("bridge_dead_letters", None),
    ] {
        assert_eq!(shown[what].as_u64(), expected, "{what}: {shown}");
    }
    for (arguments, expected) in [
        (
            ["campaign", "list"].as_slice(),
            "\nother                    unknown",
        ),
        (
            &["coupon", "find", "a"],
            "campaign launch: unknown\n  coupon once/1 active",
        ),
        (&["failed", "list"], "over_quota"),
    ] {
        let ended = end_of(&operator, arguments).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.contains(expected), "{arguments:?}: {ended:?}");
        assert_eq!(
            ended.stderr.matches("cannot use Redis").count(),
            1,
            "{arguments:?}: {ended:?}"
        );
    }
    // Redis is not involved.
    let ended = end_of(&operator, &["failed", "show", "1"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let operator = without(&system, "the database");
    let (ended, shown) = show(&operator, "launch").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        shown["state"] == "running" && shown["terms"].is_null() && shown["round"]["granted"] == 1,
        "{shown}"
    );
    for (what, expected) in [
        ("in_stream", Some(0)),
        ("in_kafka", Some(0)),
        ("inserted", None),
    ] {
        assert_eq!(shown[what].as_u64(), expected, "{what}: {shown}");
    }
    for (arguments, expected) in [
        (
            ["campaign", "list"].as_slice(),
            "\nother                    running",
        ),
        (&["coupon", "find", "a"], "campaign launch: issued once/1"),
        (&["failed", "list"], "ID"),
        (
            &["audit"],
            "campaign launch: unknown held at the gate, unknown coupons, ",
        ),
    ] {
        let ended = end_of(&operator, arguments).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.contains(expected), "{arguments:?}: {ended:?}");
        assert_eq!(
            ended.stderr.matches("cannot use the database").count(),
            1,
            "{arguments:?}: {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_campaign_hides_nothing_of_the_others() {
    let system = two_campaigns().await;
    let mut redis = system.redis_connection().await.expect("Redis");
    for key in ["campaign", "grants", "dead-letters"] {
        let key = format!("rushgate:{{other}}:{key}");
        redis::cmd("SET")
            .arg(&[&key, "no hash"])
            .exec_async(&mut redis)
            .await
            .expect("set");
    }
    for (arguments, code, expected) in [
        (
            ["campaign", "list"].as_slice(),
            1,
            "\nlaunch                   running",
        ),
        (
            &["coupon", "find", "a"],
            1,
            "campaign launch: issued once/1",
        ),
        (&["failed", "list"], 1, "over_quota"),
        (
            &["audit"],
            2,
            "campaign launch: 1 held at the gate, 1 coupons, 0 on the way, all agree",
        ),
        (
            &["campaign", "show", "other"],
            1,
            "inserted                             1",
        ),
    ] {
        let ended = end_of(&system.operator, arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.contains(expected), "{arguments:?}: {ended:?}");
        assert!(
            ended.stderr.contains("unknown: ") && ended.stderr.contains("WRONGTYPE"),
            "{arguments:?}: {ended:?}"
        );
        assert!(!ended.stderr.contains("launch"), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_says_for_what_and_how_long() {
    let system = System::start(Size::NO_CONSUMER).await;
    system.operator.create("launch", 5).await.expect("created");
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    until("it is in Kafka", async || {
        (launch.shown().await["in_kafka"] == 1).then_some(())
    })
    .await;
    let restore = ["restore", "launch", "--halt", "--wait", "12s"];
    let ended = end_of(&system.operator, &restore).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        // It has halted the campaign.
        (Some(3), ""),
        "{ended:?}"
    );
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let waits = |line: &&&str| line.contains("0 events wait in the stream");
    let said = lines.iter().filter(waits).count();
    // After one second, and ten seconds later.
    assert!((1..=3).contains(&said), "{ended:?}");
    // On a busy machine, it has said before that it was reading from Kafka.
    let first = lines.iter().find(waits).expect("a note");
    assert!(
        first.contains("and 1 in Kafka for the consumer: waiting up to "),
        "{ended:?}"
    );

    // Two operators at once, while another transaction holds the round: the second one waits for the first.
    let mut rival = system.database.session().await.expect("a session");
    let mut does = async |statement: &'static str| {
        let done = sqlx::raw_sql(statement).execute(&mut *rival).await;
        done.expect(statement);
    };
    does("UPDATE campaigns SET state = 'running'").await;
    does("BEGIN").await;
    does("SELECT * FROM campaigns c, rounds r FOR UPDATE").await;
    let operators = [1, 2].map(|_| system.start_operator(&["campaign", "pause", "launch"]));
    until("the second one says that it waits", async || {
        let mut logs = operators
            .iter()
            .map(rushgate_testbed::process::Process::log);
        let waits = "another command is changing campaign launch: waiting up to ";
        logs.any(|log| log.contains(waits)).then_some(())
    })
    .await;
    does("ROLLBACK").await;
}

/// Accepts connections and sends nothing, like a server that hangs; returns its address.
async fn hanging() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut connections = vec![];
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up_and_hides_nothing_of_the_others() {
    let system = System::welcome().await;
    let nowhere = hanging().await;
    let database = format!("mysql://rushgate@{nowhere}/x");
    let redis = format!("redis://{nowhere}");
    let show = async |variable: &str, value: &str| {
        let operator = system.operator.with(&[(variable, value)]);
        show(&operator, "welcome").await
    };
    let (database, redis, kafka) = tokio::join!(
        show("DATABASE_URL", &database),
        show("REDIS_URL", &redis),
        show("KAFKA_BROKERS", &nowhere)
    );
    for ((ended, shown), missing) in [
        (&database, "inserted"),
        (&redis, "in_stream"),
        (&kafka, "in_kafka"),
    ] {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let figures = ["in_stream", "in_kafka", "inserted"];
        let unknown = figures.map(|figure| shown[figure].is_null());
        assert_eq!(unknown, figures.map(|figure| figure == missing), "{shown}");
        assert!(ended.stderr.contains(": unknown: cannot use "), "{ended:?}");
    }
    let (database, _) = database;
    let note = r#"{"severity":"note","message":"the database has not answered yet: waiting up to "#;
    assert!(database.stderr.starts_with(note), "{database:?}");
}

/// Forwards a port to the database, and records the last packet of the client on each connection.
struct Eavesdropper {
    port: u16,
    connections: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Eavesdropper {
    async fn of(database: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(Mutex::new(vec![]));
        let heard = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", database)).await;
                let (mut from_server, mut to_server) = server.expect("the database").into_split();
                let (mut from_client, mut to_client) = client.into_split();
                tokio::spawn(async move {
                    // Until one side closes.
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
                let heard = Arc::clone(&heard);
                let number = {
                    let mut connections = heard.lock().expect("no panic");
                    connections.push(None);
                    connections.len() - 1
                };
                tokio::spawn(async move {
                    let mut last = vec![];
                    let mut buffer = vec![0; 16 * 1024];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        last = buffer[..read].to_vec();
                        // The server may have closed first.
                        let _ = to_server.write_all(&last).await;
                    }
                    heard.lock().expect("no panic")[number] = Some(last);
                });
            }
        });
        Self { port, connections }
    }

    /// How many connections have come since the last call of [`last_words`](Self::last_words).
    fn count(&self) -> usize {
        self.connections.lock().expect("no panic").len()
    }

    /// Waits until all connections are closed, and forgets them; returns the last packet of each.
    async fn last_words(&self, of: &str) -> Vec<Vec<u8>> {
        until(&format!("all connections of {of} are closed"), async || {
            let mut connections = self.connections.lock().expect("no panic");
            let all: Option<Vec<_>> = connections.iter().cloned().collect();
            let all = all.filter(|all| !all.is_empty())?;
            connections.clear();
            Some(all)
        })
        .await
    }
}

/// Otherwise the server counts the connection as aborted, and logs a warning.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_database_are_closed_and_not_just_dropped() {
    /// The packet that closes a connection: length 1, sequence number 0, COM_QUIT.
    const QUIT: [u8; 5] = [1, 0, 0, 0, 1];
    let mut system = System::start(Size::NO_CONSUMER).await;
    system.operator.create("launch", 5).await.expect("created");
    let database = Eavesdropper::of(system.logins.database).await;
    let logins = Logins {
        database: database.port,
        ..system.logins.clone()
    };
    let operator = system.operator.logged_in(logins.of(Role::Operator));
    for (arguments, code) in [
        (
            ["campaign", "create", "--id", "x", "--quota", "1"].as_slice(),
            0,
        ),
        (&["campaign", "change", "launch", "--quota", "6"], 0),
        (&["campaign", "change", "launch", "--to", "2126-01-01"], 1),
        (&["campaign", "pause", "launch"], 0),
        (&["campaign", "list"], 0),
        (&["campaign", "show", "launch"], 0),
        (&["campaign", "log", "nope"], 1),
        (&["coupon", "find", "a"], 0),
        (&["revoke", "launch", "a"], 1),
        (&["failed", "list"], 0),
        (&["failed", "show", "7"], 1),
        (&["audit"], 0),
        (&["restore", "launch"], 1),
        (&["setup"], 0),
    ] {
        let ended = end_of(&operator, arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        for last in database.last_words(&arguments.join(" ")).await {
            assert!(last.ends_with(&QUIT), "{arguments:?} ends with {last:?}");
        }
    }
    // The gate cannot confirm this grant.
    let given = View::of(&system, "x").apply("a").await;
    assert!(matches!(given, Reply::Granted(_)), "{given:?}");
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut set = redis::cmd("SET");
    set.arg("rushgate:{x}:grants").arg("of another type");
    set.exec_async(&mut redis).await.expect("set");
    system.set("DATABASE_URL", &logins.database_url(Role::Consumer));
    system
        .start_consumer_with(&[("CONSUMER_WRITERS", "1")])
        .await;
    // One connection of the writer, one that parks the record, and one that looks for parked records.
    until("the consumer has parked a record", async || {
        let list = system.operator.json(&["failed", "list"]).await.ok()?;
        let is_parked = list.iter().any(|listed| listed["reason"] == "unconfirmed");
        (is_parked && database.count() >= 3).then_some(())
    })
    .await;
    assert_eq!(system.consumers.remove(0).terminate(), Some(0));
    for last in database.last_words("the consumer").await {
        assert!(last.ends_with(&QUIT), "the consumer ends with {last:?}");
    }
}
