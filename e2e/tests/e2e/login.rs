//! Tests all programs with a Kafka that requires a login, TLS, or a client certificate.

use crate::failed::{named, with};
use crate::secured::DATABASE_CERTIFICATE;
use crate::secured::says::{Log, says};
use crate::view::{View, granted};
use rushgate_e2e::history::Place;
use rushgate_e2e::secured::tls_kafka;
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::certificates::{EXPIRED, FOREIGN, OTHER_NAME};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::servers::kafka::{CLIENT_CERTIFICATE, LOGIN, OTHER_PASSWORD};
use rushgate_testbed::wait::until;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than any command waits, and shorter than an operator would.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings of all programs for this login. Settings that it does not need are empty, as in Compose.
pub(crate) fn login(mechanism: &str) -> Vec<(&'static str, String)> {
    let kafka = server("RUSHGATE_SASL_KAFKA");
    let (login, brokers) = kafka.split_once('@').expect("user:password@host:port");
    let (user, password) = login.split_once(':').expect("user:password");
    [
        ("KAFKA_BROKERS", brokers),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("KAFKA_SASL_MECHANISM", mechanism),
        ("KAFKA_SASL_USERNAME", user),
        ("KAFKA_SASL_PASSWORD", password),
        ("KAFKA_SSL_CA", ""),
    ]
    .map(|(variable, value)| (variable, value.to_owned()))
    .into()
}

fn borrowed<'a>(login: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    let pairs = login.iter();
    pairs.map(|(name, value)| (*name, value.as_str())).collect()
}

