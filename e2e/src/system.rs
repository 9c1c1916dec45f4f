//! Starts a whole system for one test: servers, handlers, bridges and consumers. Each program has a user of its own on
//! each server, with the rights of `deploy/rights/`. If a part does not start, the test panics and prints its log.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use crate::campaign::Operator;
use crate::check::{Breach, Expected, breaches};
use crate::evidence::{Evidence, Stores};
use crate::program::program;
use crate::replica::{self, Replica};
use crate::rights::{self, Logins, Role};
use crate::rows::Database;
use crate::rush::{self, Rush};
use crate::schema::Schema;
use crate::secured::Secured;
use crate::shared::{kafka_login, server};
use redis::aio::MultiplexedConnection;
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::redis::Redis;
use rushgate_testbed::wait::until;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Handlers, bridges, consumers, and their servers.
pub struct System {
    name: String,
    directory: TempDir,
    /// For all programs.
    environment: Vec<(String, String)>,
    /// The servers, where each program has a user of its own.
    pub logins: Logins,
    redis_port: Port,
    redis_acl: PathBuf,
    redis_directory: PathBuf,
    redis: Option<Process>,
    /// The port of the metrics of each bridge and consumer.
    metrics: BTreeMap<String, Port>,
    handlers: Vec<Handler>,
    pub bridges: Vec<Process>,
    pub consumers: Vec<Process>,
    /// The `rushgate` command, with this system's addresses.
    pub operator: Operator,
    pub database: Database,
    // Last, because it must be dropped after the consumers, which use it.
    schema: Schema,
}

struct Handler {
    process: Process,
    url: String,
    port: Port,
}

#[derive(Clone, Copy)]
pub struct Size {
    pub handlers: usize,
    pub bridges: usize,
    pub consumers: usize,
}

impl Size {
    /// One handler, one bridge, one consumer.
    pub const ONE_OF_EACH: Self = Self {
        handlers: 1,
        bridges: 1,
        consumers: 1,
    };
    /// Two handlers, two bridges, two consumers.
    pub const TWO_OF_EACH: Self = Self {
        handlers: 2,
        bridges: 2,
        consumers: 2,
    };
    /// Only the servers, with tables and topic.
    pub const NONE: Self = Self {
        handlers: 0,
        bridges: 0,
        consumers: 0,
    };
    /// One handler and one bridge; grants stay in Kafka.
    pub const NO_CONSUMER: Self = Self {
        handlers: 1,
        bridges: 1,
        consumers: 0,
    };
    /// One handler; grants stay in the stream.
    pub const ONLY_A_HANDLER: Self = Self {
        handlers: 1,
        bridges: 0,
        consumers: 0,
    };
}

impl System {
    /// Starts everything and waits until it is ready.
    pub async fn start(size: Size) -> Self {
        Self::start_with(size, &[]).await
    }

    /// One handler, and the campaign `welcome` of ten coupons.
    pub async fn welcome() -> Self {
        let system = Self::start(Size::ONLY_A_HANDLER).await;
        system
            .operator
            .create("welcome", 10)
            .await
            .expect("created");
        system
    }

    /// Starts everything and waits until it is ready. `settings` are environment variables for all programs.
    pub async fn start_with(size: Size, settings: &[(&str, &str)]) -> Self {
        Self::begin(size, settings, None).await
    }

    /// The same, with TLS and a login on every connection to a server.
    pub async fn start_secured(size: Size, settings: &[(&str, &str)]) -> Self {
        Self::begin(size, settings, Some(Secured::new())).await
    }

