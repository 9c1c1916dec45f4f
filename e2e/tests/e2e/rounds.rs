//! Tests several campaigns at once, in different time zones: each round is exact, and the rules of the campaign decide
//! whether a winner of yesterday may win again today. An earlier round is cancelled only by its name.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use reqwest::{Client, Method};
use rushgate_e2e::application::apply;
use rushgate_e2e::check::Expected;
use rushgate_e2e::history::{History, Place, Reply};
use rushgate_e2e::rush::{self, RushResult};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const QUOTA: u32 = 40;
const APPLICANTS: u32 = 300;

/// A daily campaign in a time zone, whose first round opened an hour ago and stays open for another hour.
struct Daily {
    id: &'static str,
    first: Zoned,
}

impl Daily {
    async fn create(system: &System, id: &'static str, zone: &str, one_per: &str) -> Self {
        let zone = TimeZone::get(zone).expect("a time zone");
        let first = Timestamp::now().to_zoned(zone) - 1.hour();
        let time = first.strftime("%H:%M").to_string();
        let (from, to) = (first.date(), (&first + 1.day()).date());
        let zone = first.time_zone().iana_name().expect("a name");
        let quota = QUOTA.to_string();
        let (from, to) = (from.to_string(), to.to_string());
        #[rustfmt::skip]
        let arguments = [
            "campaign", "create", "--id", id, "--quota", &quota, "--one-per", one_per,
            "--from", &from, "--to", &to, "--daily", &time, "--for", "2h", "--timezone", zone,
        ];
        system.operator.run(&arguments).await.expect("created");
        Self { id, first }
    }

    fn rounds(&self) -> [String; 2] {
        [0, 1].map(|day| (&self.first + day.days()).date().to_string())
    }

