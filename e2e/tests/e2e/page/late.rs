//! Tests the web page while answers arrive late and others apply: what the applicant sees must not go back or away.

use super::{WATCH, apply, create, framed, get, shop_with_codes};
use crate::tab::Tab;
use jiff::{SignedDuration, Timestamp};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::process::Signal;
use rushgate_testbed::wait::until;
use serde_json::json;

/// Holds back the first answer about the state of an application until `release()`.
const HOLD: &str = r#"
const answered = fetch;
let isFirst = true;
window.fetch = async (address, request) => {
  const answer = await answered(address, request);
  if (isFirst && request?.method === "GET" && String(address).includes("/applications/")) {
    isFirst = false;
    await new Promise((resolve) => { window.release = resolve; });
  }
  return answer;
};
"#;

/// Counts the answers about the campaign `gift` that say that it has granted two coupons.
const READ: &str = r#"
const answered = fetch;
window.saidTwo = 0;
window.fetch = async (address, request) => {
  const answer = await answered(address, request);
  if (String(address).endsWith("/v1/campaigns/gift")) {
    const { round } = await answer.clone().json();
    if (round.granted === 2) window.saidTwo += 1;
  }
  return answer;
};
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_before_the_application_does_not_take_the_coupon_off_the_page() {
    let system = System::welcome().await;
    let tab = Tab::start("en").await;
    tab.prepare(WATCH).await;
    tab.prepare(HOLD).await;
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.until_stage("open").await;
    tab.evaluate("localStorage['rushgate.visitor'] = '77'")
        .await;
    tab.reload().await;
    // The page asks about a visitor without an application.
    tab.until("window.release !== undefined").await;
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;
    let asked = tab.sent("GET", "/applications/77");
    tab.evaluate("release()").await;
    until("it asks again", async || {
        tab.sent("GET", "/applications/77") > asked
    })
    .await;
    let stages = "seen.map(([, shown]) => JSON.parse(shown)[0]).filter((stage) => stage !== null)";
    let stages = tab.evaluate(stages).await;
    let stages: Vec<String> = serde_json::from_value(stages).expect("stages");
    let since = stages.iter().skip_while(|stage| *stage != "granted");
    assert!(
        since.clone().count() > 0 && since.clone().all(|stage| stage == "granted"),
        "{stages:?}"
    );
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_being_read_stays_on_the_page_while_others_apply_and_when_it_is_issued() {
    let (shop, system) = shop_with_codes(Size::ONE_OF_EACH).await;
    system.bridges[0].signal(Signal::SIGSTOP).expect("a signal");
    // While another round is to come, the page goes on asking about the campaign.
    let day = |days: i64| {
        let day = Timestamp::now() + SignedDuration::from_hours(24 * days);
        day.strftime("%F").to_string()
    };
    let (from, to) = (day(-1), day(2));
    #[rustfmt::skip]
    let daily = [
        "--codes", "signed", "--from", &from, "--to", &to, "--daily", "00:00", "--for", "24h", "--timezone", "UTC",
    ];
    create(&system, "gift", "10", &daily).await;
    let tab = Tab::start("en").await;
    tab.prepare(READ).await;
    let hands = json!([{"user_id": "ben"}]);
    tab.open(&framed(&shop, &system, "gift", &hands)).await;
    tab.look_at(system.url());
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;
    let code = get(&system, "gift/applications/ben").await["code"].clone();
    let is_shown = format!("document.body.innerText.includes({code})");
    tab.click("Show", 1).await;
    tab.until(&is_shown).await;
    let marked = "document.getElementById('code').isMarked = true";
    assert_eq!(tab.evaluate(marked).await, true);
    apply(&system, "gift", "ann").await;
    // With the second of these answers, the page has drawn what follows from the first: not this element.
    tab.until("window.saidTwo >= 2").await;
    let is_marked = "document.getElementById('code').isMarked === true";
    assert_eq!(tab.evaluate(is_marked).await, true);
    system.bridges[0].signal(Signal::SIGCONT).expect("a signal");
    tab.until_stage("issued").await;
    assert_eq!(tab.evaluate(&is_shown).await, true);
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_goes_on_after_twenty_campaigns_and_shows_each_of_them_once() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    for number in 1..=21 {
        create(&system, &format!("sale-{number}"), "1", &[]).await;
    }
    let tab = Tab::start("en").await;
    tab.open(system.url()).await;
    tab.until_text("Show more").await;
    // Two clicks, the second of them before the page is drawn again.
    let twice = "(() => { const button = document.querySelector('main button'); button.click(); button.click(); })()";
    tab.evaluate(twice).await;
    let rows = "document.querySelectorAll('.rows li').length";
    tab.until(&format!("{rows} > 20")).await;
    assert_eq!(tab.evaluate(rows).await, 21);
    tab.is_content();
}
