//! The whole system under test: every component can be killed, stopped and started again, and every connection can be
//! broken. Each program has a user of its own on each server, with the rights of `deploy/rights/`.

use crate::component::{Component, Link};
use crate::test_servers::TestServers;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use rushgate_e2e::campaign::Operator;
use rushgate_e2e::check::SignedCodes;
use rushgate_e2e::evidence::Stores;
use rushgate_e2e::program::program;
use rushgate_e2e::replica::Replica;
use rushgate_e2e::rights::{self, Logins, Role};
use rushgate_e2e::rows::Database;
use rushgate_gate::CodeKeys;
use rushgate_gate::signature::SigningKeys;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::{Process, Signal};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::servers::redis::{Redis, program as redis_server};
use rushgate_testbed::wait::until;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

/// Topic and consumer group.
const TOPIC: &str = "chaos";

const SCHEMA: &str = "rushgate";

/// Short times for claims and deliveries, so that longer outages can be tested.
const SETTINGS: [(&str, &str); 3] = [
    ("BRIDGE_CLAIM_IDLE", "3s"),
    ("BRIDGE_DELIVERY_TIMEOUT", "10s"),
    ("RUST_LOG", "info"),
];

/// The key of the records' signatures, where they are signed.
const SIGNING_KEY: &str = "a key of the bridges of more than 32 characters";

/// The keys of coupon codes. New campaigns have the first one.
pub(crate) const CODE_KEYS: [&str; 2] = [
    "a key of codes of more than 32 characters",
    "an older key of codes that new campaigns do not have",
];

/// Files of pool codes of a campaign, and the codes in each of them.
const CODE_FILES: u32 = 4;
const CODES_IN_FILE: u32 = 150;

/// How long to wait for a component that is to die at a failpoint.
const LAST_MOMENTS: Duration = Duration::from_secs(60);

/// How long Redis may take to answer a test. The half second of the client is too short on a busy machine.
const REDIS_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct World {
    dir: TempDir,
    redis_acl: PathBuf,
    processes: BTreeMap<Component, Process>,
    /// Ports of the handlers, and of the metrics of bridges and consumers.
    ports: BTreeMap<Component, Port>,
    /// Components that will die at a failpoint.
    doomed: Vec<Component>,
    pub(crate) dead_at_points: u64,
    /// Components that ended without being told to.
    pub(crate) deserters: Vec<String>,
    links: BTreeMap<Link, Proxy>,
    redis: Port,
    /// Whether bridges sign their records, and consumers take no others.
    is_signed: bool,
    /// The bug in bridge and consumer.
    planted: Option<&'static str>,
    pub(crate) operator: Operator,
    pub(crate) database: Database,
    /// Dropped last: no other test may use the servers before the components have ended.
    servers: TestServers,
}

