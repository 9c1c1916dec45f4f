//! Tests `rushgate restore` after Redis has lost grants: there is never a coupon too many, no winner is forgotten, and
//! one command repairs the campaign.

use crate::view::{View, granted};
use crate::watch::Watch;
use rushgate_e2e::check::{Expected, breaches, lost_with_redis};
use rushgate_e2e::history::{Call, History, Place, Reply};
use rushgate_e2e::replica;
use rushgate_e2e::rush::{self, RushResult};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::port::Port;
use rushgate_testbed::servers::redis::Redis;
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const LAUNCH: &str = "launch";

/// A rush during which Redis loses grants.
struct Crisis {
    system: System,
    quota: u32,
    watch: Watch,
    rush: JoinHandle<anyhow::Result<RushResult>>,
    /// The replies to applicants who are not part of the rush.
    late: RefCell<History>,
}

impl Crisis {
    async fn begin(system: System, quota: u32, applicants: usize, repeats: usize) -> Self {
        system
            .operator
            .create(LAUNCH, quota)
            .await
            .expect("created");
        let watch = Watch::begin(&system, LAUNCH, quota);
        let rush = rush::Rush {
            outlasts_a_loss: true,
            repeats,
            ..system.rush(LAUNCH, applicants)
        };
        Self {
            system,
            quota,
            watch,
            rush: tokio::spawn(async move { rush::run(&rush, || ()).await }),
            late: RefCell::default(),
        }
    }

    async fn has_at_least(&self, rows: u64) {
        until(&format!("there are {rows} rows"), async || {
            let count = self
                .system
                .database
                .count(LAUNCH)
                .await
                .expect("the database");
            (count >= rows).then_some(())
        })
        .await;
    }

    /// Waits until the gate has granted this many.
    async fn has_granted(&self, least: u64) {
        let url = format!("{}/v1/campaigns/{LAUNCH}", self.system.url());
        until(&format!("{least} are granted"), async || {
            let counts = reqwest::get(&url).await.ok()?.text().await.ok()?;
            let counts: Value = serde_json::from_str(&counts).ok()?;
            let granted = counts["round"]["granted"].as_u64()?;
            (granted >= least).then_some(())
        })
        .await;
    }

    /// An applicant comes who is not part of the rush; the same one again, after a request without an answer.
    async fn comes_late(&self) {
        let user_id = format!("late-{}", self.late.borrow().sent);
        let began = Instant::now();
        let reply = View::of(&self.system, LAUNCH).apply(&user_id).await;
        let mut late = self.late.borrow_mut();
        late.note_coming(&user_id, began);
        if !matches!(reply, Reply::Unavailable) {
            let ended = Instant::now();
            late.note(Call {
                user_id,
                began,
                ended,
                reply,
            });
        }
    }

    /// Restores the campaign; returns the output of the command.
    async fn restore(&self) -> String {
        let view = View::of(&self.system, LAUNCH);
        // First sold out, as long as this refusal is cached; then books_incomplete, and halted once a consumer has noticed.
        until("handlers have noticed", async || {
            let (status, code) = view.refusal("nobody").await;
            let reply = (status, code.as_str());
            let lost = matches!(reply, (503, "books_incomplete" | "halted"));
            let not_yet = matches!(reply, (410, "sold_out") | (503, "gate_unavailable"));
            assert!(lost || not_yet, "{status} {code}");
            lost.then_some(())
        })
        .await;
        let restore = ["restore", LAUNCH, "--reason", "as agreed", "--wait", "60s"];
        let said = view.does(&restore).await;
        assert!(
            said.starts_with("campaign launch is running again after"),
            "{said}"
        );
        said
    }

