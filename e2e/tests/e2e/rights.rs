//! Tests that the rights of `deploy/rights/` are as small as they go. All other tests of this directory run with them, so
//! they suffice. Here, every right of a user of Redis is taken away once, and a program misses it; and each server refuses
//! what no program does.

mod half_a_grant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult, Value};
use rushgate_e2e::rights::{self, Role, redis_rules, set_redis_rules};
use rushgate_e2e::rows::Database;
use rushgate_e2e::system::{Size, System};
use rushgate_gate::{
    apply, balance, cancel, confirm, load_codes, overview, project, projection, readmit, redeem,
    refusal_cache, resend, restore, revoke, status,
};
use rushgate_testbed::wait::until;
use sqlx::mysql::MySqlDatabaseError;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::spawn_blocking;

const WORK: &str = include_str!("rights/redis.txt");
const REFUSED: &str = include_str!("rights/refused.txt");

/// The keys of `granting.lua`.
const TEN: &str = "campaign schedule rounds grants stream waitlist waiting revoked pool known";

/// The keys of `apply.lua`.
const ELEVEN: &str =
    "campaign schedule rounds grants stream waitlist waiting revoked pool known codes";

/// The keys of `refusal_cache.lua`.
const OF_REFUSAL_CACHE: &str =
    "campaign schedule rounds grants stream waitlist waiting revoked pool known filter";

/// More grants than an exclusion list may name: a filter takes its place.
const MANY_GRANTS: &str =
    "for i = 1, 2048 do redis.call('HSET', KEYS[1], 'm' .. i, 'once/1/5') end";

/// A script, and its keys.
struct Script {
    /// Without it, the source is sent each time, as the bridge does.
    sha1: Option<&'static str>,
    source: &'static str,
    keys: &'static str,
}

fn script(name: &str) -> Option<Script> {
    fn of_gate<const KEYS: usize>(
        script: &'static rushgate_gate::Script<KEYS>,
        keys: &'static str,
    ) -> Script {
        Script {
            sha1: Some(script.sha1()),
            source: script.source(),
            keys,
        }
    }
    let by_source = |source, keys| Script {
        sha1: None,
        source,
        keys,
    };
    const OF_STATUS: &str = "campaign schedule grants waitlist waiting revoked rounds codes";
    const DEAD_LETTER: &str = include_str!("../../../kafka-bridge/src/lua/dead_letter.lua");
    const REMOVE_NAMES: &str = include_str!("../../../kafka-bridge/src/lua/remove_names.lua");
    Some(match name {
        "apply" => of_gate(&apply::SCRIPT, ELEVEN),
        "balance" => of_gate(&balance::SCRIPT, TEN),
        "cancel" => of_gate(&cancel::SCRIPT, TEN),
        "confirm" => of_gate(&confirm::SCRIPT, "campaign rounds grants revoked"),
        "load_codes" => of_gate(&load_codes::SCRIPT, "campaign codes"),
        "overview" => of_gate(&overview::SCRIPT, "campaign schedule rounds"),
        "project" => of_gate(&project::SCRIPT, TEN),
        "projection" => of_gate(&projection::SCRIPT, "campaign schedule rounds"),
        "readmit" => of_gate(&readmit::SCRIPT, "stream dead-letters"),
        "redeem" => of_gate(&redeem::SCRIPT, "campaign rounds grants revoked"),
        "refusal_cache" => of_gate(&refusal_cache::SCRIPT, OF_REFUSAL_CACHE),
        "resend" => of_gate(&resend::SCRIPT, "campaign grants stream revoked"),
        "restore" => of_gate(&restore::SCRIPT, TEN),
        "revoke" => of_gate(&revoke::SCRIPT, TEN),
        "status" => of_gate(&status::SCRIPT, OF_STATUS),
        "dead_letter" => by_source(DEAD_LETTER, "stream dead-letters"),
        "many_grants" => by_source(MANY_GRANTS, "grants"),
        "remove_names" => by_source(REMOVE_NAMES, "stream"),
        _ => return None,
    })
}

/// The programs by their letters in the files.
const PROGRAMS: [(&str, Role); 4] = [
    ("h", Role::Handler),
    ("b", Role::Bridge),
    ("c", Role::Consumer),
    ("o", Role::Operator),
];

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

/// The Redis of a system, and its administrator.
struct Server {
    system: System,
    administrator: MultiplexedConnection,
    /// Each run has campaigns of its own.
    runs: usize,
}