/// A grant from application to row, and every command of the operator that uses Kafka.
async fn works_with(mechanism: &str) {
    let login = login(mechanism);
    // `setup` has completed by then.
    let system = System::start_with(Size::ONE_OF_EACH, &borrowed(&login)).await;
    system.operator.create("launch", 3).await.expect("created");
    let launch = View::of(&system, "launch");
    assert_eq!(launch.apply("a").await, granted(1));
    launch.has_rows(1).await;

    launch.refuses("user_id = 'b'").await;
    assert_eq!(launch.apply("b").await, granted(2));
    let list = launch.lists(1).await;
    launch.refuses_nothing().await;
    let id = named(&list, with!["row_refused", "launch/once/2"]);
    let said = launch.does(&["failed", "replay", &id]).await;
    assert!(said.contains("sent again"), "{said}");
    launch.has_rows(2).await;

    let said = launch.exits(0, &["audit", "launch"]).await;
    assert!(said.contains("2 held at the gate, 2 coupons"), "{said}");
    let said = launch.does(&["restore", "launch", "--halt"]).await;
    assert!(said.contains("campaign launch is running again"), "{said}");
    let said = launch.does(&["setup"]).await;
    assert!(said.contains("already existed"), "{said}");
    launch.exits(0, &["audit", "launch"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_programs_work_with_a_password() {
    works_with("PLAIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_programs_work_with_scram() {
    works_with("scram-sha-256").await;
}

/// What is wrong, the listener, the settings, and what all programs say. With another listener than [`LOGIN`], the broker
/// is wrong and becomes right.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

const CASES: [Case<'_>; 8] = [
    (
        "another password",
        OTHER_PASSWORD,
        &[("KAFKA_SASL_MECHANISM", "PLAIN")],
        &["check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"],
    ),
    (
        "a mechanism that the broker does not have",
        LOGIN,
        &[("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")],
        &["check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"],
    ),
    (
        "neither TLS nor login",
        LOGIN,
        &[
            ("KAFKA_SSL_CA", ""),
            ("KAFKA_SECURITY_PROTOCOL", ""),
            ("KAFKA_SASL_MECHANISM", ""),
            ("KAFKA_SASL_USERNAME", ""),
            ("KAFKA_SASL_PASSWORD", ""),
        ],
        &["check KAFKA_BROKERS and KAFKA_SECURITY_PROTOCOL"],
    ),
    (
        "no password",
        LOGIN,
        &[("KAFKA_SASL_PASSWORD", "")],
        &["KAFKA_SASL_PASSWORD: is not set, but KAFKA_SECURITY_PROTOCOL=sasl_ssl"],
    ),
    (
        "an unknown authority",
        FOREIGN,
        &[],
        &["authority", "KAFKA_SSL_CA"],
    ),
    (
        "another name",
        OTHER_NAME,
        &[],
        &["another host name", "KAFKA_BROKERS"],
    ),
    ("an expired certificate", EXPIRED, &[], &["expired"]),
    (
        "no client certificate",
        CLIENT_CERTIFICATE,
        &[],
        &["requires a certificate", "KAFKA_SSL_CERTIFICATE"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_kafka_is_told_by_the_name_of_the_setting_and_healed() {
    let _verified = DATABASE_CERTIFICATE.lock().await;
    let system = System::start_secured(Size::ONLY_A_HANDLER, &[]).await;
    system.operator.create("launch", 9).await.expect("created");
    let launch = View::of(&system, "launch");
    let insert = "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, \
                headers, reason, detail) VALUES ('a', 0, 0, 0, 'b', '{', '{}', 'undecodable', 'a test')";
    system.database.run(insert).await.expect("a dead letter");
    let password = &login("PLAIN")[4].1;
    let help = system.operator.run(&["audit", "--help"]).await;
    let help = help.expect("help");
    assert!(help.contains("KAFKA_SASL_PASSWORD"), "{help}");
    assert!(!help.contains(password), "{help}");
    let mut grants = 0;
    for (number, (case, listener, wrong, words)) in CASES.into_iter().enumerate() {
        let mut proxies = vec![];
        for name in ["kafka-bridge", "consumer"] {
            proxies.push((name, Proxy::open(0, port_of(listener)).await));
        }
        let settings = |proxy: &Proxy| {
            let mut settings = vec![
                ("KAFKA_BROKERS", format!("127.0.0.1:{}", proxy.port)),
                // So that it does not wait for the consumer of the case before.
                ("KAFKA_GROUP", format!("{}-{number}", system.topic())),
            ];
            let wrong = wrong.iter();
            settings.extend(wrong.map(|(name, value)| (*name, (*value).to_owned())));
            settings
        };
        let is_told = |what: &str, text: &str| {
            says(what, text, words).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(!text.contains(password.as_str()), "{case}, {what}: {text}");
        };
        let operator = system.operator.with(&borrowed(&settings(&proxies[0].1)));
        let mut commands = JoinSet::new();
        for command in [
            &["setup", "--wait", "0s"][..],
            &["campaign", "show", "launch"],
            &["audit", "launch"],
            &["failed", "replay", "1"],
            &["restore", "launch", "--halt"],
        ] {
            let operator = operator.clone();
            let end = async move { (command, timeout(PATIENCE, operator.end_of(command)).await) };
            commands.spawn(end);
        }
        for (command, ended) in commands.join_all().await {
            let ended = ended.unwrap_or_else(|_| panic!("{case}, {command:?}: it hangs"));
            let ended = ended.expect("run");
            // The concurrent restore may have halted the campaign; then an audit has a finding.
            let allowed: &[i32] = match command[0] {
                "audit" => &[1, 2],
                // It has halted the campaign, and reports that it has not completed.
                "restore" => &[1, 3],
                _ => &[1],
            };
            let code = ended.code.expect("an exit code");
            assert!(allowed.contains(&code), "{case}, {command:?}: {ended:?}");
            // Otherwise only progress notes.
            let errors = ended
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "));
            assert_eq!(errors.count(), 1, "{case}: {ended:?}");
            is_told(command[0], &ended.stderr);
        }
        let mut running = vec![];
        for (name, proxy) in proxies {
            proxy.set(Trouble::None);
            let mut process = system.spawn(name, &borrowed(&settings(&proxy)));
            Log::all(name, &process).says(words).await;
            // A missing setting ends it.
            let what = format!("{name} has ended or tried again: {case}");
            let has_tried_again = until(&what, async || {
                let has_ended = process.ended().map(|_| false);
                has_ended.or_else(|| (proxy.requests() >= 4).then_some(true))
            })
            .await;
            if has_tried_again {
                Log::all(name, &process).is_short(words);
            }
            is_told(name, &process.log());
            running.push((name, process, proxy));
        }
        if listener == LOGIN {
            continue;
        }
        // The same address has the right certificate and the right password now.
        let mut right = vec![];
        for (name, process, proxy) in running {
            let port = proxy.port;
            drop(proxy);
            right.push((name, process, Proxy::open(port, port_of(LOGIN)).await));
        }
        let restored = operator.end_of(&["restore", "launch", "--halt"]).await;
        let restored = restored.expect("run");
        assert_eq!(restored.code, Some(0), "{case}: {restored:?}");
        grants += 1;
        launch
            .gets(&format!("user-{grants}"), Place::new("once", grants))
            .await;
        launch.has_rows(grants.into()).await;
        for (name, process, _) in &right {
            Log::all(name, process).is_short(words);
        }
    }
}

fn port_of(listener: &str) -> u16 {
    let listener = tls_kafka(listener);
    let (_, port) = listener.rsplit_once(':').expect("host:port");
    port.parse().expect("a port")
}