    async fn begin(size: Size, settings: &[(&str, &str)], secured: Option<Secured>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{number}", std::process::id());
        let schema = Schema::create(&name.replace('-', "_")).await;
        let redis_port = Port::free().expect("a free port");
        let kafka = kafka_login();
        let logins = Logins {
            redis: redis_port.number(),
            database: rights::port(&schema.url),
            schema: schema.name.clone(),
            kafka: kafka.port,
            kafka_password: kafka.password,
            secured,
        };
        static KAFKA: OnceCell<()> = OnceCell::const_new();
        KAFKA
            .get_or_init(|| async {
                rights::kafka::allow_programs(&server("KAFKA_BROKERS"), "e2e-").await;
            })
            .await;
        let mut environment: Vec<(String, String)> = [
            ("KAFKA_TOPIC", name.clone()),
            ("KAFKA_GROUP", name.clone()),
            // A machine that is busy with other tests must not cause refusals in this one.
            ("SPIN_VARIABLE_GATE_BUDGET_MS", "0".to_owned()),
        ]
        .map(|(variable, value)| (variable.to_owned(), value))
        .into();
        environment.extend(
            settings
                .iter()
                .map(|(variable, value)| ((*variable).to_owned(), (*value).to_owned())),
        );

        let command = |role: Role| {
            let environment = [logins.of(role), environment.clone()].concat();
            Operator::new(program("rushgate"), environment)
        };
        let (setup, operator) = (command(Role::Setup), command(Role::Operator));
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut system = Self {
            name,
            redis_directory: directory.path().join("redis"),
            redis_acl: rights::redis_acl(directory.path()),
            directory,
            redis_port,
            redis: None,
            metrics: BTreeMap::new(),
            handlers: vec![],
            bridges: vec![],
            consumers: vec![],
            database: Database::connect(&schema.url).await.expect("the schema"),
            operator,
            environment,
            logins,
            schema,
        };
        system.start_redis();
        rights::before_setup(&system.database, &system.schema.name).await;
        setup.run(&["setup"]).await.expect("setup");
        rights::after_setup(&system.database, &system.schema.name).await;
        for _ in 0..size.handlers {
            system.start_handler().await;
        }
        for _ in 0..size.bridges {
            system.start_bridge().await;
        }
        for _ in 0..size.consumers {
            system.start_consumer().await;
        }
        system
    }

    /// The schema, for an administrator.
    pub fn database_url(&self) -> &str {
        &self.schema.url
    }

    pub fn topic(&self) -> &str {
        &self.name
    }

    /// The URL of the first handler.
    pub fn url(&self) -> &str {
        &self.handlers.first().expect("a handler").url
    }

    /// How its programs reach the servers over TLS.
    pub fn secured(&self) -> &Secured {
        let secured = self.logins.secured.as_ref();
        secured.expect("a secured system")
    }

    pub fn redis(&self) -> &Process {
        self.redis.as_ref().expect("Redis runs")
    }

    /// Starts Redis on its stored data, and waits until it answers.
    pub fn start_redis(&mut self) {
        let mut redis = Redis::on_port(self.redis_port.number(), &self.redis_directory);
        redis.tls = self.logins.secured.as_ref().map(Secured::redis);
        let acl = self.redis_acl.display().to_string();
        self.redis = Some(redis.start(&["--aclfile", &acl]).expect("Redis"));
    }

    /// Kills Redis, as in a crash.
    pub fn crash_redis(&mut self) {
        self.redis.take().expect("Redis runs").crash();
    }

    /// Moves away the stored data of a crashed Redis; returns where it is now.
    pub fn lose_redis_data(&mut self) -> PathBuf {
        assert!(self.redis.is_none(), "Redis still runs");
        let lost = self.directory.path().join("redis-lost");
        std::fs::rename(&self.redis_directory, &lost).expect("moved");
        lost
    }

    /// Redis's append-only file.
    pub fn redis_log(&self) -> PathBuf {
        let directory = self.redis_directory.join("appendonlydir");
        directory.join("appendonly.aof.1.incr.aof")
    }

    /// A connection to Redis, if it answers.
    pub async fn redis_connection(&self) -> Option<MultiplexedConnection> {
        replica::connection(self.redis_port.number()).await
    }

    /// Starts a replica, and waits until it is in sync.
    pub async fn start_replica(&self) -> Replica {
        let directory = self.directory.path().join("redis-replica");
        Replica::start(directory, self.redis_port.number(), &self.redis_acl).await
    }

    /// Kills Redis, as in a crash, and puts the replica in its place.
    pub async fn promote(&mut self, replica: Replica) {
        self.crash_redis();
        let (redis, directory) = replica.promote(self.redis_port.number()).await;
        self.redis = Some(redis);
        self.redis_directory = directory;
    }

    /// Starts another handler, and waits until it is ready.
    pub async fn start_handler(&mut self) {
        let handler = self.spawn_handler();
        let ready = format!("{}/readyz", handler.url);
        until("the handler is ready", async || {
            let response = reqwest::get(&ready).await;
            response.is_ok_and(|response| response.status().is_success())
        })
        .await;
        self.handlers.push(handler);
    }

    /// Starts a handler that answers, but may not be ready.
    pub async fn start_unready(settings: &[(&str, &str)]) -> Self {
        let mut system = Self::start_with(Size::NONE, settings).await;
        let handler = system.spawn_handler();
        let health = format!("{}/healthz", handler.url);
        until("the handler answers", async || {
            reqwest::get(&health).await.is_ok()
        })
        .await;
        system.handlers.push(handler);
        system
    }

