//! Tests more load than can be served: at the edge, at a gate that hangs, and at a slow database.
//!
//! Speeds depend on the machine, so they are only printed. The tests check what must hold on every machine: the
//! replies, the memory, the rate limit, and an exact result.

use hdrhistogram::Histogram;
use rushgate_e2e::check::Expected;
use rushgate_e2e::flood::{self, Flood, FloodResult};
use rushgate_e2e::overload::{AS_SHIPPED, MOST_MEMORY, come_again, overload};
use rushgate_e2e::rush;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Applicants of a system without an edge.
async fn flood(system: &System, campaign: &str, per_second: f64, applicants: usize) -> FloodResult {
    let flood = Flood {
        address: system.url().trim_start_matches("http://").to_owned(),
        campaign: campaign.to_owned(),
        applicants,
        per_second,
        most_under_way: 4_000,
        sources: vec![],
    };
    flood::run(flood).await.expect("a flood")
}

fn milliseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

fn print(what: &str, times: &Histogram<u64>) {
    eprintln!(
        "{what}: {}, p50 {:.1} ms, p99 {:.1} ms",
        times.len(),
        milliseconds(times, 0.5),
        milliseconds(times, 0.99)
    );
}

/// What [the page for operators](../../../deploy/edge/README.md) promises, but for the time of an answer, which
/// `cargo xtask bench overload` measures.
#[tokio::test(flavor = "multi_thread")]
async fn ten_times_what_can_be_served_is_answered_and_all_is_exact_afterwards() {
    const APPLICANTS: usize = 10_000;
    let overload = overload(APPLICANTS, 5_000).await;
    let flood = &overload.flood;
    eprintln!(
        "{:.0}/s came, {:.0}/s can be served; {} of {APPLICANTS} answered within 1 s, {} sent late, {} under way at once; {:?}",
        APPLICANTS as f64 / flood.sending.as_secs_f64(),
        overload.capacity,
        flood.within_a_second,
        flood.sent_late,
        flood.most_under_way,
        flood.answers
    );
    print("decided", &flood.decided);
    print("refused", &flood.refused);
    assert_eq!(flood.undocumented(true), Vec::<String>::new());
    assert_eq!(overload.unexplained, Vec::<String>::new());
    assert!(flood.of("503") > 0, "{:?}", flood.answers);
    assert!(flood.of("granted") > 0, "{:?}", flood.answers);
    assert_eq!(overload.breaches, vec![]);
    for (part, peak) in overload.peak_memory {
        let peak = peak >> 20;
        eprintln!("{part:<10} {peak:>5} MiB at most");
        let most = MOST_MEMORY.iter().find(|(name, _)| *name == part);
        let (_, most) = most.expect("a bound");
        assert!(peak <= *most, "{part} took {peak} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_hangs_is_left_alone_by_all_but_one_at_a_time() {
    const APPLICANTS: usize = 320;
    let system = System::start_with(Size::ONE_OF_EACH, &AS_SHIPPED).await;
    system.operator.create("hung", 50).await.expect("created");
    system.redis().signal(Signal::SIGSTOP).expect("a signal");
    // Few enough that the host has room for all requests that would wait for a second: the component refuses them.
    let mut hung = flood(&system, "hung", 80.0, APPLICANTS).await;
    system.redis().signal(Signal::SIGCONT).expect("a signal");
    print("hung", &hung.refused);
    assert_eq!(hung.undocumented(false), Vec::<String>::new());
    assert_eq!(hung.of("503"), APPLICANTS as u64, "{:?}", hung.answers);
    assert!(hung.of("overloaded") > 0, "{:?}", hung.answers);

    until("the gate is asked again", async || {
        let one = flood(&system, "hung", 100.0, 1).await;
        (one.of("201") + one.of("200") == 1).then_some(())
    })
    .await;
    // Requests that reached Redis while it hung were decided when it continued; their applicants learn that now.
    let outcome = come_again(&system, "hung", &mut hung, APPLICANTS).await;
    let expected = Expected::once(50, APPLICANTS as u32);
    assert_eq!(system.check(&expected, "hung", &outcome).await, vec![]);
}

/// The statement of a turn.
type Statement = fn(u32) -> String;

/// Other queries on the same database meanwhile.
const QUERIES: [(&str, Statement); 3] = [
    ("reads", |turn| {
        format!("SELECT note FROM shop_items WHERE id = {}", turn % 1_000)
    }),
    ("updates", |turn| {
        let id = turn % 1_000;
        format!("UPDATE shop_items SET stock = stock + 1 WHERE id = {id}")
    }),
    ("totals", |_| {
        "UPDATE shop_totals SET sold = sold + 1 WHERE id = 1".to_owned()
    }),
];

/// One kind of query, fifty times a second until `stop`; returns their latencies in microseconds, counted from when
/// each was due.
async fn query(url: String, statement: Statement, stop: Arc<AtomicBool>) -> Histogram<u64> {
    const EVERY: Duration = Duration::from_millis(20);
    let mut times = Histogram::new_with_bounds(1, 120_000_000, 3).expect("good bounds");
    let mut connection = MySqlConnection::connect(&url).await.expect("the database");
    let begun = Instant::now();
    for turn in 0_u32.. {
        let due = begun + EVERY * turn;
        tokio::time::sleep_until(due.into()).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        run(&mut connection, &statement(turn)).await;
        let took = u64::try_from(due.elapsed().as_micros());
        times.saturating_record(took.unwrap_or(u64::MAX));
    }
    times
}

/// Tables of a shop, with a trigger that keeps a total and makes a row of `coupons` take `row` of the database's CPU
/// time.
async fn open_shop(url: &str, row: Duration) {
    const SAMPLE: u32 = 50_000;
    let mut connection = MySqlConnection::connect(url).await.expect("the database");
    let begun = Instant::now();
    let sample = format!("DO BENCHMARK({SAMPLE}, SHA2('rushgate', 256))");
    run(&mut connection, &sample).await;
    let count = f64::from(SAMPLE) * row.as_secs_f64() / begun.elapsed().as_secs_f64();
    for statement in [
        "CREATE TABLE shop_items (id INT PRIMARY KEY, stock INT NOT NULL, note VARCHAR(200) NOT NULL) ENGINE = InnoDB",
        "CREATE TABLE shop_totals (id INT PRIMARY KEY, sold BIGINT NOT NULL) ENGINE = InnoDB",
        "INSERT INTO shop_totals VALUES (1, 0)",
    ] {
        run(&mut connection, statement).await;
    }
    let items: Vec<_> = (0..1_000)
        .map(|id| format!("({id}, 0, REPEAT('x', 200))"))
        .collect();
    let items = format!("INSERT INTO shop_items VALUES {}", items.join(", "));
    run(&mut connection, &items).await;
    let trigger = format!(
        "CREATE TRIGGER shop_counts AFTER INSERT ON coupons FOR EACH ROW BEGIN \
         UPDATE shop_totals SET sold = sold + 1 WHERE id = 1; DO BENCHMARK({count:.0}, SHA2('rushgate', 256)); END"
    );
    run(&mut connection, &trigger).await;
}

async fn run(connection: &mut MySqlConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .expect(statement);
}

/// Rows per second over a while, with the shop open.
async fn watch(system: &System, campaign: &str, what: &str, long: Duration) -> f64 {
    let count = async || system.database.count(campaign).await.expect("the database");
    let (begun, before) = (Instant::now(), count().await);
    let stop = Arc::new(AtomicBool::new(false));
    let shop = QUERIES.map(|(_, statement)| {
        let url = system.database_url().to_owned();
        tokio::spawn(query(url, statement, Arc::clone(&stop)))
    });
    tokio::time::sleep(long).await;
    let (rows, took) = (count().await - before, begun.elapsed());
    stop.store(true, Ordering::Relaxed);
    let rate = rows as f64 / took.as_secs_f64();
    eprint!("{what:<10} {rate:>8.1}");
    for times in shop {
        let times = times.await.expect("no panic");
        let (half, most) = (milliseconds(&times, 0.5), milliseconds(&times, 0.99));
        eprint!(" {half:>9.1} {most:>9.1}");
    }
    eprintln!();
    rate
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_paced_leave_a_slow_database_to_its_shop() {
    const APPLICANTS: usize = 2_500;
    /// Long enough for some batches of the unpaced run.
    const LONG: Duration = Duration::from_secs(6);
    let mut system = System::start(Size::NO_CONSUMER).await;
    system
        .operator
        .create("sale", APPLICANTS as u32)
        .await
        .expect("created");
    let outcome = rush::run(&system.rush("sale", APPLICANTS), || ())
        .await
        .expect("a rush");
    let grants = outcome.history.granted as f64 / outcome.elapsed.as_secs_f64();
    // The grants came ten times as fast as this database takes rows, or more: after the unpaced
    // run, most rows are still to come, however fast the grants came.
    let row = Duration::from_secs_f64(10.0 / grants).max(4 * LONG / APPLICANTS as u32);
    open_shop(system.database_url(), row).await;

    eprintln!("{grants:.0} grants/s came; the shop's p50 and p99 in ms meanwhile");
    eprintln!(
        "             rows/s       reads               updates of items      updates of the total"
    );
    watch(&system, "sale", "no rows", LONG / 2).await;
    let batch = ("CONSUMER_BATCH_SIZE", "64");
    system.start_consumer_with(&[batch]).await;
    rows_arrive(&system, "sale").await;
    let unpaced = watch(&system, "sale", "unpaced", LONG).await;
    assert_eq!(end_consumer(&mut system), Some(0));

    let pace = ((unpaced / 10.0) as u32).max(1);
    let setting = ("CONSUMER_MAX_ROWS_PER_SECOND", &*pace.to_string());
    system.start_consumer_with(&[batch, setting]).await;
    rows_arrive(&system, "sale").await;
    let paced = watch(&system, "sale", "paced", LONG).await;
    eprintln!(
        "{grants:.0} grants/s came, {:.0} times as many as rows went; CONSUMER_MAX_ROWS_PER_SECOND={pace}",
        grants / unpaced
    );
    // What is due in that time, and one portion that was ready at the start.
    let most = f64::from(pace) + (f64::from(pace) / 10.0 + 2.0) / LONG.as_secs_f64();
    assert!(paced <= most, "{paced} rows/s at a pace of {pace}");
    // It has stayed in the group: since its start, no partition was revoked or assigned again.
    let log = system.consumers[0].log();
    let (_, since) = log.rsplit_once("consumer started").expect("its start");
    assert_eq!(since.matches("partitions assigned").count(), 1, "{since}");
    assert_eq!(since.matches("partitions revoked").count(), 0, "{since}");
    assert_eq!(end_consumer(&mut system), Some(0));

    let mut connection = MySqlConnection::connect(system.database_url())
        .await
        .expect("the database");
    run(&mut connection, "DROP TRIGGER shop_counts").await;
    system.start_consumer().await;
    let expected = Expected::once(APPLICANTS as u32, APPLICANTS as u32);
    assert_eq!(system.check(&expected, "sale", &outcome).await, vec![]);
}

/// Waits until the consumer has begun to insert.
async fn rows_arrive(system: &System, campaign: &str) {
    let count = async || system.database.count(campaign).await.expect("the database");
    let before = count().await;
    until("rows arrive", async || {
        (count().await > before).then_some(())
    })
    .await;
}

fn end_consumer(system: &mut System) -> Option<i32> {
    system.consumers.pop().expect("a consumer").terminate()
}