    /// Waits for the end. `lost` are grants that only the lost Redis had.
    async fn end(self, lost: &BTreeSet<(String, Place)>) -> RushResult {
        while !self.rush.is_finished() {
            assert!(!is_halted(&self.system).await, "halted once more");
            sleep(Duration::from_millis(100)).await;
        }
        let mut outcome = self.rush.await.expect("no panic").expect("a rush");
        outcome.history.add(self.late.into_inner());
        View::of(&self.system, LAUNCH)
            .has_rows(u64::from(self.quota))
            .await;
        self.watch.end().await;
        let expected = Expected {
            restored: true,
            ..Expected::once(self.quota, self.quota)
        };
        let evidence = self.system.at_rest(LAUNCH).await;
        let history = &outcome.history;
        assert_eq!(breaches(&expected, history, &evidence), []);
        let forgotten = lost_with_redis(history, &evidence).into_iter();
        let forgotten = forgotten
            .filter(|(user_id, place)| !lost.contains(&((*user_id).clone(), (*place).clone())));
        assert_eq!(forgotten.collect::<Vec<_>>(), [], "not by Redis");
        outcome
    }
}

/// Whether a consumer has found that the gate has lost grants.
async fn is_halted(system: &System) -> bool {
    system.database.state(LAUNCH).await.expect("the database") == "halted"
}

