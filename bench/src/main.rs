//! The command `rushgate-bench`, which runs benchmarks and writes the results. `cargo xtask bench` calls it.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use rushgate_bench::benches::{ALL, Bench};
use rushgate_bench::finding::Unit;
use rushgate_bench::report::Report;
use rushgate_bench::scale::Scale;
use rushgate_bench::testbed::{Servers, Testbed};
use rushgate_bench::ways::{self, program};
use rushgate_bench::{chart, constant, goals, native, page, say};
use rushgate_testbed::load::{Load, Pace, Template, Until};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The name of the results of a full run.
const LATEST: &str = "latest";

/// The name of what a full run has found so far.
const UNFINISHED: &str = "unfinished";

/// The chart of the usual ways, which the pages show. It says itself what was measured.
const CHART_OF_WAYS: &str = "usual-ways.svg";

/// Benchmark Rushgate beside its baselines
#[derive(Parser)]
#[command(name = "rushgate-bench")]
enum Cli {
    /// Run benchmarks
    Run(Run),
    /// Serve one of the baselines until the process ends
    Serve {
        /// The service to run
        #[command(subcommand)]
        service: Service,
    },
    /// Send applications to a server, for example to profile it meanwhile
    Load(Applications),
}

#[derive(clap::Args)]
struct Applications {
    /// Address of the server
    address: SocketAddr,
    /// The campaign
    campaign: String,
    /// Duration in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Send PUT without a body, in place of POST
    #[arg(long)]
    put: bool,
    /// Ask for answers without a body
    #[arg(long)]
    minimal: bool,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second, by a clock; default: as many as are answered
    #[arg(long)]
    per_second: Option<f64>,
    /// Number of the first applicant
    #[arg(long, default_value_t = 0)]
    first: u64,
}

#[derive(clap::Args)]
struct Run {
    /// The benchmark; default: all
    name: Option<String>,
    /// A benchmark that a full run leaves out; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    without: Vec<String>,
    /// Go on with the full run that was interrupted
    #[arg(long, conflicts_with_all = ["name", "quick", "smoke"])]
    resume: bool,
    /// Fewer and shorter turns
    #[arg(long)]
    quick: bool,
    /// Only check that the benchmarks work; the figures mean nothing
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Directory for the JSON and the charts
    #[arg(long, value_name = "DIRECTORY")]
    results: PathBuf,
    /// The pages whose tables are rewritten after a full run
    #[arg(long, value_name = "FILE")]
    page: Vec<PathBuf>,
    #[command(flatten)]
    servers: Servers,
}

