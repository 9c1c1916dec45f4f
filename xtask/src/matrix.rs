//! Runs tests on each server that Rushgate supports, also on newer ones than those of this machine, and prints what ran.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rushgate_testbed::servers::database::DatabaseServer;
use rushgate_testbed::servers::redis;

use crate::build;
use crate::kafka;
use crate::packages;
use crate::run;
use crate::say;
use crate::sid::{MARIADB, MYSQL, Newer, REDIS, VALKEY};
use crate::stages::Stages;
use crate::suites::{Suites, Tools};
use crate::timed;

/// Servers that are tested together. In place of `None`, the installed one.
struct Set {
    redis: Option<&'static Newer>,
    database: Option<&'static Newer>,
}

/// Arguments of `cargo test`.
type Suite<'a> = &'a [&'a str];

/// Every server is in one of these sets.
static SETS: [Set; 3] = [
    Set {
        redis: None,
        database: None,
    },
    Set {
        redis: Some(&REDIS),
        database: Some(&MYSQL),
    },
    Set {
        redis: Some(&VALKEY),
        database: Some(&MARIADB),
    },
];

/// All tests that need a server, but benchmarks.
static SUITES: [Suite; 4] = [
    &["--test=real_redis"],
    &["--test=real_servers"],
    &["--test=e2e"],
    &["--test=chaos"],
];

/// What `cargo xtask test` runs on newer servers.
static BOUNDED: [(Set, &[Suite]); 2] = [
    (
        Set {
            redis: Some(&REDIS),
            database: Some(&MYSQL),
        },
        &[
            &["--test=real_redis"],
            &[
                "--test=real_servers",
                "--test=e2e",
                "--",
                "faults::",
                "journey::",
            ],
        ],
    ),
    (
        Set {
            redis: Some(&VALKEY),
            database: None,
        },
        &[&["--test=real_redis"]],
    ),
];

/// The command `cargo xtask test --matrix`: all tests that need a server, or those of `arguments`, on each set whose name
/// contains `server`.
pub(crate) fn test(server: &str, arguments: &[String]) -> Result<ExitCode> {
    run::survive_interrupts()?;
    let server = server.to_lowercase();
    let mut sets: Vec<&Set> = SETS.iter().collect();
    sets.retain(|set| set.name().to_lowercase().contains(&server));
    if sets.is_empty() {
        let names: Vec<String> = SETS.iter().map(Set::name).collect();
        bail!(
            "there is no server {server:?}: the sets are {}",
            names.join("; ")
        );
    }
    let mut stages = Stages::new("test-matrix", 2 + sets.len());
    stages.begin("tools");
    packages::build_tools()?;
    let tools = Tools::find()?;
    stages.begin("build");
    build::beside_component(build::build_components, build::build_all_targets)?;
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let suites: &[Suite] = match arguments {
        [] => &SUITES,
        _ => &[&chosen],
    };
    let mut table = Table::default();
    for set in sets {
        stages.begin(&set.name());
        let servers = set.servers()?;
        table.run(&servers, suites, &tools, 2)?;
    }
    stages.end();
    table.show();
    Ok(match table.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The part of the matrix that `cargo xtask test` runs. Returns whether everything that ran has passed. A server that
/// cannot be had, or has a major version that is not known yet, is named in the output.
pub(crate) fn bounded(tools: &Tools) -> Result<bool> {
    let mut table = Table::default();
    for (set, suites) in &BOUNDED {
        match set.known_servers() {
            Ok(servers) => table.run(&servers, suites, tools, 0)?,
            Err(error) => table.not_run(set, &error),
        }
    }
    table.show();
    Ok(table.passed())
}

impl Set {
    fn newer(&self) -> impl Iterator<Item = &'static Newer> {
        self.redis.into_iter().chain(self.database)
    }

    fn name(&self) -> String {
        let names: Vec<&str> = self.newer().map(|newer| newer.name).collect();
        match names[..] {
            [] => "installed servers".into(),
            _ => names.join(", "),
        }
    }

    /// The servers; what is missing is fetched.
    fn servers(&self) -> Result<packages::Servers> {
        let mut servers = packages::servers()?;
        if let Some(redis) = self.redis {
            servers.redis = redis.fetch()?;
        }
        if let Some(database) = self.database {
            let program = database.fetch()?;
            let shown = program.display().to_string();
            servers.database = DatabaseServer::in_its_tree(program)
                .with_context(|| format!("{shown} does not run"))?;
        }
        Ok(servers)
    }

    /// The same, if their major versions are known.
    fn known_servers(&self) -> Result<packages::Servers> {
        let servers = self.servers()?;
        let titles = titles(&servers)?;
        for newer in self.newer() {
            if !titles.split(", ").any(|title| newer.is(title)) {
                bail!("Debian sid has another major version now ({titles}): `--matrix` tests it");
            }
        }
        Ok(servers)
    }
}

/// Names and versions.
fn titles(servers: &packages::Servers) -> Result<String> {
    let redis = redis::title(&servers.redis)
        .with_context(|| format!("{} does not run", servers.redis.display()))?;
    let (database, kafka) = (servers.database.title(), kafka::broker_version()?);
    Ok(format!("{redis}, {database}, Kafka {kafka}"))
}

/// What ran.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

struct Row {
    servers: String,
    suite: String,
    result: String,
    /// How many tests ran; none: the suite did not run.
    tests: Option<usize>,
    time: Duration,
}

impl Table {
    /// Runs the suites on these servers.
    fn run(
        &mut self,
        servers: &packages::Servers,
        suites: &[Suite],
        tools: &Tools,
        test_servers: usize,
    ) -> Result<()> {
        let titles = titles(servers)?;
        let running = Suites::start("matrix-stack", servers.clone(), tools, test_servers)?;
        for suite in suites {
            let name = suite.join(" ").replace("--test=", "");
            say::note(format_args!("{titles}: {name} …"));
            let begun = Instant::now();
            let mut command = running.cargo_test(&timed::arguments())?;
            command.arg("--no-fail-fast").args(*suite);
            let (status, times) = timed::to_its_end(command)?;
            let result = if status.success() { "passed" } else { "FAILED" };
            self.rows.push(Row {
                servers: titles.clone(),
                suite: name,
                result: result.into(),
                tests: Some(times.len()),
                time: begun.elapsed(),
            });
        }
        running.stop()
    }

    fn not_run(&mut self, set: &Set, error: &anyhow::Error) {
        self.rows.push(Row {
            servers: set.name(),
            suite: "-".into(),
            result: format!("not run: {error:#}"),
            tests: None,
            time: Duration::ZERO,
        });
    }

    /// Whether everything that ran has passed.
    fn passed(&self) -> bool {
        let mut ran = self.rows.iter().filter(|row| row.tests.is_some());
        ran.all(|row| row.result == "passed" && row.tests > Some(0))
    }

    fn show(&self) {
        let width = |column: fn(&Row) -> &str| {
            let widths = self.rows.iter().map(|row| column(row).chars().count());
            widths.max().unwrap_or_default()
        };
        let (servers, suite) = (width(|row| &row.servers), width(|row| &row.suite));
        say::line("\nTests on each server:\n");
        for row in &self.rows {
            let tests = row.tests.map(|tests| {
                let minutes = row.time.as_secs_f64() / 60.0;
                format!(" {tests:>5} tests {minutes:>6.1} min")
            });
            say::line(format_args!(
                "{:servers$}  {:suite$}  {}{}",
                row.servers,
                row.suite,
                row.result,
                tests.unwrap_or_default()
            ));
        }
        say::line("");
    }
}