impl World {
    /// Everything, up and ready.
    pub(crate) async fn start(servers: TestServers, is_signed: bool) -> Self {
        let redis = Port::free().expect("a free port");
        let mut links = BTreeMap::new();
        for link in Link::ALL {
            let proxy = match link {
                Link::Kafka => Proxy::open(servers.kafka_door, servers.kafka_login).await,
                Link::OperatorKafka => {
                    Proxy::open_kafka(servers.kafka_login, servers.kafka_door).await
                }
                Link::ConsumerDatabase | Link::OperatorDatabase => {
                    Proxy::open(0, servers.database).await
                }
                _ => Proxy::open(0, redis.number()).await,
            };
            links.insert(link, proxy);
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut processes = BTreeMap::new();
        for server in [Component::Kafka, Component::Database] {
            let name = server.to_string();
            let log = dir.path().join(format!("{name}.log"));
            let process = Process::start(&mut servers.command(&name), log);
            processes.insert(server, process.expect("it starts"));
        }
        let url = servers.database_url(SCHEMA);
        let database = until("the database answers", async || {
            Database::connect(&url).await.ok()
        })
        .await;
        let direct = logins(
            &servers,
            redis.number(),
            servers.database,
            servers.kafka_door,
        );
        let command = |role: Role| {
            let environment = [direct.of(role), environment(is_signed)].concat();
            Operator::new(program("rushgate"), environment)
        };
        let (setup, operator) = (command(Role::Setup), command(Role::Operator));
        let ports = Component::ALL.map(|component| (component, Port::free().expect("a free port")));
        let mut world = Self {
            servers,
            redis_acl: rights::redis_acl(dir.path()),
            dir,
            processes,
            ports: ports.into(),
            doomed: vec![],
            dead_at_points: 0,
            deserters: vec![],
            links,
            redis,
            is_signed,
            planted: None,
            operator,
            database,
        };
        world.start_component(Component::Redis);
        world.ready(Component::Redis).await;
        world.ready(Component::Kafka).await;
        rights::kafka::allow_programs(&world.stores().kafka_brokers, TOPIC).await;
        rights::before_setup(&world.database, SCHEMA).await;
        until("Kafka and database take what they are told", async || {
            setup.run(&["setup"]).await.ok()
        })
        .await;
        rights::after_setup(&world.database, SCHEMA).await;
        world.heal().await;
        world
    }

    /// Restarts bridges and consumers, with a bug or without one.
    pub(crate) async fn plant(&mut self, bug: Option<&'static str>) {
        if self.planted == bug {
            return;
        }
        self.planted = bug;
        for component in Component::ALL {
            if let Component::Bridge(_) | Component::Consumer(_) = component {
                self.terminate(component);
            }
        }
        self.heal().await;
    }

    pub(crate) fn stores(&self) -> Stores {
        Stores {
            database: self.database.clone(),
            redis_url: format!("redis://{}", self.redis.address()),
            kafka_brokers: format!("127.0.0.1:{}", self.servers.kafka),
            topic: TOPIC.to_owned(),
            group: TOPIC.to_owned(),
        }
    }

    /// Creates a campaign with signed codes or a pool of codes, whose applicants may give their coupons back.
    pub(crate) async fn create(&self, campaign: &str, quota: u32, codes: &str) -> SignedCodes {
        let quota = quota.to_string();
        let id = ["campaign", "create", "--id", campaign];
        let terms = ["--quota", &quota, "--codes", codes, "--self-cancel"];
        let created = self.operator.run(&[&id[..], &terms].concat()).await;
        created.expect("created");
        let keys = CodeKeys::new(CODE_KEYS);
        SignedCodes {
            campaign: campaign.parse().expect("a campaign"),
            key: keys.newest().expect("a key"),
            keys,
        }
    }

    /// Writes pool codes of a campaign into files. They are too few for most episodes, and the operator loads them, so that
    /// some codes are loaded after their grants, and some winners wait.
    pub(crate) fn write_codes(&self, campaign: &str) {
        for batch in 0..CODE_FILES {
            let first = batch * CODES_IN_FILE;
            let codes =
                (first..first + CODES_IN_FILE).map(|code| format!("{campaign} {code:05}\n"));
            let codes: String = codes.collect();
            std::fs::write(self.code_file(campaign, batch), codes).expect("written");
        }
    }

    /// The files of a campaign with pool codes.
    pub(crate) fn code_files(&self, campaign: &str) -> Vec<String> {
        let files = (0..CODE_FILES).map(|batch| self.code_file(campaign, batch));
        let files = files.filter(|file| file.exists());
        files.map(|file| file.display().to_string()).collect()
    }

    fn code_file(&self, campaign: &str, batch: u32) -> PathBuf {
        self.dir.path().join(format!("{campaign}-{batch}.csv"))
    }

    /// The keys with which bridges sign records, if they do.
    pub(crate) fn signing_keys(&self) -> Option<SigningKeys> {
        let keys = self.is_signed.then_some(SIGNING_KEY);
        SigningKeys::new(keys)
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        [Component::Handler(1), Component::Handler(2)]
            .map(|handler| format!("http://{}", self.ports[&handler].address()))
            .into()
    }

    /// The `rushgate` command, on connections that can be broken.
    pub(crate) fn operator_on_links(&self) -> Operator {
        let links = self.logins(
            Link::OperatorRedis,
            Link::OperatorDatabase,
            Link::OperatorKafka,
        );
        self.operator.logged_in(links.of(Role::Operator))
    }

    /// The servers behind these links.
    fn logins(&self, redis: Link, database: Link, kafka: Link) -> Logins {
        let port = |link| self.link(link).port;
        logins(&self.servers, port(redis), port(database), port(kafka))
    }

    pub(crate) fn link(&self, link: Link) -> &Proxy {
        &self.links[&link]
    }

    /// The directory of Redis's append-only files.
    pub(crate) fn redis_dir(&self) -> PathBuf {
        self.dir.path().join("redis")
    }

    /// A new directory of this name.
    pub(crate) fn fresh_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.number()
    }

    /// Puts the replica in the place of Redis, which is dead.
    pub(crate) async fn promote(&mut self, replica: Replica) {
        let (process, dir) = replica.promote(self.redis.number()).await;
        self.processes.insert(Component::Redis, process);
        let _ = std::fs::remove_dir_all(self.redis_dir());
        std::fs::rename(dir, self.redis_dir()).expect("a directory to rename");
    }

