//! The command `rush`: it sends a rush of applicants to a new campaign and checks that the result is exact. `cargo
//! xtask rush` runs it.

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rushgate_e2e::campaign::Operator;
use rushgate_e2e::check::Expected;
use rushgate_e2e::evidence::Stores;
use rushgate_e2e::report::Report;
use rushgate_e2e::rows::Database;
use rushgate_e2e::rush::{self, Rush};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

/// Send a rush of applicants to a new campaign, and check that every coupon was given exactly once
#[derive(Parser)]
#[command(name = "cargo xtask rush")]
struct Cli {
    /// Different applicants
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    applicants: u32,
    /// Coupons
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    quota: u32,
    /// Concurrent requests
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Clicks of one applicant in ten; the others click once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Seconds to wait for the rows
    #[arg(long, default_value_t = 60)]
    wait: u64,
    /// Also write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Addresses of the handlers, separated by commas
    #[arg(long, env = "RUSHGATE_URLS", value_delimiter = ',', required = true)]
    urls: Vec<String>,
    /// Address of the database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Address of the gate's Redis
    #[arg(
        long,
        env = "REDIS_URL",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    redis_url: String,
    /// Address of Kafka
    #[arg(long, env = "KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    kafka_brokers: String,
    /// The topic
    #[arg(long, env = "KAFKA_TOPIC", default_value = "coupon_create")]
    kafka_topic: String,
    /// The consumers' group
    #[arg(long, env = "KAFKA_GROUP", default_value = "rushgate-consumer")]
    kafka_group: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<bool> {
    let database = Database::connect(&cli.database_url).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let campaign = format!("rush-{}", now.as_millis());
    Operator::find()?
        .create(&campaign, cli.quota)
        .await
        .context("cannot create the campaign")?;

    let rush = Rush {
        urls: cli.urls.clone(),
        campaign: campaign.clone(),
        applicants: cli.applicants as usize,
        concurrency: cli.concurrency as usize,
        repeats: cli.repeats as usize,
        outlasts_a_loss: false,
    };
    let style = ProgressStyle::with_template("{msg:<8} {wide_bar} {pos}/{len} {per_sec}")?;
    let bar = ProgressBar::new(u64::from(cli.applicants))
        .with_style(style)
        .with_message("rush");
    let outcome = {
        let bar = bar.clone();
        rush::run(&rush, move || bar.inc(1)).await?
    };

    let granted = outcome.history.places.len() as u64;
    bar.reset();
    bar.set_message("rows");
    bar.set_length(granted);
    let deadline = Instant::now() + Duration::from_secs(cli.wait);
    loop {
        let count = database.count(&campaign).await?;
        bar.set_position(count);
        if count >= granted || Instant::now() > deadline {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    bar.finish_and_clear();

    let expected = Expected::once(cli.quota, cli.applicants);
    let stores = Stores {
        database,
        redis_url: cli.redis_url.clone(),
        kafka_brokers: cli.kafka_brokers.clone(),
        topic: cli.kafka_topic.clone(),
        group: cli.kafka_group.clone(),
    };
    // The last acks, confirmations and offsets come shortly after the last rows.
    let evidence = loop {
        let evidence = stores.read(&campaign).await?;
        if evidence.is_at_rest() || Instant::now() > deadline {
            break evidence;
        }
    };
    let report = Report::new(&campaign, &expected, cli.applicants, &outcome, &evidence);
    writeln!(std::io::stdout(), "{report}")?;
    for failed_event in &evidence.failed_events {
        writeln!(
            std::io::stdout(),
            "  dead letter {}: {}",
            failed_event.key,
            failed_event.reason
        )?;
    }
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.is_exact())
}
