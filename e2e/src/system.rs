//! Starts a whole system for one test: servers, handlers, bridges and consumers. Each program has a user of its own on
//! each server, with the rights of `deploy/rights/`. If a part does not start, the test panics and prints its log.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

mod handlers;
mod programs;
mod redis;
mod size;
mod stores;

pub use size::Size;

use crate::campaign::Operator;
use crate::program::program;
use crate::rights::{self, Logins, Role};
use crate::rows::Database;
use crate::schema::Schema;
use crate::secured::Secured;
use crate::shared::{kafka_login, server};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
            // A machine that is busy with other tests must not cause refusals in this one, or lose answers of the gate. The
            // limit of a call is below that of the edge.
            ("SPIN_VARIABLE_GATE_BUDGET_MS", "0".to_owned()),
            ("SPIN_VARIABLE_REDIS_TIMEOUT_MS", "4000".to_owned()),
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

    /// How its programs reach the servers over TLS.
    pub fn secured(&self) -> &Secured {
        let secured = self.logins.secured.as_ref();
        secured.expect("a secured system")
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

    /// From now on, programs start with this environment variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment
            .push((variable.to_owned(), value.to_owned()));
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
}
