//! Grants rights to users of Kafka, or denies them. The requests are encoded by hand, because rdkafka does not support them, and a Java
//! program for each right would take seconds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

use rushgate_testbed::wait::until;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rights/kafka.sh");

// Requests of Kafka's protocol: CreateAcls and DeleteAcls. The rules have the same form in both.
const CREATE: i16 = 30;
const DELETE: i16 = 31;

const DENY: u8 = 2;
const ALLOW: u8 = 3;

const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;

/// Grants the rights of `deploy/rights/kafka.sh` on all topics and groups whose names begin with `prefix`.
pub async fn allow_programs(brokers: &str, prefix: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let printed = Command::new("sh")
        .arg(FILE)
        .env_clear()
        .env("PATH", path)
        // Prints the arguments of kafka-acls.sh, one on each line.
        .env("KAFKA_ACLS", "printf %s\\n")
        .env("BOOTSTRAP", brokers)
        .env("TOPIC", prefix)
        .env("GROUP", prefix)
        .env("PATTERN", "prefixed")
        .output()
        .expect("sh");
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let calls = printed.split("--bootstrap-server\n").skip(1);
    for call in calls {
        let arguments: Vec<&str> = call.lines().skip(1).collect();
        acls(brokers, &arguments).await;
    }
}

/// Does what `kafka-acls.sh` would do with these arguments.
pub async fn acls(brokers: &str, arguments: &[&str]) {
    let (mut request, mut permission) = (CREATE, ALLOW);
    let (mut principal, mut pattern) = ("", LITERAL);
    let (mut operations, mut resources) = (vec![], vec![]);
    let mut words = arguments.iter().copied();
    while let Some(option) = words.next() {
        let mut value = || words.next().expect("a value");
        match option {
            "--add" | "--force" => {}
            "--remove" => request = DELETE,
            "--resource-pattern-type" => {
                pattern = if value() == "prefixed" {
                    PREFIXED
                } else {
                    LITERAL
                };
            }
            "--allow-principal" => principal = value(),
            "--deny-principal" => (principal, permission) = (value(), DENY),
            "--operation" => operations.push(operation(value())),
            "--topic" => resources.push((2, value())),
            "--group" => resources.push((3, value())),
            _ => panic!("{option} is not known here: {arguments:?}"),
        }
    }
    let rules = resources.iter().flat_map(|resource| {
        operations
            .iter()
            .map(move |operation| (resource, operation))
    });
    let rules: Vec<_> = rules.collect();

    // Version 1: API key, version, correlation id and client id, then the rules.
    let is_new = request == CREATE;
    let mut request: Vec<u8> = [request.to_be_bytes(), 1_i16.to_be_bytes()].concat();
    request.extend(1_i32.to_be_bytes());
    put(&mut request, "e2e");
    request.extend(i32::try_from(rules.len()).expect("few").to_be_bytes());
    for ((resource, name), operation) in &rules {
        request.push(*resource);
        put(&mut request, name);
        request.push(pattern);
        put(&mut request, principal);
        // From any host.
        put(&mut request, "*");
        request.extend([**operation, permission]);
    }

    // Correlation id, throttle time and the number of rules. Then for each rule that is created an error code, which is 0,
    // and an empty text; for one that is deleted an error code and more.
    let done = vec![0; if is_new { 4 * rules.len() } else { 2 }];
    until(&format!("Kafka does {arguments:?}"), async || {
        let answer = answer(brokers, &request).await.ok()?;
        answer.get(12..)?.starts_with(&done).then_some(())
    })
    .await;
}

async fn answer(brokers: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut broker = TcpStream::connect(brokers).await?;
    let length = i32::try_from(request.len()).expect("a short request");
    broker.write_i32(length).await?;
    broker.write_all(request).await?;
    let length = broker.read_u32().await?;
    let mut answer = vec![0; length as usize];
    broker.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The number of an operation in Kafka's protocol.
fn operation(name: &str) -> u8 {
    match name {
        "Read" => 3,
        "Write" => 4,
        "Create" => 5,
        "Describe" => 8,
        "DescribeConfigs" => 10,
        _ => panic!("{name} is not known here"),
    }
}

fn put(request: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a short text");
    request.extend(length.to_be_bytes());
    request.extend(text.as_bytes());
}
