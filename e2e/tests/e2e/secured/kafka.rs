//! Tests what bridge, consumer and operator say when their users lack a right in Kafka, and that they work as soon as the
//! users have it.

use super::says::{Log, says};
use crate::view::{View, granted};
use rushgate_e2e::rights::Role;
use rushgate_e2e::rights::kafka::acls;
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::wait::until;

const TOPIC: &[&str] = &[
    "lacks a right on the topic (KAFKA_TOPIC)",
    "deploy/rights/kafka.sh",
];
const GROUP: &[&str] = &[
    "lacks a right on the consumer group (KAFKA_GROUP)",
    "deploy/rights/kafka.sh",
];
/// What an idempotent producer is told whose user may not write to any topic.
const PRODUCER: &[&str] = &[
    "lacks a right, such as Write on the topic (KAFKA_TOPIC)",
    "deploy/rights/kafka.sh",
];

/// The user of a running program, the operation that is denied, and where; the command that needs it, if the program is
/// the operator's; and what is said.
type Case = (
    Role,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: [Case; 5] = [
    (Role::Bridge, "Write", "--topic", &[], TOPIC),
    (Role::Consumer, "Read", "--topic", &[], TOPIC),
    (Role::Consumer, "Read", "--group", &[], GROUP),
    (
        Role::Operator,
        "Read",
        "--topic",
        &["audit", "launch"],
        TOPIC,
    ),
    (
        Role::Operator,
        "Describe",
        "--group",
        &["audit", "launch"],
        GROUP,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_in_kafka_is_told_and_healed() {
    let mut system = System::start(Size::ONLY_A_HANDLER).await;
    system
        .operator
        .create("launch", 100)
        .await
        .expect("created");
    let kafka = system.logins.kafka;
    let proxies = [
        Proxy::open_kafka(kafka, kafka).await,
        Proxy::open_kafka(kafka, kafka).await,
    ];
    let brokers = proxies
        .each_ref()
        .map(|proxy| format!("127.0.0.1:{}", proxy.port));
    // Topic and group have the same name.
    let name = system.topic().to_owned();
    let changes = async |change: &str, permission: &str, user: &str, operation: &str, on: &str| {
        let user = format!("User:{user}");
        let rule = [
            change,
            permission,
            &user,
            "--operation",
            operation,
            on,
            &name,
        ];
        acls(&server("KAFKA_BROKERS"), &rule).await;
    };
    let tries_again = async |proxy: &Proxy| {
        proxy.set(Trouble::None);
        until("it has tried again, several times", async || {
            (proxy.requests() >= 4).then_some(())
        })
        .await;
    };

    // A user that may look at the topic, and do nothing else.
    let setup = Role::Setup.user();
    let [bridge, consumer] = [("kafka-bridge", 0), ("consumer", 1)].map(|(name, number)| {
        let brokers = brokers[number].as_str();
        let settings = [("KAFKA_BROKERS", brokers), ("KAFKA_SASL_USERNAME", setup)];
        system.spawn(name, &settings)
    });
    assert_eq!(
        View::of(&system, "launch").apply("user-1").await,
        granted(1)
    );
    for (process, proxy, words) in [
        (&bridge, &proxies[0], PRODUCER),
        (&consumer, &proxies[1], GROUP),
    ] {
        let log = Log::all("the new program", process);
        log.says(words).await;
        tries_again(proxy).await;
        log.is_short(words);
    }
    for (operation, on) in [
        ("Write", "--topic"),
        ("Read", "--topic"),
        ("Read", "--group"),
    ] {
        changes("--add", "--allow-principal", setup, operation, on).await;
    }
    View::of(&system, "launch").has_rows(1).await;
    // The consumer leaves its group.
    bridge.terminate();
    consumer.terminate();

    system
        .start_bridge_with(&[("KAFKA_BROKERS", &brokers[0])])
        .await;
    system
        .start_consumer_with(&[("KAFKA_BROKERS", &brokers[1])])
        .await;
    let launch = View::of(&system, "launch");
    let mut rows = 1;
    for (role, operation, on, command, words) in CASES {
        system.drained("launch").await;
        let denies = async |change: &str| {
            changes(change, "--deny-principal", role.user(), operation, on).await;
        };
        let (process, proxy) = match role {
            Role::Bridge => (&system.bridges[0], &proxies[0]),
            _ => (&system.consumers[0], &proxies[1]),
        };
        let log = Log::now(role.user(), process);
        denies("--add").await;
        if role == Role::Operator {
            let refused = system.operator.end_of(command).await.expect("run");
            assert_eq!(refused.code, Some(1), "{refused:?}");
            says(role.user(), &refused.stderr, words).expect("the reason");
            denies("--remove").await;
            launch.exits(0, command).await;
            continue;
        }
        // Kafka may apply a rule a moment after it has answered that it has it.
        until("the refusal is told", async || {
            rows += 1;
            launch.apply(&format!("user-{rows}")).await;
            log.says_soon(words).await
        })
        .await;
        tries_again(proxy).await;
        denies("--remove").await;
        launch.has_rows(rows).await;
        system.drained("launch").await;
        log.is_short(words);
    }
}