    fn spawn_handler(&self) -> Handler {
        let port = Port::free().expect("a free port");
        let listen = port.address().to_string();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        // Spin itself, if `cargo xtask test` has found it.
        let mut command = match std::env::var_os("RUSHGATE_SPIN") {
            Some(spin) => {
                let mut command = Command::new(spin);
                command
                    .args(["up", "--state-dir"])
                    .arg(self.directory.path().join(&listen));
                command
            }
            None => Command::new(program("wasm-host")),
        };
        command
            .arg("--from")
            .arg(manifest)
            .args(["--listen", &listen]);
        let name = format!("handler-{}", self.handlers.len());
        let process = self.run(&mut command, Role::Handler, &name);
        Handler {
            process,
            url: format!("http://{listen}"),
            port,
        }
    }

    /// The addresses of the handlers.
    pub fn handler_addresses(&self) -> Vec<SocketAddr> {
        let ports = self.handlers.iter().map(|handler| &handler.port);
        ports.map(Port::address).collect()
    }

    /// A handler's process.
    pub fn handler(&self, number: usize) -> &Process {
        &self.handlers[number].process
    }

    /// Kills a handler, as in a crash.
    pub fn crash_handler(&mut self, number: usize) {
        self.handlers.remove(number).process.crash();
    }

    /// The peak memory of each program in bytes.
    pub fn peak_memory(&self) -> Vec<(&'static str, u64)> {
        let handlers = self
            .handlers
            .iter()
            .map(|handler| ("handler", &handler.process));
        let redis = self.redis.iter().map(|redis| ("Redis", redis));
        let bridges = self.bridges.iter().map(|bridge| ("bridge", bridge));
        let consumers = self.consumers.iter().map(|consumer| ("consumer", consumer));
        let parts = handlers.chain(redis).chain(bridges).chain(consumers);
        parts
            .map(|(name, process)| (name, process.usage().expect("it runs").peak_memory))
            .collect()
    }

    /// The handlers' logs.
    pub fn logs(&self) -> String {
        self.handlers
            .iter()
            .map(|handler| handler.process.log())
            .collect()
    }

