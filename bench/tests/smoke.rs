//! Runs every benchmark at so small a size that its figures mean nothing. It tests that the benchmarks work and that
//! they end.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

use rushgate_bench::benches::ALL;
use rushgate_bench::load::{Load, Pace, Protocol, Template, Until};
use rushgate_bench::report::Report;
use rushgate_bench::scale::Scale;
use rushgate_bench::testbed::{Servers, Testbed};
use rushgate_bench::{chart, constant};
use rushgate_e2e::program::program;
use rushgate_e2e::shared::server;
use rushgate_testbed::port::Port;
use rushgate_testbed::servers::redis::Redis;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
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
        host: "wasm-host".to_owned(),
        kafka_version: "?".to_owned(),
        // Any process will do; these costs mean nothing.
        kafka_process: Some(std::process::id()),
        database_process: None,
    };
    let mut testbed = Testbed::new(servers, Scale::Smoke).unwrap();
    let mut report = Report {
        machine: testbed.machine().unwrap(),
        scale: Scale::Smoke,
        findings: vec![],
        seconds: 0,
        again: vec![],
    };
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
}

fn constant(runtime: &Runtime) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(constant::serve(listener));
    address
}

fn load(address: SocketAddr) -> Load {
    Load {
        address,
        protocol: Protocol::Http,
        templates: vec![Template::get("/")],
        first: 0,
        people: None,
        connections: 8,
        depth: 1,
        pace: Pace::Closed,
        until: Until::Requests(1_000),
    }
}

#[test]
fn as_many_are_sent_as_were_asked_for_and_all_are_answered() {
    let runtime = Runtime::new().unwrap();
    let load = load(constant(&runtime));
    for pace in [Pace::Closed, Pace::Open(20_000.0)] {
        let outcome = Load {
            pace,
            ..load.clone()
        };
        let outcome = outcome.run().unwrap().all(200).unwrap();
        assert_eq!((outcome.sent, outcome.answered()), (1_000, 1_000));
        assert_eq!(outcome.latency.len(), 1_000);
        assert!(outcome.sample.starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn latency_counts_from_when_a_request_was_due() {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    // One connection whose first answer takes a while: the requests behind it were due long before they were sent.
    let held = Duration::from_millis(200);
    runtime.spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut delay = held;
        let mut request = [0; 1024];
        while stream.read(&mut request).await.unwrap() > 0 {
            tokio::time::sleep(std::mem::take(&mut delay)).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let load = Load {
        connections: 1,
        pace: Pace::Open(1_000.0),
        until: Until::Requests(100),
        ..load(address)
    };
    let outcome = load.run().unwrap().all(200).unwrap();
    // The hundredth was due 100 ms after the first, and is answered after it.
    assert!(outcome.quantile(0.01) >= 90_000.0, "{outcome:?}");
}

#[test]
fn answers_of_another_kind_are_an_error() {
    let runtime = Runtime::new().unwrap();
    let outcome = load(constant(&runtime)).run().unwrap();
    let error = outcome.all(201).unwrap_err().to_string();
    assert!(
        error.contains("expected only 201") && error.contains("200"),
        "{error}"
    );
}
