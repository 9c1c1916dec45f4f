//! Tests all programs with a Kafka that requires a login, TLS, or a client certificate.

use crate::failed::named;
use crate::secured::says::{Log, says};
use crate::view::{View, granted};
use rushgate_e2e::secured::tls_kafka;
use rushgate_e2e::shared::server;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::certificates::{EXPIRED, OTHER_AUTHORITY, OTHER_NAME};
use rushgate_testbed::proxy::{Proxy, Trouble};
use rushgate_testbed::servers::kafka::{CLIENT_CERTIFICATE, LOGIN};
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
    let id = named(&list, &["row_refused", "launch/once/2"]);
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

/// What is wrong, the listener, the settings, and what all programs say.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_told_by_the_name_of_the_setting() {
    let system = System::start_secured(Size::ONLY_A_HANDLER, &[]).await;
    system.operator.create("launch", 1).await.expect("created");
    let insert = "INSERT INTO failed_events (topic, kafka_partition, kafka_offset, kafka_timestamp, record_key, payload, \
                headers, reason, detail) VALUES ('a', 0, 0, 0, 'b', '{', '{}', 'undecodable', 'a test')";
    system.database.run(insert).await.expect("a dead letter");
    let password = &login("PLAIN")[4].1;
    let help = system.operator.run(&["audit", "--help"]).await;
    let help = help.expect("help");
    assert!(help.contains("KAFKA_SASL_PASSWORD"), "{help}");
    assert!(!help.contains(password), "{help}");
    let other_authority = system.secured().file(OTHER_AUTHORITY);
    let no_login = [
        ("KAFKA_SASL_MECHANISM", ""),
        ("KAFKA_SASL_USERNAME", ""),
        ("KAFKA_SASL_PASSWORD", ""),
    ];
    let with_protocol =
        |protocol| [&[("KAFKA_SECURITY_PROTOCOL", protocol)][..], &no_login].concat();
    let cases: [Case<'_>; 8] = [
        (
            "a wrong password",
            LOGIN,
            &[("KAFKA_SASL_PASSWORD", "wr0ng")],
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
            &[&[("KAFKA_SSL_CA", "")][..], &with_protocol("")].concat(),
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
            LOGIN,
            &[("KAFKA_SSL_CA", &other_authority)],
            &["authority", "KAFKA_SSL_CA"],
        ),
        (
            "another name",
            OTHER_NAME,
            &with_protocol("ssl"),
            &["another host name", "KAFKA_BROKERS"],
        ),
        (
            "an expired certificate",
            EXPIRED,
            &with_protocol("ssl"),
            &["expired"],
        ),
        (
            "no client certificate",
            CLIENT_CERTIFICATE,
            &with_protocol("ssl"),
            &["requires a certificate", "KAFKA_SSL_CERTIFICATE"],
        ),
    ];
    for (case, listener, settings, words) in cases {
        let listener = tls_kafka(listener);
        let (_, port) = listener.rsplit_once(':').expect("host:port");
        let proxy = Proxy::open(0, port.parse().expect("a port")).await;
        let brokers = format!("127.0.0.1:{}", proxy.port);
        let settings = [&[("KAFKA_BROKERS", brokers.as_str())][..], settings].concat();
        let is_told = |what: &str, text: &str| {
            says(what, text, words).unwrap_or_else(|error| panic!("{case}: {error}"));
            let secrets = ["wr0ng", password.as_str()];
            let hidden = secrets.iter().all(|secret| !text.contains(secret));
            assert!(hidden, "{case}, {what}: {text}");
        };
        let operator = system.operator.with(&settings);
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
        for name in ["kafka-bridge", "consumer"] {
            proxy.set(Trouble::None);
            let mut process = system.spawn(name, &settings);
            Log::all(name, &process).says(words).await;
            // A missing setting ends it.
            if process.ended().is_none() {
                until(&format!("{name} has tried again: {case}"), async || {
                    (proxy.requests() >= 4).then_some(())
                })
                .await;
                Log::all(name, &process).is_short(words);
            }
            is_told(name, &process.log());
        }
    }
}
