//! Tests programs that are killed in the middle of a rush and restart: the result is exact, and no operator has to do
//! anything.

use rushgate_e2e::check::Expected;
use rushgate_e2e::rush::{self, RushResult};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use tokio::task::JoinHandle;

const QUOTA: u32 = 1_000;
const APPLICANTS: u32 = 1_500;

/// Small steps of bridge and consumer, so that the first rows arrive long before the last ones.
const SETTINGS: [(&str, &str); 2] = [("BRIDGE_WINDOW", "10"), ("CONSUMER_BATCH_SIZE", "10")];

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_is_killed_loses_nothing() {
    let mut system = System::start_with(Size::ONE_OF_EACH, &SETTINGS).await;
    let rush = begin_rush(&system).await;
    let mut in_the_middle = 0;
    for _ in 0..3 {
        some_rows_more(&system).await;
        system.bridges.remove(0).crash();
        let evidence = system.stores().read("launch").await.expect("the stores");
        in_the_middle += u32::from(evidence.published.len() < QUOTA as usize);
        system.start_bridge().await;
    }
    assert!(in_the_middle > 0, "every kill was after the last record");
    end_rush(&system, rush).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_killed_loses_nothing() {
    // All rows take more than three seconds, whatever the machine does.
    let slow = [&SETTINGS[..], &[("CONSUMER_MAX_ROWS_PER_SECOND", "300")]].concat();
    let mut system = System::start_with(Size::ONE_OF_EACH, &slow).await;
    let rush = begin_rush(&system).await;
    some_rows_more(&system).await;
    system.consumers.remove(0).crash();
    let rows = system.database.count("launch").await.expect("the database");
    assert!(rows < u64::from(QUOTA), "it was killed after the last row");
    system.start_consumer().await;
    end_rush(&system, rush).await;
}

type Running = JoinHandle<anyhow::Result<RushResult>>;

async fn begin_rush(system: &System) -> Running {
    let created = system.operator.create("launch", QUOTA).await;
    created.expect("created");
    let rush = system.rush("launch", APPLICANTS as usize);
    tokio::spawn(async move { rush::run(&rush, || ()).await })
}

async fn end_rush(system: &System, rush: Running) {
    let outcome = rush.await.expect("no panic").expect("a rush");
    let expected = Expected::once(QUOTA, APPLICANTS);
    assert_eq!(system.check(&expected, "launch", &outcome).await, vec![]);
    system.drained("launch").await;
}

/// Waits until the pipeline is in the middle of its work.
async fn some_rows_more(system: &System) {
    let before = system.database.count("launch").await.expect("the database");
    until("rows arrive", async || {
        let count = system.database.count("launch").await.expect("the database");
        (count > before || count >= u64::from(QUOTA)).then_some(())
    })
    .await;
}
