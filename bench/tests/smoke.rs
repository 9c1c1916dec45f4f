//! Runs every benchmark at so small a size that its figures mean nothing. It tests that the benchmarks work and that
//! they end.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

use rushgate_bench::benches::ALL;
use rushgate_bench::chart;
use rushgate_bench::report::Report;
use rushgate_bench::scale::Scale;
use rushgate_bench::testbed::{Servers, Testbed};
use rushgate_bench::ways::Way;
use rushgate_bench::ways::shown::{OVER_QUOTA, PLACES_LOST, TWO};
use rushgate_bench::ways::table::lines;
use rushgate_e2e::program::program;
use rushgate_e2e::shared::server;
use rushgate_testbed::port::Port;
use rushgate_testbed::servers::redis::Redis;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use tokio::runtime::Runtime;

#[test]
fn every_bench_finds_what_it_looks_for() {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let redis = Redis::on_port(port.number(), directory.path().join("redis"));
    let _redis = redis.start(&[]).unwrap();
    let schema = format!("bench_{}", std::process::id());
    let administer = |what: &str| {
        let statement = format!("{what} {schema}");
        runtime.block_on(async {
            let mut connection = MySqlConnection::connect(&server("DATABASE_URL")).await?;
            let statement = sqlx::raw_sql(AssertSqlSafe(statement));
            statement.execute(&mut connection).await
        })
    };
    administer("CREATE DATABASE").unwrap();
    let mut database = url::Url::parse(&server("DATABASE_URL")).unwrap();
    database.set_path(&schema);
    let wasm_host = program("wasm-host");
    let servers = Servers {
        redis_url: redis.url(),
        kafka_brokers: server("KAFKA_BROKERS"),
        database_url: database.into(),
        bin_dir: wasm_host.parent().unwrap().to_owned(),
        spin: std::env::var_os("RUSHGATE_SPIN").map(Into::into),
        spring: Some(server("RUSHGATE_SPRING")),
        host: "wasm-host".to_owned(),
        kafka_version: "?".to_owned(),
        // Any process will do; these costs mean nothing.
        kafka_process: Some(std::process::id()),
        database_process: None,
    };
    let mut testbed = Testbed::new(servers, Scale::Smoke).unwrap();
    let mut report = Report::new(testbed.machine().unwrap(), Scale::Smoke);
    for bench in ALL {
        let findings = (bench.run)(&mut testbed);
        let findings = findings.unwrap_or_else(|error| panic!("{}: {error:#}", bench.name));
        assert!(!findings.is_empty(), "{} found nothing", bench.name);
        for finding in &findings {
            assert!(finding.figure.median.is_finite(), "{finding:?}");
            assert_eq!(finding.bench, bench.name);
        }
        report.findings.extend(findings);
    }
    drop(testbed);
    administer("DROP DATABASE").unwrap();
    let table = report.to_string();
    for bench in ALL {
        assert!(table.contains(&format!("| {} ", bench.name)), "{table}");
    }
    assert!(chart::svg(&report).ends_with("</svg>\n"));

    // The Spring service decides as it should while nothing fails.
    let lines = lines(&report.findings);
    let spring = lines.iter().find(|line| line.name == Way::Spring.title());
    for measure in [OVER_QUOTA, TWO, PLACES_LOST, "no decision"] {
        let finding = spring.and_then(|line| line.finding(measure)).unwrap();
        assert_eq!(finding.figure.median, 0.0, "{finding:?}");
    }
}