    /// Runs a statement as a user with all rights; ignores errors.
    pub(crate) async fn administer(&self, sql: &str) {
        let _ = self.database.run(sql).await;
    }

    /// Runs it until it has succeeded.
    pub(crate) async fn surely(&self, sql: &str) {
        until("the database has done it", async || {
            self.database.run(sql).await.ok()
        })
        .await;
    }

    pub(crate) fn redis_acl(&self) -> &Path {
        &self.redis_acl
    }

    /// Closes the database connections of the consumers.
    pub(crate) async fn kill_connections(&self) {
        let consumer = Role::Consumer.user();
        let connections = self.database.connections_of(consumer).await;
        for id in connections.unwrap_or_default() {
            self.administer(&format!("KILL {id}")).await;
        }
    }

    pub(crate) async fn redis_connection(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.stores().redis_url).expect("an address");
        let patience = AsyncConnectionConfig::new().set_response_timeout(Some(REDIS_PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&patience);
        connection.await.ok()
    }

    /// Kills a component, if it runs.
    pub(crate) fn kill(&mut self, component: Component) {
        if let Some(process) = self.processes.remove(&component) {
            process.crash();
        }
        self.doomed.retain(|doomed| *doomed != component);
    }

    /// Sends SIGTERM to a component, and waits until it has ended.
    pub(crate) fn terminate(&mut self, component: Component) {
        if let Some(process) = self.processes.remove(&component) {
            process.terminate();
        }
    }

    pub(crate) fn signal(&self, component: Component, signal: Signal) {
        if let Some(process) = self.processes.get(&component) {
            // It may have ended by itself.
            let _ = process.signal(signal);
        }
    }

    /// Starts a component that does not run.
    pub(crate) fn start_component(&mut self, component: Component) {
        if !self.processes.contains_key(&component) {
            self.launch(component, &[]);
        }
    }

    /// Restarts a bridge or a consumer so that it dies at its `nth` visit of failpoint `point`.
    pub(crate) fn doom(&mut self, component: Component, point: &str, nth: u8) {
        // With SIGTERM, a consumer leaves its group at once, so the new one need not wait for its session.
        self.terminate(component);
        let failpoints = format!("{point}={}*off->return", nth - 1);
        self.launch(component, &[("FAILPOINTS", &failpoints)]);
        self.doomed.push(component);
    }

