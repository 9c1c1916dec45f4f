//! Tests `rushgate setup`: interrupted at every statement, run several times at once, run by users who lack a right,
//! and run without its servers.

mod interceptor;

use crate::login::login;
use futures::future::join_all;
use interceptor::{At, Interceptor};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rushgate_e2e::program::program;
use rushgate_e2e::rights;
use rushgate_e2e::schema::{Schema, administer};
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::port::Port;
use rushgate_testbed::wait::until;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use url::Url;

/// sqlx's own migrator, which `setup` once used.
pub(crate) async fn migrator() -> Migrator {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    Migrator::new(migrations).await.expect("the migrations")
}

/// Concurrent schemas.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_is_interrupted_at_any_statement_is_completed_by_the_next() {
    let expected = TestServers::expected().await;
    let mut next = 1;
    let mut is_over = false;
    while !is_over {
        let cases = (next..next + AT_ONCE)
            .flat_map(|number| [At::Command(number), At::Answer(number)])
            .map(async |at| {
                let servers = TestServers::new().await;
                let is_interrupted = servers.is_interrupted(at).await;
                servers.becomes(&expected, &format!("{at:?}")).await;
                is_interrupted
            });
        is_over = join_all(cases).await.contains(&false);
        next += AT_ONCE;
    }
    let least = 3 * migrator().await.iter().count();
    assert!(next > least, "{next} commands");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_setup_left_half_done_is_completed() {
    let expected = TestServers::expected().await;
    for migration in migrator().await.iter() {
        let statements = statements(migration.sql.as_str());
        // Its error message said: remove the row. Some operators did.
        let cases = (0..=statements.len())
            .flat_map(|done| [(done, true), (done, false)])
            .map(async |(done, has_row)| {
                let servers = TestServers::new().await;
                servers.run_by_sqlx(migration.version - 1).await;
                if has_row {
                    servers.has_begun(migration).await;
                }
                for statement in &statements[..done] {
                    servers.execute(statement).await;
                }
                let case = format!(
                    "{done} statements of migration {}, row: {has_row}",
                    migration.version
                );
                servers.becomes(&expected, &case).await;
            });
        join_all(cases).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_set_up_one_schema() {
    let servers = TestServers::new().await;
    let setups = (0..4).map(|_| servers.command(&servers.schema.url, &[]).output());
    for output in join_all(setups).await {
        let said = output.expect("the command");
        assert!(said.status.success(), "{}", stderr(&said));
    }
    assert_eq!(servers.contents().await, TestServers::expected().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_setup_at_work_is_waited_for_and_named() {
    let servers = TestServers::new().await;
    let mut other = servers.connect().await;
    let lock = "SELECT GET_LOCK(LOWER(HEX(1026731422 * CRC32(DATABASE()))), 0), CAST(CONNECTION_ID() AS SIGNED)";
    let row = sqlx::raw_sql(lock)
        .fetch_one(&mut other)
        .await
        .expect("the lock");
    let id: i64 = row.get(1);

    // It also waits for the servers within that time.
    let refused = servers.set_up(&["--wait", "8s"]).await;
    assert!(!refused.status.success());
    let said = stderr(&refused);
    for part in [
        "another `rushgate setup` is running on the same schema: waiting up to",
        &format!("KILL {id}"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    other.close().await.expect("the end of the other one");
    servers
        .becomes(&TestServers::expected().await, "afterwards")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_names_a_missing_right_and_continues_when_it_is_granted() {
    let expected = TestServers::expected().await;
    let rights = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "CREATE",
        "ALTER",
        "REFERENCES",
    ];
    for lacking in rights {
        let servers = TestServers::new().await;
        let others: Vec<_> = rights
            .into_iter()
            .filter(|right| *right != lacking)
            .collect();
        let user = User::new(&servers, &others.join(", ")).await;
        let refused = user.sets_up().await;
        if lacking == "REFERENCES" && refused.status.success() {
            // MariaDB does not require it.
            user.goes().await;
            continue;
        }
        let said = stderr(&refused);
        assert!(!refused.status.success(), "without {lacking}");
        assert!(
            said.contains(&format!("{lacking} command denied"))
                && said.contains("grant it, then run `rushgate setup` again"),
            "without {lacking}: {said}"
        );
        user.is_granted(lacking).await;
        let done = user.sets_up().await;
        assert!(done.status.success(), "with {lacking}: {}", stderr(&done));
        assert_eq!(servers.contents().await, expected, "{lacking}");
        user.goes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_there_are_enough() {
    let servers = TestServers::new().await;
    servers.run_by_sqlx(i64::MAX).await;
    let user = User::new(&servers, "SELECT").await;
    let done = user.sets_up().await;
    assert!(done.status.success(), "{}", stderr(&done));
    user.goes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_left_alone() {
    for (before, complaint) in [
        (
            "CREATE TABLE campaigns (id INT PRIMARY KEY, state INT)",
            "the schema has table campaigns, column campaigns.state",
        ),
        (
            "UPDATE _sqlx_migrations SET version = 9999 ORDER BY version DESC LIMIT 1",
            "migration 9999, which this rushgate",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = x'00' ORDER BY version DESC LIMIT 1",
            "differs from the migration that the database was set up with",
        ),
    ] {
        let servers = TestServers::new().await;
        if before.starts_with("UPDATE") {
            servers.run_by_sqlx(i64::MAX).await;
        }
        servers.execute(before).await;
        let contents = servers.contents().await;
        let refused = servers.set_up(&[]).await;
        let said = stderr(&refused);
        assert!(!refused.status.success(), "{before}: {said}");
        assert!(said.contains(complaint), "{before}: {said}");
        assert_eq!(servers.contents().await, contents, "{before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_as_long_as_it_is_told_to_and_says_for_what() {
    /// Longer than it takes on a busy machine, and shorter than setup waits if it is not told.
    const PATIENCE: Duration = Duration::from_secs(45);
    // Accepts connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address").port();
    // No server listens here.
    let closed = Port::free().expect("a free port");
    let test_servers = TestServers::new().await;
    let servers = |port| {
        [
            (
                "the database",
                "DATABASE_URL",
                format!("mysql://127.0.0.1:{port}/x"),
            ),
            ("Redis", "REDIS_URL", format!("redis://127.0.0.1:{port}")),
            ("Kafka", "KAFKA_BROKERS", format!("127.0.0.1:{port}")),
        ]
    };
    let cases = [silent, closed.number()].into_iter().flat_map(servers);
    let cases = cases.flat_map(|server| [(server.clone(), 0), (server, 6)]);
    let cases = cases.map(async |((server, variable, address), wait)| {
        let mut command =
            test_servers.command(&test_servers.schema.url, &["--wait", &format!("{wait}s")]);
        let begun = Instant::now();
        let refused = timeout(PATIENCE, command.env(variable, &address).output()).await;
        let took = begun.elapsed();
        let refused = refused.unwrap_or_else(|_| panic!("{address}, {wait} s: it still waits"));
        let refused = refused.expect("the command");
        let said = stderr(&refused);
        let case = format!("{address}, {wait} s, {took:?}: {said}");
        assert!(!refused.status.success(), "{case}");
        assert!(said.contains(&format!("{server} is not ready")), "{case}");
        if wait > 0 {
            assert!(took > Duration::from_millis(750 * wait), "{case}");
            assert!(said.contains("is not ready yet: waiting up to"), "{case}");
        }
    });
    join_all(cases).await;
    assert_eq!(
        test_servers.tables().await,
        BTreeMap::new(),
        "is changed before all servers answer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_there_needs_no_right_to_create_it() {
    let servers = TestServers::new().await;
    let topic = &servers.name;
    let as_guest = async || {
        let mut setup = servers.command(&servers.schema.url, &[]);
        setup.envs(login("PLAIN")).env("KAFKA_TOPIC", topic);
        let output = setup.env("KAFKA_SASL_USERNAME", "guest").output().await;
        output.expect("the command")
    };
    let refused = as_guest().await;
    let said = stderr(&refused);
    let complaint = format!("topic {topic} does not exist, or this user may not see it");
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains(&complaint), "{said}");
    assert!(
        said.contains("Ask an administrator to create it, with 4 partitions"),
        "{said}"
    );
    assert_eq!(partitions(topic), 0);

    let mut setup = servers.command(&servers.schema.url, &["--partitions", "3"]);
    let done = setup.env("KAFKA_TOPIC", topic).output().await;
    assert!(done.expect("the command").status.success());
    let describe = ["--allow-principal", "User:guest", "--operation", "Describe"];
    let describe = [describe.as_slice(), &["--topic", topic]].concat();
    rights::kafka::acls(&server("KAFKA_BROKERS"), &describe).await;
    let done = as_guest().await;
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(partitions(topic), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_setup_creates_a_topic() {
    // With a broker that creates topics on request.
    let system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create("welcome", 1).await.expect("created");
    let letter = "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, \
                  headers, reason, detail) VALUES ('a', 0, 0, 0, 'b', '{', '{}', 'undecodable', 'a test')";
    system.database.run(letter).await.expect("a dead letter");
    let missing = format!("{}-missing", system.topic());
    let topic = [("KAFKA_TOPIC", missing.as_str())];
    for name in ["kafka-bridge", "consumer"] {
        let part = system.spawn(name, &topic);
        until(&format!("{name} has asked for the topic"), async || {
            let is_unknown = part.log().contains("Broker: Unknown topic or partition");
            (is_unknown || partitions(&missing) > 0).then_some(())
        })
        .await;
    }
    let operator = system.operator.with(&topic);
    for command in [
        &["audit"][..],
        &["campaign", "show", "welcome"],
        &["failed", "replay", "1"],
    ] {
        operator.end_of(command).await.expect("run");
    }
    assert_eq!(partitions(&missing), 0);
}

/// The number of partitions of `topic`; 0 if it does not exist.
fn partitions(topic: &str) -> usize {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", server("KAFKA_BROKERS"));
    let consumer: BaseConsumer = client.create().expect("a consumer");
    // Metadata of all topics, which creates none.
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30));
    let metadata = metadata.expect("the topics");
    let mut topics = metadata.topics().iter();
    let found = topics.find(|found| found.name() == topic);
    found.map_or(0, |found| found.partitions().len())
}

/// A schema of a test's own, and the servers for it.
struct TestServers {
    name: String,
    schema: Schema,
}

impl TestServers {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("setup_{}_{number}", std::process::id());
        Self {
            schema: Schema::create(&name).await,
            name,
        }
    }

    /// The schema after an uninterrupted run of sqlx's own migrator.
    async fn expected() -> BTreeMap<String, String> {
        let servers = Self::new().await;
        servers.run_by_sqlx(i64::MAX).await;
        servers.contents().await
    }

    async fn connect(&self) -> MySqlConnection {
        let connection = MySqlConnection::connect(&self.schema.url).await;
        connection.expect("the schema")
    }

    async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection);
        done.await.expect(sql);
    }

    /// Records that a migration has begun, as sqlx's own migrator does.
    async fn has_begun(&self, migration: &Migration) {
        self.execute(&format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ({}, '{}', FALSE, x'{}', -1)",
            migration.version,
            migration.description,
            hex(&migration.checksum)
        ))
        .await;
    }

    async fn run_by_sqlx(&self, last: i64) {
        let run = migrator()
            .await
            .run_to(last, &mut self.connect().await)
            .await;
        run.expect("sqlx's own migrator finds nothing amiss");
    }

    /// `setup` completes the schema, and sqlx's own migrator accepts it.
    async fn becomes(&self, expected: &BTreeMap<String, String>, case: &str) {
        let done = self.set_up(&[]).await;
        assert!(done.status.success(), "{case}: {}", stderr(&done));
        assert_eq!(self.contents().await, *expected, "{case}");
        self.run_by_sqlx(i64::MAX).await;
    }

    /// The definition of each table, and the recorded progress of each migration.
    async fn contents(&self) -> BTreeMap<String, String> {
        let mut contents = self.tables().await;
        if contents.contains_key("_sqlx_migrations") {
            let notes = "SELECT CONCAT('migration ', version), CONCAT_WS(' ', description, success, HEX(checksum))
                        FROM _sqlx_migrations";
            let rows = sqlx::raw_sql(notes)
                .fetch_all(&mut self.connect().await)
                .await;
            let rows = rows.expect("the notes");
            contents.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        }
        contents
    }

    async fn tables(&self) -> BTreeMap<String, String> {
        let mut connection = self.connect().await;
        let tables = sqlx::raw_sql("SHOW TABLES")
            .fetch_all(&mut connection)
            .await;
        let mut definitions = BTreeMap::new();
        for table in tables.expect("the tables") {
            let table: String = table.get(0);
            let show = AssertSqlSafe(format!("SHOW CREATE TABLE {table}"));
            let shown = sqlx::raw_sql(show).fetch_one(&mut connection).await;
            definitions.insert(table, shown.expect("a definition").get(1));
        }
        definitions
    }

    async fn set_up(&self, arguments: &[&str]) -> Output {
        let output = self.command(&self.schema.url, arguments).output().await;
        output.expect("the command")
    }

    fn command(&self, database_url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("rushgate"));
        command
            .arg("setup")
            .args(arguments)
            .env("DATABASE_URL", database_url)
            // One topic for all, so that it is created once.
            .env("KAFKA_TOPIC", format!("setup-{}", std::process::id()))
            .kill_on_drop(true);
        command
    }

    /// Runs `setup` up to this point, then kills it (`kill -9`), or cuts its connection if the answer is to be lost.
    /// False if it completed before that point.
    async fn is_interrupted(&self, at: At) -> bool {
        let mut url = Url::parse(&self.schema.url).expect("a URL");
        let interceptor = Interceptor::open(url.port().unwrap_or(3306), at).await;
        url.set_ip_host([127, 0, 0, 1].into()).expect("a host");
        url.set_port(Some(interceptor.port)).expect("a port");
        // Encrypted packets cannot be counted.
        url.set_query(Some("ssl-mode=DISABLED"));
        let mut setup = self.command(url.as_str(), &[]);
        let setup = setup.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut setup = setup.spawn().expect("the command");
        tokio::select! {
            () = interceptor.stopped() => {}
            ended = setup.wait() => {
                assert!(ended.expect("an exit code").success(), "{at:?}");
                return false;
            }
        }
        match at {
            // Before the first answer it has no database yet, and retries.
            At::Answer(2..) => {
                drop(interceptor);
                let output = setup.wait_with_output().await.expect("the command");
                let said = stderr(&output);
                assert!(!output.status.success(), "{at:?}");
                assert!(
                    said.contains("run `rushgate setup` again"),
                    "{at:?}: {said}"
                );
            }
            _ => setup.kill().await.expect("kill -9"),
        }
        true
    }
}

/// A database user with some rights on one schema.
struct User<'a> {
    servers: &'a TestServers,
}

impl<'a> User<'a> {
    async fn new(servers: &'a TestServers, rights: &str) -> Self {
        let name = &servers.name;
        let create = format!("CREATE USER {name} IDENTIFIED BY 'setup'");
        administer(&create).await.expect("CREATE USER");
        let user = Self { servers };
        user.is_granted(rights).await;
        user
    }

    async fn is_granted(&self, rights: &str) {
        let name = &self.servers.name;
        let grant = format!("GRANT {rights} ON {name}.* TO {name}");
        administer(&grant).await.expect("GRANT");
    }

    async fn sets_up(&self) -> Output {
        let mut url = Url::parse(&self.servers.schema.url).expect("a URL");
        url.set_username(&self.servers.name).expect("a user");
        url.set_password(Some("setup")).expect("a password");
        let output = self.servers.command(url.as_str(), &[]).output().await;
        output.expect("the command")
    }

    async fn goes(self) {
        let drop = format!("DROP USER {}", self.servers.name);
        administer(&drop).await.expect("DROP USER");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The statements of a migration.
fn statements(migration: &str) -> Vec<String> {
    let lines = migration.lines().map(|line| line.split("--").next());
    let sql: Vec<&str> = lines.flatten().collect();
    let sql = sql.join("\n");
    let statements = sql.split(';').map(str::trim);
    statements
        .filter(|statement| !statement.is_empty())
        .map(str::to_owned)
        .collect()
}