/// Grants that only the stream of a Redis with this data directory had.
async fn known_to(directory: &Path) -> BTreeSet<(String, Place)> {
    let port = Port::free().expect("a free port");
    let redis = Redis::on_port(port.number(), directory);
    let _redis = redis.start(&[]).expect("Redis");
    let mut redis = replica::connection(port.number()).await.expect("Redis");
    let stream: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
        .arg("rushgate:{launch}:stream")
        .arg("-")
        .arg("+")
        .query_async(&mut redis)
        .await
        .expect("the stream");
    let entries = stream.ids.iter().map(|entry| {
        let field = |name| entry.get::<String>(name).expect(name);
        let serial = field("serial").parse().expect("a serial");
        (field("user_id"), Place::new(&field("round"), serial))
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_everything_is_restored_and_the_rush_goes_on() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let mut crisis = Crisis::begin(system, 3_000, 6_000, 3).await;
    crisis.has_at_least(300).await;
    crisis.system.crash_redis();
    let lost = crisis.system.lose_redis_data();
    let lost = known_to(&lost).await;
    let is_under_way = !crisis.rush.is_finished();
    crisis.system.start_redis();

    let said = crisis.restore().await;
    assert!(said.contains("the gate had 0 of"), "{said}");
    eprintln!("{} grants were known to Redis alone; {said}", lost.len());
    let outcome = crisis.end(&lost).await;
    let has_met_it = outcome.history.retried > 0;
    assert!(has_met_it || !is_under_way, "no client met the loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_replica_is_halted_and_applicants_who_lost_a_serial_get_another() {
    let system = System::start(Size::ONE_OF_EACH).await;
    let replica = system.start_replica().await;
    let mut crisis = Crisis::begin(system, 8_000, 10_000, 1).await;
    crisis.has_granted(200).await;
    replica.until_it_has("rushgate:{launch}:grants").await;
    replica.cut_off().await;
    // Rows that the replica does not know. The API may remember an older count.
    let known = {
        let mut redis = crisis.system.redis_connection().await.expect("Redis");
        let mut count = redis::cmd("HGET");
        count.arg(&["rushgate:{launch}:rounds", "once/granted"]);
        let count = count.query_async::<u64>(&mut redis).await;
        count.expect("a count")
    };
    crisis.has_at_least(known + 100).await;
    let directory = crisis.system.redis_log();
    crisis.system.promote(replica).await;
    let lost = known_to(directory.ancestors().nth(2).expect("a directory")).await;

    // A new applicant gets a serial again, also after the end of the rush.
    until("the consumer has halted the campaign", async || {
        crisis.comes_late().await;
        is_halted(&crisis.system).await.then_some(())
    })
    .await;
    let said = crisis.restore().await;
    crisis.comes_late().await;
    eprintln!("{} grants were known to Redis alone; {said}", lost.len());
    let metrics = crisis.system.metrics("consumer-0").await.expect("metrics");
    let lost_grants = metrics
        .lines()
        .find_map(|line| line.strip_prefix("rushgate_consumer_lost_grants_total "))
        .expect("the metric");
    assert_ne!(lost_grants, "0");
    let log = crisis.system.consumers[0].log();
    assert!(
        log.contains("the gate does not know committed grants"),
        "{log}"
    );
    crisis.end(&lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_people_outlast_a_redis_that_lost_everything() {
    let system = System::start(Size::TWO_OF_EACH).await;
    let mut crisis = Crisis::begin(system, 20_000, 100_000, 1).await;
    crisis.has_at_least(12_000).await;
    crisis.system.crash_redis();
    let lost = crisis.system.lose_redis_data();
    let lost = known_to(&lost).await;
    crisis.system.start_redis();
    let begun = Instant::now();
    let said = crisis.restore().await;
    let took = begun.elapsed().as_secs_f64();
    let outcome = crisis.end(&lost).await;
    assert_eq!(outcome.history.sent, 101_000);
    // Not `eprintln!`, whose output a passing test does not show.
    writeln!(
        std::io::stderr(),
        "100,000 applicants in {:.1} s; restored in {took:.1} s: {said}",
        outcome.elapsed.as_secs_f64()
    )
    .expect("written");
}

/// Five coupons: Redis has lost all but two, and has granted the other serials again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_serial_without_a_free_place_is_a_dead_letter_until_there_is_one() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 5).await.expect("created");
    let log = system.redis_log();
    {
        let launch = View::of(&system, LAUNCH);
        for (serial, user_id) in ["a", "b"].into_iter().enumerate() {
            assert_eq!(
                launch.apply(user_id).await,
                granted(serial as u32 + 1),
                "{user_id}"
            );
        }
        launch.has_rows(2).await;
        system.drained(LAUNCH).await;
    }
    let kept = std::fs::metadata(&log).expect("the log").len();
    {
        let launch = View::of(&system, LAUNCH);
        for (serial, user_id) in ["c", "d", "e"].into_iter().enumerate() {
            assert_eq!(
                launch.apply(user_id).await,
                granted(serial as u32 + 3),
                "{user_id}"
            );
        }
        launch.has_rows(5).await;
        system.drained(LAUNCH).await;
    }
    // It writes nothing more, so the end of the log is known.
    assert_eq!(system.consumers.remove(0).terminate(), Some(0));
    system.crash_redis();
    let file = std::fs::File::options().write(true).open(&log);
    file.and_then(|file| file.set_len(kept)).expect("cut");
    system.start_redis();
    {
        let launch = View::of(&system, LAUNCH);
        for (serial, user_id) in ["x", "y", "c"].into_iter().enumerate() {
            assert_eq!(
                launch.apply(user_id).await,
                granted(serial as u32 + 3),
                "{user_id}"
            );
        }
    }
    system.start_consumer().await;
    let launch = View::of(&system, LAUNCH);
    until("the consumer has halted the campaign", async || {
        is_halted(&system).await.then_some(())
    })
    .await;
    assert_eq!(launch.refusal("z").await, (503, "halted".to_owned()));
    for (arguments, next) in [
        (["campaign", "resume", LAUNCH], "`rushgate restore launch`"),
        (["revoke", LAUNCH, "a"], "`rushgate restore launch`"),
    ] {
        let refused = launch.cannot(&arguments).await;
        assert!(refused.contains(next), "{arguments:?}: {refused}");
    }

    // x and y have lost their serials to c and d, and c has had a coupon all the time.
    let said = launch.does(&["restore", LAUNCH, "--wait", "60s"]).await;
    assert!(
        said.contains("the gate had 2 of 5 held grants")
            && said
                .contains("0 were reassigned another one, 1 have a coupon anyway, and for 2 no serial was left"),
        "{said}"
    );
    assert_eq!(launch.apply("z").await, Reply::SoldOut);
    for (serial, user_id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let place = Place::new("once", serial as u32 + 1);
        assert_eq!(
            launch.apply(user_id).await,
            Reply::AlreadyGranted(place),
            "{user_id}"
        );
    }
    let open = launch.json(&["failed", "list", "--campaign", LAUNCH]).await;
    let reasons: Vec<_> = open.iter().map(|open| &open["reason"]).collect();
    assert_eq!(reasons, ["serial_taken"; 2], "{open:?}");
    let found = launch.does(&["coupon", "find", "x"]).await;
    assert!(
        found.contains("dead letter launch/once/3: serial_taken"),
        "{found}"
    );

    // With a higher quota each of them gets a serial, before all other applicants.
    let more = ["campaign", "change", LAUNCH, "--quota", "8"];
    launch.does(&more).await;
    let refused = launch.cannot(&["restore", LAUNCH]).await;
    assert!(refused.contains("is not halted"), "{refused}");
    let said = launch
        .does(&["restore", LAUNCH, "--halt", "--wait", "60s"])
        .await;
    assert!(said.contains("2 were reassigned another one"), "{said}");
    launch.has_rows(7).await;
    assert_eq!(
        launch.apply("x").await,
        Reply::AlreadyGranted(Place::new("once", 6))
    );
    assert_eq!(
        launch.apply("y").await,
        Reply::AlreadyGranted(Place::new("once", 7))
    );
    assert_eq!(launch.apply("z").await, granted(8));
    launch.has_rows(8).await;
    system.drained(LAUNCH).await;
    assert_eq!(
        launch.actions().await,
        [
            "created", "halted", "restored", "changed", "halted", "restored"
        ]
    );
}

/// A copy of Redis's data on disk; Redis stops for the copy and starts again.
async fn kept(system: &mut System, copy: &Path) {
    let log = system.redis_log();
    system.crash_redis();
    let directory = log.parent().expect("a directory");
    std::fs::create_dir_all(copy).expect("a directory");
    for file in std::fs::read_dir(directory).expect("files") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
    }
    system.start_redis();
}

/// Redis is rolled back to the copy.
async fn goes_back(system: &mut System, copy: &Path) {
    let directory = system.redis_log().parent().expect("a directory").to_owned();
    system.crash_redis();
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::rename(copy, &directory).expect("put back");
    system.start_redis();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_of_a_serial_that_had_been_passed_on_is_reassigned() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    let copies = tempfile::tempdir().expect("a directory");
    let copy = copies.path().join("copy");
    system.operator.create(LAUNCH, 2).await.expect("created");
    kept(&mut system, &copy).await;
    {
        let launch = View::of(&system, LAUNCH);
        assert_eq!(launch.apply("q").await, granted(1));
        launch.has_rows(1).await;
        launch.does(&["revoke", LAUNCH, "q"]).await;
        launch.gets("p", Place::new("once", 1)).await;
        launch.has_rows(1).await;
        system.drained(LAUNCH).await;
    }
    goes_back(&mut system, &copy).await;
    let launch = View::of(&system, LAUNCH);
    // The gate knows no grant; in the table the serial was passed on.
    assert_eq!(launch.apply("z").await, granted(1));
    until("the campaign is halted", async || {
        (launch.states().await[LAUNCH] == "halted").then_some(())
    })
    .await;
    launch.does(&["restore", LAUNCH]).await;
    launch.has_rows(2).await;
    system.drained(LAUNCH).await;
    let rows = system.database.rows(LAUNCH).await.expect("the database");
    let holders: Vec<_> = rows
        .iter()
        .map(|row| (row.place.serial, row.user_id.as_str()))
        .collect();
    assert_eq!(holders, [(1, "p"), (2, "z")]);
    assert_eq!(launch.apply("y").await, Reply::SoldOut);
    launch.exits(0, &["audit", LAUNCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_redis_has_lost_is_found() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    let copies = tempfile::tempdir().expect("a directory");
    let copy = copies.path().join("copy");
    system.operator.create(LAUNCH, 2).await.expect("created");
    kept(&mut system, &copy).await;
    {
        let launch = View::of(&system, LAUNCH);
        assert_eq!(launch.apply("a").await, granted(1));
        launch.has_rows(1).await;
        launch.does(&["revoke", LAUNCH, "a"]).await;
        launch.has_rows(0).await;
        system.drained(LAUNCH).await;
    }
    goes_back(&mut system, &copy).await;
    let launch = View::of(&system, LAUNCH);
    let found = launch.exits(2, &["audit", LAUNCH]).await;
    assert!(
        found.contains("once/1 of a has a revoked row, and the gate does not know it")
            && found.contains("`rushgate restore --halt`"),
        "{found}"
    );
    // The same serial is not mistaken for the revoked coupon.
    assert_eq!(launch.apply("a").await, granted(1));
    until("the campaign is halted", async || {
        (launch.states().await[LAUNCH] == "halted").then_some(())
    })
    .await;
    launch.does(&["restore", LAUNCH]).await;
    assert_eq!(launch.refusal("a").await, (410, "revoked".to_owned()));
    launch.exits(0, &["audit", LAUNCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_lost_before_it_was_in_kafka_is_found() {
    let mut system = System::start(Size::ONE_OF_EACH).await;
    let copies = tempfile::tempdir().expect("a directory");
    let copy = copies.path().join("copy");
    system.operator.create(LAUNCH, 2).await.expect("created");
    {
        let launch = View::of(&system, LAUNCH);
        assert_eq!(launch.apply("a").await, granted(1));
        launch.has_rows(1).await;
        system.drained(LAUNCH).await;
    }
    kept(&mut system, &copy).await;
    assert_eq!(system.bridges.remove(0).terminate(), Some(0));
    let launch = View::of(&system, LAUNCH);
    launch.does(&["revoke", LAUNCH, "a"]).await;
    goes_back(&mut system, &copy).await;
    system.start_bridge().await;
    let launch = View::of(&system, LAUNCH);
    let found = launch.exits(2, &["audit", LAUNCH]).await;
    assert!(
        found.contains(
            "once/1 of a is held at the gate, although the log says that it was revoked: "
        ) && found.contains("`rushgate revoke` revokes it again"),
        "{found}"
    );
    launch.does(&["revoke", LAUNCH, "a"]).await;
    launch.has_rows(0).await;
    system.drained(LAUNCH).await;
    launch.exits(0, &["audit", LAUNCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_interrupted_before_redis_lost_all_does_not_keep_a_restore_from_its_end()
{
    let mut system = System::start(Size::ONE_OF_EACH).await;
    system.operator.create(LAUNCH, 1).await.expect("created");
    {
        let launch = View::of(&system, LAUNCH);
        launch
            .does(&["campaign", "change", LAUNCH, "--quota", "3"])
            .await;
        for (serial, person) in (1..).zip(["a", "b", "c"]) {
            launch.gets(person, Place::new("once", serial)).await;
        }
        launch.has_rows(3).await;
        system.drained(LAUNCH).await;
    }
    // As if the answer to that change had been lost.
    let shape = |quota| {
        format!(
            r#"{{"waitlist":0,"last_day":null,"rounds":[{{"id":"once","opens_at":null,"closes_at":null,"quota":{quota}}}]}}"#
        )
    };
    let deed = format!(
        r#"{{"change":{{"before":{},"after":{}}}}}"#,
        shape(1),
        shape(3)
    );
    let interrupted = format!(
        "INSERT INTO intentions (campaign_id, fencing_token, actor, deed) \
         SELECT campaign_id, fencing_token, 'kim', '{deed}' FROM campaigns"
    );
    system.database.run(&interrupted).await.expect("done");
    system.crash_redis();
    system.lose_redis_data();
    system.start_redis();
    let launch = View::of(&system, LAUNCH);
    let kafka_away = system.operator.with(&[("KAFKA_BROKERS", "127.0.0.1:1")]);
    let restore = ["restore", LAUNCH, "--halt"];
    for _ in 0..2 {
        let ended = kafka_away.end_of(&restore).await.expect("run");
        assert_eq!(ended.code, Some(3), "{ended:?}");
    }
    launch.exits(0, &restore).await;
    launch.exits(0, &["audit", LAUNCH]).await;
    launch.has_rows(3).await;
    assert_eq!(launch.apply("d").await, Reply::SoldOut);
}
