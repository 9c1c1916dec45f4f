//! Tests the whole system with TLS and a login on every connection to a server: a rush, and what it costs beside the
//! same rush without.

mod database;
mod kafka;
mod redis;
pub(crate) mod says;

use rushgate_e2e::check::Expected;
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use std::time::Duration;
use tokio::sync::Mutex;

/// Held by a test that changes the certificate of the database, and by each whose system verifies it.
pub(crate) static DATABASE_CERTIFICATE: Mutex<()> = Mutex::const_new(());

const QUOTA: u32 = 500;
const APPLICANTS: u32 = 20_000;

/// Small and slow steps of bridge and consumer, so that the first rows arrive long before the last ones.
const SETTINGS: [(&str, &str); 3] = [
    ("BRIDGE_WINDOW", "10"),
    ("CONSUMER_BATCH_SIZE", "10"),
    ("CONSUMER_MAX_ROWS_PER_SECOND", "100"),
];

const NO_BRIDGE: Size = Size {
    bridges: 0,
    ..Size::ONE_OF_EACH
};

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_over_tls_is_exact() {
    let _verified = DATABASE_CERTIFICATE.lock().await;
    let mut plain = System::start_with(Size::ONE_OF_EACH, &SETTINGS).await;
    eprintln!("without TLS: {}", rush(&mut plain).await);
    drop(plain);
    let mut secured = System::start_secured(NO_BRIDGE, &SETTINGS).await;
    // The bridge has a certificate, the consumer a password.
    let certificate = secured.secured().client_certificate();
    let certificate: Vec<_> = certificate
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    secured.start_bridge_with(&certificate).await;
    eprintln!("with TLS: {}", rush(&mut secured).await);
}

/// The consumer is killed in the middle. Returns the speed, and the CPU time of each application.
async fn rush(system: &mut System) -> String {
    let created = system.operator.create("launch", QUOTA).await;
    created.expect("created");
    let cpu = |system: &System| {
        let host = system.handler(0).usage().expect("it runs").cpu;
        [host, system.redis().usage().expect("it runs").cpu]
    };
    let before = cpu(system);
    let rush = system.rush("launch", APPLICANTS as usize);
    let rush = tokio::spawn(async move { rush::run(&rush, || ()).await });
    let rows = until("rows arrive", async || {
        let rows = system.database.count("launch").await;
        rows.ok().filter(|rows| *rows > 0)
    })
    .await;
    system.consumers.remove(0).crash();
    assert!(rows < u64::from(QUOTA), "it was killed after the last row");
    system.start_consumer().await;
    let outcome = rush.await.expect("no panic").expect("a rush");
    let after = cpu(system);
    let expected = Expected::once(QUOTA, APPLICANTS);
    assert_eq!(system.check(&expected, "launch", &outcome).await, vec![]);
    system.drained("launch").await;

    let answers = outcome.latency.len() as f64;
    let micros = |used: Duration| used.as_micros() as f64 / answers;
    let [host, redis] = [0, 1].map(|part| micros(after[part] - before[part]));
    let speed = answers / outcome.elapsed.as_secs_f64();
    let middle = outcome.latency.value_at_quantile(0.5);
    format!(
        "{speed:.0} applications/s, median {middle} µs, CPU of each: host {host:.0} µs, Redis {redis:.0} µs"
    )
}