impl Server {
    async fn start() -> Self {
        let system = System::start(Size::NONE).await;
        let administrator = system.redis_connection().await.expect("Redis");
        let mut server = Self {
            system,
            administrator,
            runs: 0,
        };
        // Nothing that is written here has to last.
        server.admin(&["CONFIG", "SET", "appendonly", "no"]).await;
        server
    }

    async fn admin(&mut self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let done = command.query_async(&mut self.administrator).await;
        done.expect("the administrator may")
    }

    async fn login(&self, role: Role) -> MultiplexedConnection {
        let client = redis::Client::open(self.system.logins.redis_url(role)).expect("a URL");
        let patience =
            AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let connection = client.get_multiplexed_async_connection_with_config(&patience);
        connection.await.expect("a login")
    }

    /// Runs the script or the command of a line.
    async fn run(
        &self,
        line: &[&'static str],
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Value> {
        let campaign = |letter: &str| format!("{}{}", letter.to_lowercase(), self.runs);
        let word = |word: &&str| match *word {
            letter @ ("A" | "B") => campaign(letter),
            "''" => String::new(),
            "confirm" => confirm::SCRIPT.source().to_owned(),
            word => match word.strip_prefix('@').and_then(|key| key.split_once('/')) {
                Some((letter, key)) => format!("rushgate:{{{}}}:{key}", campaign(letter)),
                None => word.to_owned(),
            },
        };
        let words = |words: &[&str]| words.iter().map(word).collect::<Vec<String>>();
        let Some(script) = script(line[1]) else {
            let mut command = redis::cmd(line[1]);
            return command.arg(words(&line[2..])).query_async(connection).await;
        };
        let keys = script.keys.split(' ');
        let keys: Vec<String> = keys
            .map(|key| format!("rushgate:{{{}}}:{key}", campaign(line[2])))
            .collect();
        let eval = |command: &str, script: &str| {
            let mut eval = redis::cmd(command);
            eval.arg(script).arg(keys.len()).arg(&keys);
            eval.arg(words(&line[3..]));
            eval
        };
        if let Some(sha1) = script.sha1 {
            let reply = eval("EVALSHA", sha1).query_async(connection).await;
            if !matches!(&reply, Err(error) if error.code() == Some("NOSCRIPT")) {
                return reply;
            }
        }
        eval("EVAL", script.source).query_async(connection).await
    }

    /// Does everything of [`WORK`]: what `program` does as its user, and the rest as the administrator. Returns what Redis
    /// refuses the user.
    async fn work(&mut self, program: &str, role: Role) -> Vec<String> {
        self.admin(&["ACL", "LOG", "RESET"]).await;
        let mut own = self.login(role).await;
        let mut administrator = self.administrator.clone();
        for line in lines(WORK) {
            let is_own = line[0] == program;
            let connection = if is_own { &mut own } else { &mut administrator };
            let reply = self.run(&line, connection).await;
            // Its own errors are in the log below.
            assert!(is_own || reply.is_ok(), "{line:?}: {reply:?}");
        }
        self.runs += 1;
        let log = self.admin(&["ACL", "LOG"]).await;
        let entries: Vec<BTreeMap<String, Value>> = redis::from_redis_value(log).expect("entries");
        let objects = entries.into_iter().map(|mut entry| {
            let object = entry.remove("object").expect("an object");
            redis::from_redis_value::<String>(object).expect("text")
        });
        // Newer servers know this command of the client, which does not need it.
        objects
            .filter(|object| object != "client|setinfo")
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_misses_every_right_in_redis_that_its_user_loses() {
    let mut server = Server::start().await;
    for (program, role) in PROGRAMS {
        let refused = server.work(program, role).await;
        assert_eq!(refused, [] as [String; 0], "{role:?}");
        let rules = redis_rules(role);
        for (place, rule) in rules.iter().enumerate() {
            if !rule.starts_with(['+', '~', '%']) {
                continue;
            }
            let mut fewer = rules.clone();
            fewer.remove(place);
            let set = set_redis_rules(role, &fewer);
            let set = set.exec_async(&mut server.administrator).await;
            set.unwrap_or_else(|error| panic!("{role:?} without {rule}: {error}"));
            let refused = server.work(program, role).await;
            assert!(!refused.is_empty(), "{role:?} does not need {rule}");
        }
        let set = set_redis_rules(role, &rules);
        set.exec_async(&mut server.administrator)
            .await
            .expect("set");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_refuses_what_no_program_does() {
    const NEVER: &str =
        "FLUSHALL\nCONFIG GET *\nKEYS *\nSCAN 0\nACL LIST\nSHUTDOWN\nGET another\nDEL @A/grants";
    let mut server = Server::start().await;
    assert_eq!(server.work("", Role::Handler).await, [] as [String; 0]);
    for (program, role) in PROGRAMS {
        let mut own = server.login(role).await;
        let never = NEVER.lines().map(|line| {
            let words = line.split(' ');
            [program].into_iter().chain(words).collect::<Vec<&str>>()
        });
        let refused = lines(REFUSED).filter(|line| line[0] == program);
        for line in refused.chain(never) {
            let reply = server.run(&line, &mut own).await;
            let error = reply.expect_err(&format!("{line:?}"));
            assert_eq!(error.code(), Some("NOPERM"), "{line:?}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_what_no_program_does() {
    let system = System::start(Size::NONE).await;
    for (role, statements) in [
        (
            Role::Consumer,
            &[
                "DELETE FROM coupons",
                "UPDATE coupons SET user_id = 'x'",
                "UPDATE campaigns SET waitlist = 1",
                "SELECT timezone FROM campaigns",
                "INSERT INTO campaigns (campaign_id, state, one_per) VALUES ('x', 'running', 'round')",
                "UPDATE rounds SET quota = 1",
                "DELETE FROM failed_events",
                "UPDATE failed_events SET payload = ''",
                "SELECT detail FROM campaign_log",
                "SELECT * FROM intentions",
                "SELECT * FROM pool_codes",
            ][..],
        ),
        (
            Role::Operator,
            &[
                "INSERT INTO coupons (serial) VALUES (1)",
                "UPDATE coupons SET state = 'revoked'",
                "DELETE FROM coupons",
                "DELETE FROM campaigns",
                "UPDATE campaign_log SET detail = ''",
                "DELETE FROM campaign_log",
                "UPDATE failed_events SET payload = ''",
                "DELETE FROM failed_events",
                "UPDATE _sqlx_migrations SET success = 1",
                "UPDATE pool_codes SET code = ''",
                "DELETE FROM pool_codes",
            ],
        ),
        (
            Role::Setup,
            &[
                "SELECT * FROM coupons",
                "SELECT * FROM failed_events",
                "SELECT * FROM pool_codes",
                "UPDATE campaigns SET state = 'paused'",
            ],
        ),
    ] {
        let database = Database::connect(&system.logins.database_url(role)).await;
        let database = database.expect("a login");
        let never = [
            "DROP TABLE coupons",
            "TRUNCATE coupons",
            "SELECT * FROM mysql.user",
        ];
        let tables = ["CREATE TABLE x (x INT)", "ALTER TABLE coupons ADD x INT"];
        let tables = tables.iter().filter(|_| role != Role::Setup);
        for statement in statements.iter().chain(&never).chain(tables) {
            let error = database.run(statement).await;
            let error = error.expect_err(&format!("{role:?}: {statement}"));
            let error = error.downcast_ref::<sqlx::Error>().expect("an answer");
            let number = error
                .as_database_error()
                .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
                .map(MySqlDatabaseError::number);
            // Denied in the schema, the table, or the column.
            let is_denied = number.is_some_and(|number| [1044, 1142, 1143].contains(&number));
            assert!(is_denied, "{role:?}: {statement}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_names_the_table_on_which_its_user_lost_its_rights() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    system.operator.create("launch", 5).await.expect("created");
    let lose = async |role: Role, table: &str| {
        let user = role.user();
        let revoke = format!("REVOKE ALL ON {table} FROM '{user}'@'%'");
        system.database.run(&revoke).await.expect("revoked");
    };
    let again = async || rights::after_setup(&system.database, &system.logins.schema).await;
    for (table, command) in [
        ("campaigns", &["campaign", "list"][..]),
        ("rounds", &["campaign", "log", "launch"]),
        ("coupons", &["coupon", "find", "a"]),
        ("failed_events", &["failed", "list"]),
        ("campaign_log", &["campaign", "log", "launch"]),
        ("intentions", &["campaign", "pause", "launch"]),
        ("_sqlx_migrations", &["setup"]),
    ] {
        lose(Role::Operator, table).await;
        let ended = system.operator.end_of(command).await.expect("run");
        assert_eq!(ended.code, Some(1), "{table}: {ended:?}");
        assert!(ended.stderr.contains(table), "{table}: {ended:?}");
        assert!(ended.stderr.contains("lacks a right"), "{table}: {ended:?}");
        again().await;
    }
    // A migration is missing, which the operator may not run.
    let undone = "UPDATE _sqlx_migrations SET success = FALSE ORDER BY version DESC LIMIT 1";
    system.database.run(undone).await.expect(undone);
    let ended = system.operator.end_of(&["setup"]).await.expect("run");
    assert!(ended.stderr.contains("UPDATE command denied"), "{ended:?}");
    for table in [
        "campaigns",
        "rounds",
        "coupons",
        "failed_events",
        "campaign_log",
    ] {
        lose(Role::Consumer, table).await;
        let consumer = system.spawn("consumer", &[]);
        until(&format!("the consumer names {table}"), async || {
            let denied = format!("for table `{table}`");
            let log = consumer
                .log()
                .replace(&format!("`{}`.", system.logins.schema), "");
            log.replace('\'', "`").contains(&denied).then_some(())
        })
        .await;
        again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_refuses_what_no_program_does() {
    const LONG: Duration = Duration::from_secs(30);
    let system = System::start(Size::NONE).await;
    let topic = system.topic();
    let client = |role: Role| {
        let login: BTreeMap<_, _> = system.logins.of(role).into_iter().collect();
        let mut client = ClientConfig::new();
        for (setting, variable) in [
            ("bootstrap.servers", "KAFKA_BROKERS"),
            ("security.protocol", "KAFKA_SECURITY_PROTOCOL"),
            ("sasl.mechanism", "KAFKA_SASL_MECHANISM"),
            ("sasl.username", "KAFKA_SASL_USERNAME"),
            ("sasl.password", "KAFKA_SASL_PASSWORD"),
        ] {
            client.set(setting, &login[variable]);
        }
        client.set("group.id", topic);
        client
    };
    let mut partition = TopicPartitionList::new();
    let offset = partition.add_partition_offset(topic, 0, Offset::Beginning);
    offset.expect("a partition");
    let options = AdminOptions::new();
    for role in [Role::Bridge, Role::Consumer, Role::Operator, Role::Setup] {
        let mut refused: Vec<(&str, Option<RDKafkaErrorCode>)> = vec![];
        let admin: AdminClient<DefaultClientContext> = client(role).create().expect("a client");
        let of_topic = |results: KafkaResult<Vec<TopicResult>>| {
            let results = results.expect("an answer").pop();
            results.and_then(|result| Some(result.err()?.1))
        };
        let other = format!("{topic}-other");
        let other = NewTopic::new(&other, 1, TopicReplication::Fixed(1));
        if role != Role::Setup {
            let created = admin.create_topics([&other], &options).await;
            refused.push(("create", of_topic(created)));
        }
        let deleted = admin.delete_topics(&[topic], &options).await;
        refused.push(("delete", of_topic(deleted)));
        let emptied = admin.delete_records(&partition, &options).await;
        let emptied = emptied.expect("an answer").elements()[0].error();
        let emptied = emptied.expect_err("refused").rdkafka_error_code();
        refused.push(("delete records", emptied));
        if matches!(role, Role::Consumer | Role::Setup) {
            let producer: FutureProducer = client(role).create().expect("a client");
            let sent = producer.send(FutureRecord::to(topic).key("x").payload("x"), LONG);
            let error = sent.await.expect_err("refused").0;
            refused.push(("write", error.rdkafka_error_code()));
        }
        if matches!(role, Role::Bridge | Role::Setup) {
            let consumer: BaseConsumer = client(role).create().expect("a client");
            consumer.assign(&partition).expect("assigned");
            let read = spawn_blocking(move || {
                // It is told of its group first.
                let group = Some(RDKafkaErrorCode::GroupAuthorizationFailed);
                let mut told = std::iter::repeat_with(|| {
                    let error = consumer.poll(LONG)?.err()?;
                    error.rdkafka_error_code()
                });
                told.find(|code| *code != group).flatten()
            });
            refused.push(("read", read.await.expect("no panic")));
        }
        for (what, code) in refused {
            let denied = Some(RDKafkaErrorCode::TopicAuthorizationFailed);
            assert_eq!(code, denied, "{role:?}: {what}");
        }
        if role != Role::Consumer {
            let consumer: BaseConsumer = client(role).create().expect("a client");
            let mut next = TopicPartitionList::new();
            let offset = next.add_partition_offset(topic, 0, Offset::Offset(1));
            offset.expect("a partition");
            let is_refused = spawn_blocking(move || {
                let denied = Some(RDKafkaErrorCode::GroupAuthorizationFailed);
                let commit = consumer.commit(&next, CommitMode::Sync);
                let refused = commit.expect_err("refused").rdkafka_error_code();
                // A user that may not look for the group's coordinator is told so later.
                let mut told =
                    std::iter::from_fn(|| Some(consumer.poll(LONG)?.err()?.rdkafka_error_code()));
                refused == denied || told.any(|code| code == denied)
            })
            .await
            .expect("no panic");
            assert!(is_refused, "{role:?}: the group is not refused");
        }
    }
}
