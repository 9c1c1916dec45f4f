//! Runs the compiled bridge as a process, and tests its signals, exit codes, logs and metrics.

use crate::kafka::Topic;
use crate::redis_server::RedisServer;
use crate::support::{eventually, flags};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

struct Process(Child);

impl Process {
    fn start(redis: &RedisServer, topic: &Topic, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-bridge"));
        command
            .args(flags(redis, topic, more))
            .stderr(Stdio::piped());
        Self(command.spawn().expect("it starts"))
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(kill.expect("kill").success());
    }

    /// The largest resident memory so far, in bytes, as Linux reports it.
    fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).expect("it runs, on Linux");
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM")
            .split_whitespace();
        let kibibytes = words.next().and_then(|word| word.parse::<u64>().ok());
        kibibytes.expect("a number") * 1024
    }

    /// Waits until it exits. Returns the exit code and the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.0.stderr.take().expect("piped");
        stderr.read_to_string(&mut log).expect("a text");
        (self.0.wait().expect("it ends").code(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let process = Process::start(&redis, &topic, &["--metrics-listen", &address.to_string()]);
    campaign.wait_until_empty();
    for line in [
        "rushgate_bridge_ready 1",
        "rushgate_bridge_published_total 2000",
        "rushgate_bridge_acked_total 2000",
        "rushgate_bridge_dead_letters_total 1",
        "rushgate_bridge_in_flight 0",
    ] {
        let shown = || metrics(address).is_some_and(|text| text.lines().any(|found| found == line));
        eventually(line, shown);
    }
    process.signal("TERM");
    let (code, log) = process.end();
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
    let flags: Vec<_> = flags(&redis, &topic, &["--consumer-name", ""]);
    for blank in ["", " "] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-bridge"));
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
        let process = Process(
            command
                .args(&flags)
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts"),
        );
        campaign.wait_until_empty();
        process.signal("TERM");
        let (code, log) = process.end();
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
    let process = Process::start(&redis, &topic, &["--window", "500"]);
    eventually("some are delivered", || campaign.length() < 18_000);
    process.signal("KILL");
    assert_eq!(process.end().0, None);
    assert!(campaign.length() > 0, "it was killed before the end");
    let process = Process::start(&redis, &topic, &[]);
    campaign.wait_until_empty();
    topic.assert_all("welcome", 20_000);
    process.signal("INT");
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn a_long_backlog_does_not_take_more_memory_than_its_window() {
    const BACKLOG: usize = 300_000;
    const MIB: u64 = 1 << 20;
    let (redis, topic) = (RedisServer::start(), Topic::create());
    let mut campaign = redis.campaign("welcome");
    for first in (1..=BACKLOG as u32).step_by(10_000) {
        campaign.grant_to(first..first + 10_000, |serial| format!("{serial:0>64}"));
    }
    let process = Process::start(&redis, &topic, &[]);
    eventually("a tenth is delivered", || {
        campaign.length() <= BACKLOG - BACKLOG / 10
    });
    let peak = process.peak_memory();
    eprintln!("at most {} MiB of a backlog of {BACKLOG}", peak / MIB);
    // The program (about 12 MiB), and 10,000 entries of about 1 KB each: as read, as encoded, and in the Kafka
    // client.
    assert!(peak < 64 * MIB, "{peak}");
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-bridge"));
        let ended = command
            .args(flags(&redis, &topic, &[flag, value]))
            .output()
            .expect("it runs");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && log.contains(advice),
            "{flag}={value}: {log}"
        );
        assert!(!log.contains("s3cret"), "{flag}={value}: {log}");
    }
}
