//! Runs the compiled bridge as a process, and tests its signals, exit codes, logs and metrics.

use crate::kafka::{Topic, mock};
use crate::redis_server::RedisServer;
use crate::support::flags;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::{Process, Signal};
use rushgate_testbed::wait::until_blocking;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// A bridge; its log is beside the data of its Redis.
fn start(redis: &RedisServer, topic: &Topic, more: &[&str]) -> Process {
    spawn(redis, &mut command(redis, topic, more))
}

fn command(redis: &RedisServer, topic: &Topic, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-bridge"));
    command.args(flags(redis, topic, more));
    command
}

fn spawn(redis: &RedisServer, command: &mut Command) -> Process {
    let log = redis.directory.path().join("bridge.log");
    // Each process of a test writes a log of its own.
    let _ = std::fs::remove_file(&log);
    Process::start(command, log).expect("it starts")
}

/// Sends this signal, and waits until it exits. Returns the exit code and the log.
fn end(mut process: Process, signal: Signal) -> (Option<i32>, String) {
    process.signal(signal).expect("it runs");
    (process.wait().code(), process.log())
}

fn metrics(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn sigterm_drains_and_exits_with_0() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=2000);
    let mut broken = campaign.fields(2001);
    broken[4].1 = "sensitive user".to_owned();
    broken[0].1 = "sensitive type".to_owned();
    campaign.add(&broken);
    let port = Port::free().expect("a free port");
    let address = port.address();
    let process = start(&redis, &topic, &["--metrics-listen", &address.to_string()]);
    campaign.wait_until_empty();
    for line in [
        "rushgate_bridge_ready 1",
        "rushgate_bridge_published_total 2000",
        "rushgate_bridge_acked_total 2000",
        "rushgate_bridge_dead_letters_total 1",
        "rushgate_bridge_in_flight 0",
    ] {
        let shown = || metrics(address).is_some_and(|text| text.lines().any(|found| found == line));
        until_blocking(line, shown);
    }
    let (code, log) = end(process, Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("moved to the dead letters") && log.contains("bridge is draining"),
        "{log}"
    );
    // The Redis of the tests has no memory limit.
    assert_eq!(
        log.matches("Redis: maxmemory is not set").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("sensitive"), "{log}");
    topic.assert_each_once("welcome", 2000);
}

#[test]
fn variables_that_are_blank_are_unset() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    for blank in ["", " "] {
        let mut command = command(&redis, &topic, &["--consumer-name", ""]);
        for variable in [
            "RUST_LOG",
            "METRICS_LISTEN",
            "KAFKA_VALUE_FORMAT",
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_SASL_MECHANISM",
            "KAFKA_SSL_CA",
            "BRIDGE_WINDOW",
            "BRIDGE_DELIVERY_TIMEOUT",
        ] {
            command.env(variable, blank);
        }
        let mut campaign = redis.campaign("welcome");
        campaign.grant([1]);
        let process = spawn(&redis, &mut command);
        campaign.wait_until_empty();
        let (code, log) = end(process, Signal::SIGTERM);
        assert_eq!(code, Some(0), "{blank:?}: {log}");
        // By default, the bridge logs its start and its name.
        assert!(
            log.contains("bridge started") && !log.contains("consumer=\"\""),
            "{blank:?}: {log}"
        );
    }
}

#[test]
fn kill_9_in_mid_flow_loses_nothing() {
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    campaign.grant(1..=20_000);
    let process = start(&redis, &topic, &["--window", "500"]);
    until_blocking("some are delivered", || campaign.length() < 18_000);
    assert_eq!(end(process, Signal::SIGKILL).0, None);
    assert!(campaign.length() > 0, "it was killed before the end");
    let process = start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 20_000);
    assert_eq!(end(process, Signal::SIGINT).0, Some(0));
}

#[test]
fn a_long_backlog_does_not_take_more_memory_than_its_window() {
    const BACKLOG: usize = 100_000;
    const WINDOW: usize = 10_000;
    const MIB: u64 = 1 << 20;
    let (redis, kafka) = (RedisServer::start(), mock());
    let topic = Topic::on_mock(&kafka);
    let mut campaign = redis.campaign("welcome");
    // While Kafka takes nothing, all that is read stays in memory.
    let unwilling = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    kafka.request_errors(RDKafkaApiKey::Produce, &[unwilling; 10_000]);
    for first in (1..=BACKLOG as u32).step_by(10_000) {
        campaign.grant_to(first..first + 10_000, |serial| format!("{serial:0>64}"));
    }
    let process = start(&redis, &topic, &[]);
    until_blocking("the window is full", || campaign.pending() > WINDOW - 1_000);
    redis.until_bridge_has_gone_on();
    let peak = process.usage().expect("it runs").peak_memory;
    eprintln!("at most {} MiB of a backlog of {BACKLOG}", peak / MIB);
    // The program (about 12 MiB), and 10,000 entries of about 1 KB each: as read, as encoded, and in the Kafka
    // client.
    assert!(peak < 64 * MIB, "{peak}");
    let (length, pending) = (campaign.length(), campaign.pending());
    assert!(
        length == BACKLOG && pending <= WINDOW,
        "{pending} of {length}"
    );
}

#[test]
fn a_wrong_setting_ends_the_bridge_with_advice() {
    let (redis, topic) = (RedisServer::stopped(), Topic::create());
    for (flag, value, advice) in [
        (
            "--redis-url",
            "http://:s3cret@h",
            "REDIS_URL: is not the address of a Redis",
        ),
        (
            "--kafka-security-protocol",
            "telnet",
            "possible values: plaintext, ssl, sasl_plaintext, sasl_ssl",
        ),
        (
            "--kafka-security-protocol",
            "sasl_ssl",
            "KAFKA_SASL_MECHANISM: is not set, but",
        ),
    ] {
        let ended = command(&redis, &topic, &[flag, value]).output();
        let ended = ended.expect("it runs");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && log.contains(advice),
            "{flag}={value}: {log}"
        );
        assert!(!log.contains("s3cret"), "{flag}={value}: {log}");
    }
}