#[derive(Subcommand)]
enum Service {
    /// The contract of applications as a native service
    Native {
        /// Address to listen on
        #[arg(long)]
        listen: SocketAddr,
        /// Address of the gate's Redis
        #[arg(long, env = "REDIS_URL", hide_env_values = true)]
        redis_url: String,
    },
    /// A constant answer to everything
    Constant {
        /// Address to listen on
        #[arg(long)]
        listen: SocketAddr,
    },
    /// One of the usual ways to give out coupons
    Way(program::Service),
    /// The consumer for one of these ways
    WayConsumer(program::Consumer),
}

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Run(run) => run.run(),
        Cli::Serve { service } => service.serve(),
        Cli::Load(applications) => applications.send(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Run {
    fn run(self) -> Result<()> {
        fs::create_dir_all(&self.results)?;
        let benches = chosen(self.name.as_deref(), &self.without)?;
        let scale = match (self.quick, self.smoke) {
            (_, true) => Scale::Smoke,
            (true, _) => Scale::Quick,
            _ => Scale::Full,
        };
        let mut testbed = Testbed::new(self.servers.clone(), scale)?;
        let mut report = Report::new(testbed.machine()?, scale);
        if self.resume {
            report = self.unfinished(report)?;
        }
        let mut failed = vec![];
        for bench in benches {
            if report.has(bench.name) {
                continue;
            }
            say::note(format_args!("{} …", bench.name));
            let begun = Instant::now();
            match (bench.run)(&mut testbed) {
                Ok(found) => report.findings.extend(found),
                Err(error) => {
                    say::note(format_args!("{}: {error:#}", bench.name));
                    failed.push(bench.name);
                }
            }
            let took = begun.elapsed().as_secs();
            report.seconds += took;
            say::note(format_args!("{} took {took} s", bench.name));
            if self.name.is_none() && scale == Scale::Full {
                self.keep(&report)?;
            }
        }
        match (&self.name, scale) {
            (None, Scale::Full) if failed.is_empty() => {
                self.publish(&report)?;
                fs::remove_file(self.file_of_unfinished())?;
            }
            (None, Scale::Full) => bail!(
                "these benchmarks failed, and `cargo xtask bench --resume` runs them again: {}",
                failed.join(", ")
            ),
            (None, _) => self.write("quick", &report)?,
            (Some(name), _) => {
                self.write(name, &report)?;
                if scale == Scale::Full && failed.is_empty() {
                    self.amend(name, &report)?;
                }
            }
        }
        say::line(report);
        if !failed.is_empty() {
            bail!("these benchmarks failed: {}", failed.join(", "));
        }
        Ok(())
    }

    fn file_of_unfinished(&self) -> PathBuf {
        self.results.join(UNFINISHED).with_extension("json")
    }

    /// Keeps what a full run has found so far.
    fn keep(&self, report: &Report) -> Result<()> {
        let path = self.file_of_unfinished();
        fs::write(&path, serde_json::to_string(report)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// What an interrupted full run has found. `report` is that of a run that begins now.
    fn unfinished(&self, report: Report) -> Result<Report> {
        let path = self.file_of_unfinished();
        let text = fs::read_to_string(&path).with_context(|| {
            format!("there is nothing to resume: cannot read {}", path.display())
        })?;
        let unfinished: Report = serde_json::from_str(&text)
            .with_context(|| format!("{} is not the report of a run", path.display()))?;
        if unfinished.machine.to_string() != report.machine.to_string() {
            bail!(
                "the interrupted run was on another machine, or with other versions: {}. Begin a new run without --resume",
                unfinished.machine
            );
        }
        Ok(Report {
            interruptions: unfinished.interruptions + 1,
            ..unfinished
        })
    }

    /// Replaces the findings of a benchmark in the last full run by those of this run, if both ran on the same machine
    /// with the same servers. The usual ways are compared with each other only, so their tables are replaced in any case.
    fn amend(&self, bench: &str, again: &Report) -> Result<()> {
        if again.findings.iter().any(ways::table::is_one) {
            self.refresh_pages(&[("measured:ways", tables_of_ways(again))])?;
        }
        let Ok(latest) = fs::read_to_string(self.results.join(LATEST).with_extension("json"))
        else {
            return Ok(());
        };
        let latest: Report = serde_json::from_str(&latest).context("reading the last full run")?;
        if latest.machine.to_string() != again.machine.to_string() {
            return Ok(());
        }
        let order: Vec<&str> = ALL.iter().map(|bench| bench.name).collect();
        self.publish(&latest.amended(bench, again.clone(), &order))
    }

    /// Writes the published tables and charts.
    fn publish(&self, report: &Report) -> Result<()> {
        self.write(LATEST, report)?;
        let mut tables = vec![("measured:goals", goals::table_of(report))];
        if report.findings.iter().any(ways::table::is_one) {
            tables.push(("measured:ways", tables_of_ways(report)));
        }
        self.refresh_pages(&tables)
    }

    fn refresh_pages(&self, tables: &[(&str, String)]) -> Result<()> {
        self.page
            .iter()
            .try_for_each(|page| page::refresh(page, tables))
    }

    fn write(&self, file: &str, report: &Report) -> Result<()> {
        let mut written = vec![
            ("json", serde_json::to_string_pretty(report)? + "\n"),
            ("md", format!("{report}\n")),
        ];
        if report.findings.iter().any(|finding| finding.goal.is_some()) {
            written.push(("svg", chart::svg(report)));
        }
        let mut written: Vec<_> = written
            .into_iter()
            .map(|(kind, text)| (format!("{file}.{kind}"), text))
            .collect();
        written.extend(ways::chart::svg(report).map(|svg| (CHART_OF_WAYS.to_owned(), svg)));
        for (name, text) in written {
            let path = self.results.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The tables of the usual ways, and the machine.
fn tables_of_ways(report: &Report) -> String {
    let tables = ways::table::markdown(&report.findings);
    format!("{tables}\n{}.", report.machine)
}

impl Applications {
    fn send(self) -> Result<()> {
        let template = match self.put {
            true => Template::put(&self.campaign, self.minimal),
            false => Template::application(&self.campaign, self.minimal),
        };
        let mut load = Load {
            first: self.first,
            connections: self.connections,
            pace: self.per_second.map_or(Pace::Closed, Pace::Open),
            until: Until::Elapsed(Duration::from_secs(self.seconds)),
            ..Load::new(self.address, vec![template])
        };
        let outcome = load.run()?;
        let ms = |quantile| Unit::Milliseconds.show(outcome.quantile(quantile) / 1e3);
        say::line(format_args!(
            "{:?}: {}/s, p50 {}, p99 {}; the generator took {:.1} µs of CPU for each",
            outcome.answers,
            Unit::PerSecond.show(outcome.per_second()),
            ms(0.5),
            ms(0.99),
            outcome.cpu_per_thousand() * 1e3,
        ));
        Ok(())
    }
}

impl Service {
    fn serve(self) -> Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            match self {
                Self::Native { listen, redis_url } => {
                    native::serve(TcpListener::bind(listen).await?, &redis_url).await
                }
                Self::Constant { listen } => {
                    constant::serve(TcpListener::bind(listen).await?).await
                }
                Self::Way(service) => service.run().await,
                Self::WayConsumer(consumer) => consumer.run().await,
            }
        })
    }
}

fn chosen(name: Option<&str>, without: &[String]) -> Result<Vec<Bench>> {
    let names: Vec<&str> = ALL.iter().map(|bench| bench.name).collect();
    let mut named = name.into_iter().chain(without.iter().map(String::as_str));
    if let Some(unknown) = named.find(|name| !names.contains(name)) {
        bail!(
            "there is no benchmark {unknown:?}: choose one of {}",
            names.join(", ")
        );
    }
    let chosen = ALL
        .iter()
        .filter(|bench| name.is_none_or(|name| name == bench.name))
        .filter(|bench| !without.iter().any(|name| name == bench.name));
    Ok(chosen.copied().collect())
}