    /// A day passes: the first round ended an hour ago, and the second one is open.
    async fn a_day_later(&self, system: &System) {
        let now = Timestamp::now();
        let at = |hours| (now + SignedDuration::from_hours(hours)).to_string();
        let [first, second] = self.rounds();
        for (round, opens_at, closes_at) in [(first, at(-3), at(-2)), (second, at(-1), at(1))] {
            #[rustfmt::skip]
            let arguments = [
                "campaign", "change", self.id, "--round", &round,
                "--opens-at", &opens_at, "--closes-at", &closes_at, "--reason", "a day later",
            ];
            system.operator.run(&arguments).await.expect("changed");
        }
        until("the grace period is over", async || {
            let mut redis = system.redis_connection().await?;
            let campaign = format!("rushgate:{{{}}}:campaign", self.id);
            let mut get = redis::cmd("HGET");
            get.arg(campaign).arg("settling");
            let settling: String = get.query_async(&mut redis).await.ok()?;
            let settles_at: u64 = settling.split('/').next()?.parse().ok()?;
            let time = redis::cmd("TIME").query_async(&mut redis).await;
            let (seconds, micros): (u64, u64) = time.ok()?;
            (seconds * 1_000 + micros / 1_000 >= settles_at).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn daily_campaigns_in_two_time_zones_and_a_one_off_are_each_exact_per_round() {
    let system = System::start(Size::TWO_OF_EACH).await;
    let seoul = Daily::create(&system, "seoul", "Asia/Seoul", "round").await;
    let new_york = Daily::create(&system, "new-york", "America/New_York", "campaign").await;
    system
        .operator
        .create("launch", QUOTA)
        .await
        .expect("created");

    let [seoul_day_1, new_york_day_1, launch] =
        rush_at(&system, [seoul.id, new_york.id, "launch"]).await;
    for outcome in [&seoul_day_1, &new_york_day_1, &launch] {
        assert_eq!(outcome.history.granted, u64::from(QUOTA));
    }
    let once = Expected::once(QUOTA, APPLICANTS);
    assert_eq!(system.check(&once, "launch", &launch).await, vec![]);

    seoul.a_day_later(&system).await;
    new_york.a_day_later(&system).await;
    let [seoul_day_2, new_york_day_2, launch_again] =
        rush_at(&system, [seoul.id, new_york.id, "launch"]).await;
    assert_eq!(launch_again.history.granted, 0);
    assert_eq!(launch_again.history.places, launch.history.places);

    // With one coupon per campaign, yesterday's winners get yesterday's places, and other applicants win today's.
    let (before, after) = (
        winners(&new_york_day_1.history),
        winners(&new_york_day_2.history),
    );
    assert!(before.is_subset(&after));
    assert_eq!(after.len(), 2 * QUOTA as usize);

    for (daily, one_per_round, days) in [
        (&seoul, true, [seoul_day_1, seoul_day_2]),
        (&new_york, false, [new_york_day_1, new_york_day_2]),
    ] {
        let expected = Expected {
            quota: QUOTA,
            one_per_round,
            due: BTreeMap::from(daily.rounds().map(|round| (round, QUOTA))),
            ..Expected::default()
        };
        let [mut both, second] = days;
        both.history.add(second.history);
        let breaches = system.check(&expected, daily.id, &both).await;
        assert_eq!(breaches, vec![], "{}", daily.id);
        system.drained(daily.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_is_repeated_without_a_round_leaves_earlier_rounds_alone() {
    let identities = [("SPIN_VARIABLE_IDENTITIES", "upstream")];
    let system = System::start_with(Size::ONLY_A_HANDLER, &identities).await;
    let daily = Daily::create(&system, "seoul", "Asia/Seoul", "round").await;
    #[rustfmt::skip]
    let terms = [
        "campaign", "change", daily.id, "--quota", "1", "--waitlist", "1", "--promote-until", "forever",
    ];
    system.operator.run(&terms).await.expect("changed");
    let client = Client::new();
    let url = format!("{}/v1/campaigns/{}/applications", system.url(), daily.id);
    let applies = async |user_id| apply(&client, &url, user_id).await.expect("an answer");
    let [first, second] = daily.rounds();
    assert_eq!(applies("a").await, Reply::Granted(Place::new(&first, 1)));
    assert_eq!(applies("b").await, Reply::Waitlisted(1));
    daily.a_day_later(&system).await;
    assert_eq!(applies("c").await, Reply::Granted(Place::new(&second, 1)));
    assert_eq!(applies("b").await, Reply::Waitlisted(1));

    let is = async |method: Method, query: &str, word: &str| {
        let request = client.request(method.clone(), format!("{url}/b{query}"));
        let response = request.send().await.expect("an answer");
        let body: Value = response.json().await.expect("JSON");
        let said = body.get("decision").or(body.get("code"));
        assert_eq!(said, Some(&word.into()), "{method} {query}: {body}");
        body
    };
    let left = is(Method::DELETE, "", "left").await;
    assert_eq!(left["round"], second);
    // As after an answer that was lost.
    let again = is(Method::DELETE, "", "application_not_found").await;
    let detail = again["detail"].as_str().expect("a detail");
    assert!(detail.contains("add ?round="), "{again}");
    let waits = is(Method::GET, "", "waitlisted").await;
    assert_eq!(waits["round"], first);
    let named = format!("?round={first}");
    is(Method::DELETE, &named, "left").await;
    is(Method::GET, "", "application_not_found").await;
}

/// All applicants come to all three campaigns at once. These share a topic, so all must be at rest before one is
/// checked.
async fn rush_at(system: &System, campaigns: [&str; 3]) -> [RushResult; 3] {
    let [a, b, c] = campaigns.map(|campaign| system.rush(campaign, APPLICANTS as usize));
    let quiet = || ();
    let (a, b, c) = tokio::join!(
        rush::run(&a, quiet),
        rush::run(&b, quiet),
        rush::run(&c, quiet)
    );
    for campaign in campaigns {
        system.drained(campaign).await;
    }
    [a, b, c].map(|outcome| outcome.expect("a rush"))
}

fn winners(history: &History) -> BTreeSet<&String> {
    history.places.keys().collect()
}
