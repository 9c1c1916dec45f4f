//! Provides the servers and programs of a benchmark run. The servers run already; the programs are started when they
//! are needed, and end with the run.

pub mod programs;
mod ways;

use crate::bare::{self, Kept};
use crate::gate::Gate;
use crate::machine::Machine;
use crate::scale::Scale;
use anyhow::{Context, Result, bail};
use clap::Args;
use rushgate_gate::CampaignId;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::slice::from_ref;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use url::Url;

/// Addresses and programs. `cargo xtask bench` passes them as environment variables.
#[derive(Args, Clone, Debug)]
pub struct Servers {
    /// A Redis for the benchmarks alone
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: String,
    /// Kafka's bootstrap servers
    #[arg(long, env = "KAFKA_BROKERS")]
    pub kafka_brokers: String,
    /// A database for the benchmarks alone: its coupons are deleted
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// The directory of our programs; only release builds give meaningful figures
    #[arg(long, env = "RUSHGATE_BIN_DIR")]
    pub bin_dir: PathBuf,
    /// The Spin program, to run components on Spin instead of wasm-host
    #[arg(long, env = "RUSHGATE_SPIN")]
    pub spin: Option<PathBuf>,
    /// Java's class path of the Spring service in `bench/spring`, for the benchmark `ways`
    #[arg(long, env = "RUSHGATE_SPRING", hide_env_values = true)]
    pub spring: Option<String>,
    /// The host of the components, for the report
    #[arg(long, env = "RUSHGATE_HOST", default_value = "wasm-host")]
    pub host: String,
    /// The version of the broker, for the report: Kafka does not return it
    #[arg(long, env = "RUSHGATE_KAFKA_VERSION", default_value = "?")]
    pub kafka_version: String,
    /// The pid of Kafka, to measure its costs
    #[arg(long, env = "RUSHGATE_KAFKA_PROCESS")]
    pub kafka_process: Option<u32>,
    /// The pid of the database, to measure its costs
    #[arg(long, env = "RUSHGATE_DATABASE_PROCESS")]
    pub database_process: Option<u32>,
}

/// The servers of one run.
pub struct Testbed {
    pub servers: Servers,
    pub scale: Scale,
    pub gate: Gate,
    runtime: Runtime,
    directory: TempDir,
    /// The components that a host has compiled in this run: whether on Spin, and the manifest.
    compiled: RefCell<HashSet<(bool, String)>>,
}

/// The topic and consumer group of one turn.
#[derive(Clone, Debug)]
pub struct Route {
    pub topic: String,
}

impl Testbed {
    /// Connects to the servers, and creates the tables.
    pub fn new(servers: Servers, scale: Scale) -> Result<Self> {
        let testbed = Self {
            gate: Gate::connect(&servers.redis_url, scale)?,
            runtime: Runtime::new().context("a runtime")?,
            directory: tempfile::tempdir().context("creating a directory for logs")?,
            compiled: RefCell::default(),
            servers,
            scale,
        };
        testbed.route()?;
        Ok(testbed)
    }

    /// This machine and the versions of its servers.
    ///
    /// # Errors
    /// When a server does not return its version.
    pub fn machine(&mut self) -> Result<Machine> {
        let version: String = self.with_database(async |database| {
            sqlx::query_scalar("SELECT VERSION()")
                .fetch_one(database)
                .await
        })?;
        let name = if version.contains("MariaDB") {
            "MariaDB"
        } else {
            "MySQL"
        };
        let number = version.split('-').next().unwrap_or_default();
        Ok(Machine {
            redis: self.gate.info("redis_version")?,
            kafka: self.servers.kafka_version.clone(),
            database: format!("{name} {number}"),
            host: self.servers.host.clone(),
            ..Machine::this()
        })
    }