    /// Waits until it has died; it reaches the failpoint as soon as it has work.
    pub(crate) async fn wait_for_doom(&mut self, component: Component) {
        let deadline = Instant::now() + LAST_MOMENTS;
        loop {
            let process = self.processes.get_mut(&component);
            if process.is_none_or(|process| process.ended().is_some()) {
                return;
            }
            if Instant::now() > deadline {
                let seconds = LAST_MOMENTS.as_secs();
                self.deserters.push(format!(
                    "{component} was to die at work, and had none for {seconds} s"
                ));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn launch(&mut self, component: Component, variables: &[(&str, &str)]) {
        let mut command = self.command(component);
        command.envs(variables.iter().copied());
        let log = self.log(component);
        let process = Process::start(&mut command, log);
        self.processes
            .insert(component, process.expect("it starts"));
    }

    fn log(&self, component: Component) -> PathBuf {
        self.dir.path().join(format!("{component}.log"))
    }

    /// Restarts components that have died.
    pub(crate) fn revive(&mut self) {
        for component in Component::ALL {
            let Some(process) = self.processes.get_mut(&component) else {
                self.start_component(component);
                continue;
            };
            let Some(status) = process.ended() else {
                continue;
            };
            self.processes.remove(&component);
            if self.doomed.contains(&component) {
                self.dead_at_points += 1;
                self.doomed.retain(|doomed| *doomed != component);
            } else {
                self.deserters
                    .push(format!("{component} ended by itself: {status}"));
            }
            self.start_component(component);
        }
    }

    /// Heals everything: connections, servers, components. Returns when all are ready.
    pub(crate) async fn heal(&mut self) {
        for link in self.links.values() {
            link.set(Trouble::None);
        }
        for component in Component::ALL {
            self.signal(component, Signal::SIGCONT);
        }
        // A component that has yet to die would do so during the next fault.
        for component in std::mem::take(&mut self.doomed) {
            self.kill(component);
        }
        for component in Component::ALL {
            self.revive();
            self.ready(component).await;
        }
    }

    async fn ready(&self, component: Component) {
        let port = &self.ports[&component];
        until(&format!("{component} is ready"), async || match component {
            Component::Redis => self.redis_connection().await.map(drop),
            Component::Kafka => {
                let address = ("127.0.0.1", self.servers.kafka);
                tokio::net::TcpStream::connect(address).await.ok().map(drop)
            }
            Component::Database => self.database.run("SELECT 1").await.ok().map(drop),
            Component::Handler(_) => page(port, "readyz").await.map(drop),
            Component::Bridge(_) => shows(port, "rushgate_bridge_ready 1").await,
            Component::Consumer(_) => shows(port, "rushgate_consumer_ready 1").await,
        })
        .await;
    }

    /// The sum of a counter over all components that have it.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let mut sum = 0.0;
        for (component, port) in &self.ports {
            if let Component::Bridge(_) | Component::Consumer(_) = component {
                let shown = page(port, "metrics").await.unwrap_or_default();
                let lines = shown.lines().filter_map(|line| line.strip_prefix(name));
                sum += lines
                    .filter_map(|rest| rest.trim().parse::<f64>().ok())
                    .sum::<f64>();
            }
        }
        sum as u64
    }

    /// The ends of all logs.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 25;
        let mut words = String::new();
        for component in Component::ALL {
            let log = std::fs::read(self.log(component)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            words.push_str(&format!("--- {component}\n{}\n", last.join("\n")));
        }
        words
    }

    fn command(&self, component: Component) -> Command {
        let logins = |role: Role, redis: Link| {
            let logins = self.logins(redis, Link::ConsumerDatabase, Link::Kafka);
            logins.of(role)
        };
        let mut command = match component {
            Component::Kafka | Component::Database => {
                return self.servers.command(&component.to_string());
            }
            Component::Redis => {
                let redis = Redis::on_port(self.redis.number(), self.redis_dir());
                let program = redis_server().expect("redis-server");
                let mut command = redis.command(&program).expect("a directory");
                command.arg("--aclfile").arg(&self.redis_acl);
                return command;
            }
            Component::Handler(_) => {
                let mut command = Command::new(program("wasm-host"));
                let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
                command.arg("--from").arg(manifest);
                command.args(["--listen", &self.ports[&component].address().to_string()]);
                command.envs(logins(Role::Handler, Link::HandlerRedis));
                // Codes are told, and coupons given back, only where it is proven who asks.
                command.env("SPIN_VARIABLE_IDENTITIES", "upstream");
                command.env("SPIN_VARIABLE_COUPON_CODE_KEYS", CODE_KEYS.join(","));
                return command;
            }
            Component::Bridge(_) => {
                let mut command = Command::new(program("kafka-bridge"));
                command.env("BRIDGE_CONSUMER_NAME", component.to_string());
                command.envs(logins(Role::Bridge, Link::BridgeRedis));
                command
            }
            Component::Consumer(_) => {
                let mut command = Command::new(program("consumer"));
                command.envs(logins(Role::Consumer, Link::ConsumerRedis));
                command
            }
        };
        command
            .envs(environment(self.is_signed))
            .env(
                "METRICS_LISTEN",
                self.ports[&component].address().to_string(),
            )
            .envs(SETTINGS)
            .envs(
                self.planted
                    .map(|bug| ("FAILPOINTS", format!("{bug}=return"))),
            );
        command
    }
}

/// The settings of all programs that use Kafka, with signatures or without.
fn environment(is_signed: bool) -> Vec<(String, String)> {
    let code_keys = CODE_KEYS.join(",");
    let mut variables = vec![
        ("KAFKA_TOPIC", TOPIC),
        ("KAFKA_GROUP", TOPIC),
        ("COUPON_CODE_KEYS", code_keys.as_str()),
    ];
    if is_signed {
        variables.extend([
            ("KAFKA_SIGNING_KEYS", SIGNING_KEY),
            ("KAFKA_REQUIRE_SIGNATURES", "true"),
        ]);
    }
    variables
        .into_iter()
        .map(|(variable, value)| (variable.to_owned(), value.to_owned()))
        .collect()
}

fn logins(servers: &TestServers, redis: u16, database: u16, kafka: u16) -> Logins {
    Logins {
        redis,
        database,
        schema: SCHEMA.to_owned(),
        kafka,
        kafka_password: servers.password.clone(),
        secured: None,
    }
}

async fn page(port: &Port, path: &str) -> Option<String> {
    let response = reqwest::get(format!("http://{}/{path}", port.address()))
        .await
        .ok()?;
    response.error_for_status().ok()?.text().await.ok()
}

async fn shows(port: &Port, line: &str) -> Option<()> {
    page(port, "metrics").await?.contains(line).then_some(())
}
