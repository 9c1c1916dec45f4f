//! Tests that requests about campaigns put little load on the gate: pages of the list, and ids that do not exist.

use crate::refusals::calls;
use redis::aio::MultiplexedConnection;
use reqwest::{Client, StatusCode};
use rushgate_e2e::system::{Size, System};
use rushgate_gate::project::{self, Origin};
use rushgate_gate::script::Eval;
use rushgate_gate::{CampaignState, FencingToken, Quota, Round, RoundId, Terms};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Scripts that requests about campaigns may run.
const QUESTIONS: [&str; 5] = ["evalsha", "eval", "zrangebylex", "exists", "smembers"];

const SCRIPTS: [&str; 2] = ["evalsha", "eval"];

/// Most campaigns on a page.
const PAGE: usize = 20;

/// A campaign as it was created before the index existed.
async fn create_as_before(redis: &mut MultiplexedConnection, id: &str) {
    let once = Round {
        id: RoundId::once(),
        opens_at: None,
        closes_at: None,
        quota: Quota::try_from(5_u32).expect("a quota"),
    };
    let call = project::call(
        &id.parse().expect("an id"),
        Origin::New,
        CampaignState::Running,
        &Terms::default(),
        &[once],
        FencingToken::default(),
    );
    let mut add = redis::cmd("SADD");
    add.arg("rushgate:campaigns").arg(id);
    add.exec_async(redis).await.expect("SADD");
    call.command(Eval::BySource)
        .exec_async(redis)
        .await
        .expect("EVAL");
}

async fn page(system: &System, query: &str) -> Value {
    let url = format!("{}/v1/campaigns{query}", system.url());
    let response = reqwest::get(url).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

fn names(page: &Value) -> Vec<String> {
    let campaigns = page["campaigns"].as_array().expect("a list");
    let name = |campaign: &Value| campaign["campaign"].as_str().expect("a name").to_owned();
    campaigns.iter().map(name).collect()
}

/// The ids on all pages, in order.
async fn walk(system: &System) -> Vec<String> {
    let (mut all, mut query) = (vec![], String::new());
    loop {
        let page = page(system, &query).await;
        let names = names(&page);
        assert!(names.len() <= PAGE, "{names:?}");
        all.extend(names);
        match page["next"].as_str() {
            Some(next) => query = format!("?after={next}"),
            None => return all,
        }
    }
}

async fn lists(system: &System, expected: &[String]) {
    until("all of them are listed", async || {
        (walk(system).await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_told_page_by_page_and_asked_for_at_most_once_a_second() {
    const CAMPAIGNS: usize = 45;
    const TIMES: usize = 100;
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut expected: Vec<String> = (0..CAMPAIGNS)
        .map(|number| format!("c{number:02}"))
        .collect();
    for id in &expected {
        create_as_before(&mut redis, id).await;
    }
    // Also before the index is created.
    let before = calls(&mut redis, &QUESTIONS).await;
    let first = page(&system, "").await;
    let asked = calls(&mut redis, &QUESTIONS).await - before;
    assert_eq!(names(&first), expected[..PAGE]);
    // The page; the missing index, and the set instead; and a script that Redis did not have.
    assert!(asked <= PAGE + 1 + 2 + 1, "one page took {asked} questions");
    assert_eq!(walk(&system).await, expected);

    let (before, begun) = (calls(&mut redis, &QUESTIONS).await, Instant::now());
    for _ in 0..TIMES {
        page(&system, "").await;
    }
    let asked = calls(&mut redis, &QUESTIONS).await - before;
    // Each second, and each instance, which serves 128 requests.
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("seconds");
    let most = (PAGE + 3) * (seconds + 3);
    assert!(
        asked <= most,
        "{TIMES} pages took {asked} questions in {seconds} s"
    );

    // The index of setup and of creations is as complete, and stays so.
    system.operator.run(&["setup"]).await.expect("set up");
    lists(&system, &expected).await;
    system.operator.create("b", 1).await.expect("created");
    expected.insert(0, "b".to_owned());
    lists(&system, &expected).await;
    create_as_before(&mut redis, "d").await;
    system.operator.run(&["setup"]).await.expect("set up");
    expected.push("d".to_owned());
    lists(&system, &expected).await;
    redis::cmd("DEL")
        .arg("rushgate:{rushgate:campaigns}:index")
        .exec_async(&mut redis)
        .await
        .expect("DEL");
    system.operator.create("a", 1).await.expect("created");
    expected.insert(0, "a".to_owned());
    lists(&system, &expected).await;

    // A campaign with broken keys does not hide the others.
    let mut odd = redis::pipe();
    odd.del("rushgate:{c03}:campaign");
    odd.set("rushgate:{c03}:campaign", "odd");
    odd.exec_async(&mut redis).await.expect("SET");
    expected.retain(|id| id != "c03");
    lists(&system, &expected).await;
    assert_eq!(page(&system, "").await["unreadable"], json!(["c03"]));

    for (query, status) in [("?after=c99", 200), ("?after=C%20", 400), ("?after=", 400)] {
        let url = format!("{}/v1/campaigns{query}", system.url());
        let response = reqwest::get(url).await.expect("an answer");
        assert_eq!(response.status(), status, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_campaign_is_looked_up_once_a_second_and_found_a_second_after_its_creation() {
    const TIMES: usize = 200;
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let mut redis = system.redis_connection().await.expect("Redis");
    let client = Client::new();
    let campaign = format!("{}/v1/campaigns/typo", system.url());
    let ask = async |what: usize| {
        let request = match what % 3 {
            0 => client.get(&campaign),
            1 => client.get(format!("{campaign}/applications/7")),
            _ => client
                .post(format!("{campaign}/applications"))
                .header("content-type", "application/json")
                .body(r#"{"user_id":"7"}"#),
        };
        request.send().await.expect("an answer").status()
    };
    let (before, begun) = (calls(&mut redis, &SCRIPTS).await, Instant::now());
    for number in 0..TIMES {
        assert_eq!(ask(number).await, StatusCode::NOT_FOUND);
    }
    let asked = calls(&mut redis, &SCRIPTS).await - before;
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("seconds");
    assert!(
        asked <= 3 * (seconds + 3),
        "{TIMES} questions for an unknown campaign were {asked} scripts in {seconds} s"
    );

    ask(0).await;
    system.operator.create("typo", 1).await.expect("created");
    let created = Instant::now();
    until("it is found", async || {
        // An answer that was given before the creation is good for a second.
        let must_know = created.elapsed() > Duration::from_secs(1);
        let is_found = ask(2).await == StatusCode::CREATED;
        assert!(is_found || !must_know, "unknown to a later request");
        is_found.then_some(())
    })
    .await;
    assert_eq!(ask(0).await, StatusCode::OK);
    assert_eq!(ask(1).await, StatusCode::OK);
}