    /// Runs something on a connection to the database.
    ///
    /// # Errors
    /// When it fails.
    pub fn with_database<T>(
        &self,
        work: impl AsyncFnOnce(&mut MySqlConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let options = self.database()?;
        let done = self.runtime.block_on(async {
            let mut connection = options.connect().await?;
            work(&mut connection).await
        });
        done.context("the database")
    }

    /// The connection options of the database.
    ///
    /// # Errors
    /// When DATABASE_URL is invalid.
    pub fn database(&self) -> Result<MySqlConnectOptions> {
        let options: MySqlConnectOptions =
            self.servers.database_url.parse().context("DATABASE_URL")?;
        Ok(options
            .timezone(Some("+00:00".to_owned()))
            .disable_statement_logging())
    }

    /// Switches to another database on the same server; creates it with its tables if it is missing.
    ///
    /// # Errors
    /// When DATABASE_URL is invalid, or the server refuses.
    pub fn change_database(&mut self, name: &str) -> Result<()> {
        self.with_database(async |database| {
            let create = AssertSqlSafe(format!("CREATE DATABASE IF NOT EXISTS `{name}`"));
            sqlx::raw_sql(create).execute(database).await
        })?;
        let mut url: Url = self.servers.database_url.parse().context("DATABASE_URL")?;
        url.set_path(name);
        self.servers.database_url = url.into();
        self.route()?;
        Ok(())
    }

    /// Runs all of them at once.
    ///
    /// # Errors
    /// The first of their errors.
    pub fn all_of<T: Send + 'static>(
        &self,
        work: Vec<impl Future<Output = Result<T>> + Send + 'static>,
    ) -> Result<Vec<T>> {
        self.runtime.block_on(async {
            let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
            let mut done = vec![];
            for task in tasks {
                done.push(task.await??);
            }
            Ok(done)
        })
    }

    /// Starts a task beside the measurement.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Waits for a task.
    ///
    /// # Errors
    /// When it has panicked.
    pub fn wait_for<T>(&self, work: JoinHandle<T>) -> Result<T> {
        Ok(self.runtime.block_on(work)?)
    }

    /// A new topic; creates the tables if they are missing.
    ///
    /// # Errors
    /// When the `rushgate` command fails.
    pub fn route(&self) -> Result<Route> {
        let route = Route::fresh();
        self.operator(&["setup"], &route)?;
        Ok(route)
    }

    /// The same with this many partitions.
    ///
    /// # Errors
    /// When the `rushgate` command fails.
    pub fn partitioned(&self, partitions: usize) -> Result<Route> {
        let route = Route::fresh();
        self.operator(&["setup", "--partitions", &partitions.to_string()], &route)?;
        Ok(route)
    }

    /// Creates a campaign in database and gate that is open now; returns its id.
    ///
    /// # Errors
    /// When the `rushgate` command fails.
    pub fn campaign(&mut self, quota: u64, route: &Route) -> Result<CampaignId> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("bench-row-{}-{number}", std::process::id());
        let quota = quota.to_string();
        let create = ["campaign", "create", "--id", &id, "--quota", &quota];
        self.operator(&create, route)?;
        Ok(id.parse()?)
    }

    /// Creates a campaign whose coupons are all granted and in the topic, without a bridge; returns its id.
    ///
    /// # Errors
    /// When the `rushgate` command fails, or Redis or Kafka refuse.
    pub fn published(&mut self, records: u64, route: &Route) -> Result<CampaignId> {
        let campaign = self.campaign(records, route)?;
        self.gate.grant(from_ref(&campaign), 0, records)?;
        let brokers = &self.servers.kafka_brokers;
        bare::publish(
            &mut self.gate,
            &campaign,
            brokers,
            &route.topic,
            Kept::Nothing,
        )?;
        Ok(campaign)
    }

    fn operator(&self, arguments: &[&str], route: &Route) -> Result<()> {
        let output = Command::new(self.servers.bin_dir.join("rushgate"))
            .args(arguments)
            .envs(self.environment())
            .envs(route.environment())
            .output()
            .context("running the rushgate command")?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("`rushgate {}`: {complaint}", arguments.join(" "));
        }
        Ok(())
    }

    /// Deletes all rows of coupons.
    pub fn empty_tables(&self) -> Result<()> {
        self.with_database(async |database| {
            for table in ["coupons", "failed_events"] {
                let truncate = AssertSqlSafe(format!("TRUNCATE TABLE {table}"));
                sqlx::raw_sql(truncate).execute(&mut *database).await?;
            }
            Ok(())
        })
    }

    fn environment(&self) -> [(&'static str, &str); 3] {
        let servers = &self.servers;
        [
            ("REDIS_URL", &servers.redis_url),
            ("KAFKA_BROKERS", &servers.kafka_brokers),
            ("DATABASE_URL", &servers.database_url),
        ]
    }
}

impl Route {
    fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("bench-{}-{number}", std::process::id());
        Self { topic }
    }

    fn environment(&self) -> [(&'static str, &str); 2] {
        [("KAFKA_TOPIC", &self.topic), ("KAFKA_GROUP", &self.topic)]
    }
}