    /// From now on, programs start with this environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment
            .push((variable.to_owned(), value.to_owned()));
    }

    /// Starts the `rushgate` command without waiting for its end; its output is in its log.
    pub fn start_operator(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(program("rushgate"));
        let name = arguments.join("-");
        self.run(command.args(arguments), Role::Operator, &name)
    }

    /// Starts another bridge, under a name that depends on their number, and waits until it is ready.
    pub async fn start_bridge(&mut self) {
        self.start_bridge_with(&[]).await;
    }

    /// The same with `settings` of its own.
    pub async fn start_bridge_with(&mut self, settings: &[(&str, &str)]) {
        let number = self.bridges.len();
        let mut command = Command::new(program("kafka-bridge"));
        command.envs(settings.iter().copied());
        command.env("BRIDGE_CONSUMER_NAME", format!("bridge-{number}"));
        let bridge = self
            .start_with_metrics(
                &mut command,
                Role::Bridge,
                &format!("bridge-{number}"),
                "rushgate_bridge_ready 1",
            )
            .await;
        self.bridges.push(bridge);
    }

    /// Starts another consumer and waits until it is ready.
    pub async fn start_consumer(&mut self) {
        self.start_consumer_with(&[]).await;
    }

    /// The same with `settings` of its own.
    pub async fn start_consumer_with(&mut self, settings: &[(&str, &str)]) {
        let number = self.consumers.len();
        let mut command = Command::new(program("consumer"));
        command.envs(settings.iter().copied());
        let consumer = self
            .start_with_metrics(
                &mut command,
                Role::Consumer,
                &format!("consumer-{number}"),
                "rushgate_consumer_ready 1",
            )
            .await;
        self.consumers.push(consumer);
    }

    async fn start_with_metrics(
        &mut self,
        command: &mut Command,
        role: Role,
        name: &str,
        ready: &str,
    ) -> Process {
        let port = Port::free().expect("a free port");
        let listen = port.address().to_string();
        let process = self.run(command.env("METRICS_LISTEN", listen), role, name);
        self.metrics.insert(name.to_owned(), port);
        until(&format!("{name} is ready"), async || {
            let metrics = self.metrics(name).await?;
            metrics.contains(ready).then_some(())
        })
        .await;
        process
    }

    /// The metrics of a program such as `consumer-0`, if it answers.
    pub async fn metrics(&self, name: &str) -> Option<String> {
        let address = self.metrics.get(name)?.address();
        let response = reqwest::get(format!("http://{address}/metrics"))
            .await
            .ok()?;
        response.text().await.ok()
    }

    /// Starts a bridge or a consumer with `settings` of its own, with which it need not be able to work.
    pub fn spawn(&self, name: &str, settings: &[(&str, &str)]) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(program(name));
        command.envs(self.environment_of(match name {
            "consumer" => Role::Consumer,
            _ => Role::Bridge,
        }));
        command.envs(settings.iter().copied());
        let log = self.log(&format!("{name}-spawned-{number}"));
        Process::start(&mut command, log).expect("it starts")
    }

    fn environment_of(&self, role: Role) -> impl Iterator<Item = (String, String)> {
        let logins = self.logins.of(role).into_iter();
        logins.chain(self.environment.iter().cloned())
    }

    /// The command's own settings come before those of all programs.
    fn run(&self, command: &mut Command, role: Role, name: &str) -> Process {
        let own = command.get_envs();
        let own: Vec<_> = own
            .filter_map(|(variable, value)| Some((variable.to_owned(), value?.to_owned())))
            .collect();
        command.envs(self.environment_of(role)).envs(own);
        Process::start(command, self.log(name)).expect("it starts")
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// A rush of this many applicants at `campaign`, over all handlers.
    pub fn rush(&self, campaign: &str, applicants: usize) -> Rush {
        Rush {
            urls: self
                .handlers
                .iter()
                .map(|handler| handler.url.clone())
                .collect(),
            campaign: campaign.to_owned(),
            applicants,
            concurrency: 50,
            repeats: 3,
            outlasts_a_loss: false,
        }
    }

    /// Waits until nothing of a finished rush is on its way, and compares the stores with the replies.
    pub async fn check(
        &self,
        expected: &Expected,
        campaign: &str,
        outcome: &rush::RushResult,
    ) -> Vec<Breach> {
        let granted = outcome.history.places.len() as u64;
        until("every grant has its row", async || {
            let count = self.database.count(campaign).await.expect("the database");
            (count >= granted).then_some(())
        })
        .await;
        self.drained(campaign).await;
        let evidence = self.stores().read(campaign).await.expect("all stores");
        self.redis_refused_nothing().await;
        breaches(expected, &outcome.history, &evidence)
    }

    /// Every program may do in Redis what it has tried. Some failures do not show otherwise: a metric stays 0.
    pub async fn redis_refused_nothing(&self) {
        let mut redis = self.redis_connection().await.expect("Redis");
        let log = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await;
        let log: Vec<BTreeMap<String, redis::Value>> = log.expect("a log");
        let objects = log.into_iter().map(|mut entry| entry.remove("object"));
        let mut objects = objects.flatten().map(redis::from_redis_value::<String>);
        // Newer servers know this command of Spin's client, which does not need it.
        let refused = objects.find(|object| !matches!(object.as_deref(), Ok("client|setinfo")));
        assert!(refused.is_none(), "{refused:?}");
    }

    /// The stores once nothing is on its way any more. Dead letters may be left.
    pub async fn at_rest(&self, campaign: &str) -> Evidence {
        until("nothing is on its way any more", async || {
            let evidence = self.stores().read(campaign).await.ok()?;
            evidence.is_at_rest().then_some(evidence)
        })
        .await
    }

    /// The stores of this system.
    pub fn stores(&self) -> Stores {
        Stores {
            database: self.database.clone(),
            redis_url: format!("redis://{}", self.redis_port.address()),
            kafka_brokers: server("KAFKA_BROKERS"),
            topic: self.name.clone(),
            group: self.name.clone(),
        }
    }

    /// C5: nothing pending, nothing in the stream, nothing in Kafka, nothing done by hand.
    pub async fn drained(&self, campaign: &str) {
        until("nothing is on its way any more", async || {
            let shown = self
                .operator
                .run(&["campaign", "show", campaign])
                .await
                .ok()?;
            let empty = [
                "in the stream",
                "in Kafka",
                "dead letters of the bridge",
                "dead letters of the consumer",
            ];
            let number = |what: &str| {
                let line = shown
                    .lines()
                    .find(|line| line.trim_start().starts_with(what))?;
                line.split_whitespace().next_back()?.parse::<u64>().ok()
            };
            empty
                .iter()
                .all(|what| number(what) == Some(0))
                .then_some(())
        })
        .await;
    }
}
