//! Tests the web page in a real browser: what applicants see, press and read, in every stage, while answers are lost, the
//! service is busy, Redis is away, and clocks are wrong.

mod late;

use crate::auth::{key_set, token};
use crate::front::{Answer, Front};
use crate::tab::{Fault, Tab};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// The age of the cached answer.
const STORED_FOR: SignedDuration = SignedDuration::from_secs(90);

/// From the start of the page.
const OPENS_IN: SignedDuration = SignedDuration::from_secs(20);
const CLOSES_IN: SignedDuration = SignedDuration::from_secs(32);

/// The delay of a busy machine, in ms.
const BUSY: i64 = 8_000;

/// Notes what the page shows, and when, by a clock that stays right; and lets the clock that the page reads jump.
const WATCH: &str = r#"
const right = Date.now.bind(Date);
let shift = 0;
Date.now = () => right() + shift;
window.jump = (ms) => { shift += ms; };
window.seen = [];
// Timers that will do something, and questions that are not answered, or were only just.
window.timers = new Set();
window.asking = 0;
const [setTimer, clearTimer, ask] = [setTimeout, clearTimeout, fetch];
window.setTimeout = (work, wait) => {
  const timer = setTimer(() => { timers.delete(timer); work(); }, wait);
  timers.add(timer);
  return timer;
};
window.clearTimeout = (timer) => { timers.delete(timer); clearTimer(timer); };
window.fetch = (...request) => {
  asking += 1;
  return ask(...request).finally(() => setTimer(() => { asking -= 1; }, 200));
};
document.addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const stage = document.querySelector("[data-stage]")?.dataset.stage;
  const cells = [...document.querySelectorAll(".cell:not([hidden]) b")].map((cell) => Number(cell.textContent));
  const shown = JSON.stringify([stage, cells]);
  if (window.seen.at(-1)?.[1] !== shown) window.seen.push([right(), shown]);
}).observe(document.body, {childList: true, subtree: true, characterData: true}));
"#;

/// A stage, and the digits of the countdown.
type Shown = (Option<String>, Vec<i64>);

/// A page of a shop, on which the customer is signed in: `?frame=` is the address of the page, `&hand=` what it hands over.
const SHOP: &str = r#"<!doctype html><title>Shop</title><style>body{margin:0}iframe{border:0;width:100vw;height:100vh}</style>
<iframe title="Coupons"></iframe><script>
const asked = new URLSearchParams(location.search);
const frame = document.querySelector("iframe");
const page = new URL(asked.get("frame"));
const hands = JSON.parse(asked.get("hand"));
window.heard = [];
addEventListener("message", ({ origin, source, data }) => {
  if (origin !== page.origin || source !== frame.contentWindow) return;
  heard.push(data);
  source.postMessage({ type: "rushgate:applicant", ...(hands.length > 1 ? hands.shift() : hands[0]) }, page.origin);
});
frame.src = page;
</script>"#;

/// The address of the shop's page around the page of a campaign.
fn framed(shop: &Front, system: &System, campaign: &str, hands: &Value) -> String {
    let page = format!("{}/?campaign={campaign}", system.url());
    let query = [("frame", page), ("hand", hands.to_string())];
    let url = url::Url::parse_with_params(&shop.origin, query);
    url.expect("a URL").to_string()
}

/// A shop that may frame the page and says who applies, and a system whose answers have codes.
async fn shop_with_codes(size: Size) -> (Front, System) {
    const KEY: &str = "the key of the codes of a page: 32 or more";
    let shop = Front::of_page(SHOP).await;
    let settings = [
        ("COUPON_CODE_KEYS", KEY),
        ("SPIN_VARIABLE_COUPON_CODE_KEYS", KEY),
        ("SPIN_VARIABLE_IDENTITIES", "upstream"),
        ("SPIN_VARIABLE_FRAME_ANCESTORS", &shop.origin),
    ];
    let system = System::start_with(size, &settings).await;
    (shop, system)
}

/// GET of the campaign, or of something below it.
async fn get(system: &System, path: &str) -> Value {
    let url = format!("{}/v1/campaigns/{path}", system.url());
    let response = Client::new().get(url).send().await.expect("an answer");
    response.json().await.expect("JSON")
}

/// Waits until the campaign `welcome` has this many grants: an instance remembers its counts for a moment.
async fn has_granted(system: &System, grants: u32) {
    until(&format!("{grants} granted"), async || {
        get(system, "welcome").await["round"]["granted"] == grants
    })
    .await;
}

/// Another applicant applies.
async fn apply(system: &System, campaign: &str, user_id: &str) {
    let url = format!(
        "{}/v1/campaigns/{campaign}/applications/{user_id}",
        system.url()
    );
    let response = Client::new().put(url).send().await.expect("an answer");
    assert!(response.status().is_success(), "{response:?}");
}

async fn create(system: &System, id: &str, quota: &str, more: &[&str]) {
    let create = ["campaign", "create", "--id", id, "--quota", quota];
    system
        .operator
        .run(&[&create[..], more].concat())
        .await
        .expect("created");
}

/// The first answer about a campaign, made to look old, as if a cache had stored it. The cache would keep it for longer than
/// the handler allows.
fn age(answer: &mut Answer) {
    let then = Timestamp::now() - STORED_FOR;
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&then);
    answer
        .headers
        .retain(|(name, _)| !["cache-control", "date", "rushgate-time"].contains(&name.as_str()));
    let kept = ("cache-control", "public, max-age=600");
    answer.headers.push((kept.0.to_owned(), kept.1.to_owned()));
    answer
        .headers
        .push(("date".to_owned(), date.expect("a date")));
    answer.headers.push((
        "rushgate-time".to_owned(),
        then.as_millisecond().to_string(),
    ));
    let mut body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    body["server_time"] = format!("{then:.3}").into();
    answer.body = body.to_string().into_bytes();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_an_old_answer_counts_down_opens_and_closes_in_time_and_then_asks_no_more() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let is_primed = AtomicBool::new(false);
    let front = Front::start(system.url(), "", &[], move |answer| {
        if answer.path.starts_with("/v1/") && !is_primed.swap(true, Ordering::Relaxed) {
            age(answer);
        }
    })
    .await;
    let tab = Tab::start("en").await;
    tab.prepare(WATCH).await;
    let (opens, closes) = (Timestamp::now() + OPENS_IN, Timestamp::now() + CLOSES_IN);
    let (opens_at, closes_at) = (opens.as_millisecond(), closes.as_millisecond());
    let (opens, closes) = (format!("{opens:.3}"), format!("{closes:.3}"));
    create(
        &system,
        "flash",
        "5",
        &["--opens-at", &opens, "--closes-at", &closes],
    )
    .await;
    tab.open(&format!("{}/?campaign=flash", front.origin)).await;
    tab.until_stage("upcoming").await;
    // With the old answer in the browser's cache.
    tab.reload().await;
    tab.until_stage("upcoming").await;
    // The clock of the computer is set: the page asks at once, and goes on counting down by the clock of Redis.
    let asked = tab.sent("GET", "/v1/campaigns/flash");
    assert_eq!(tab.evaluate("jump(3600000)").await, Value::Null);
    until("it asks again", async || {
        tab.sent("GET", "/v1/campaigns/flash") > asked
    })
    .await;
    tab.until_stage("over").await;

    let seen = tab.evaluate("seen").await;
    let seen: Vec<(i64, String)> = serde_json::from_value(seen).expect("times and texts");
    let seen: Vec<(i64, Shown)> = seen
        .into_iter()
        .map(|(at, shown)| {
            (
                at,
                serde_json::from_str(&shown).expect("a stage and numbers"),
            )
        })
        .collect();
    let story = format!("opened {opens_at}, closed {closes_at}: {seen:?}");
    let counted = seen.iter().filter(|(_, (_, cells))| !cells.is_empty());
    let mut shown = 0;
    for (at, (_, cells)) in counted {
        let left = cells.iter().fold(0, |sum, part| sum * 60 + part) * 1_000;
        let late = left - (opens_at - at);
        assert!(
            (-500..1_000 + BUSY).contains(&late),
            "{late} ms late: {story}"
        );
        shown += 1;
    }
    assert!(shown > 3, "{story}");
    let first = |stage: &str| {
        let found = seen
            .iter()
            .find(|(_, (shown, _))| shown.as_deref() == Some(stage));
        found.unwrap_or_else(|| panic!("never {stage}: {story}")).0
    };
    let late = first("open") - opens_at;
    assert!(
        (-500..1_500 + BUSY).contains(&late),
        "opened {late} ms late: {story}"
    );
    let late = first("over") - closes_at;
    assert!(
        (-500..1_500 + BUSY).contains(&late),
        "closed {late} ms late: {story}"
    );
    // It may ask once more, and then waits for nothing.
    tab.until("timers.size === 0 && asking === 0").await;
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_wins_one_coupon_that_is_issued_by_itself_and_outlasts_a_reload() {
    let system = System::start(Size::ONE_OF_EACH).await;
    create(&system, "welcome", "10", &[]).await;
    let tab = Tab::start("en").await;
    tab.open(system.url()).await;
    tab.until_text("10 of 10 left").await;
    tab.screenshot("list").await;
    tab.evaluate("document.querySelector('a[data-stage]').click()")
        .await;
    tab.until_stage("open").await;
    tab.until_text("This is a demonstration.").await;
    tab.screenshot("open").await;
    tab.click("Get a coupon", 2).await;
    tab.until_stage("issued").await;
    tab.until_text("Coupon no.\n1").await;
    assert_eq!(tab.sent("PUT", "/welcome/"), 1);
    tab.screenshot("issued").await;
    let user_id = tab.evaluate("localStorage['rushgate.visitor']").await;
    let user_id = user_id.as_str().expect("an id").to_owned();
    assert!(user_id.parse::<i64>().is_ok(), "{user_id}");
    tab.reload().await;
    tab.until_stage("issued").await;
    tab.until_text("Coupon no.\n1").await;
    assert_eq!(
        get(&system, &format!("welcome/applications/{user_id}")).await["serial"],
        1
    );
    has_granted(&system, 1).await;
    tab.is_content();
}

/// Remembers each state that the page says, also one that a busy machine shows for a moment only.
const SAID: &str = r#"
window.said = [];
document.addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const line = document.getElementById("status")?.textContent;
  if (line && said.at(-1) !== line) said.push(line);
}).observe(document.body, { childList: true, subtree: true, characterData: true }));"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_a_busy_service_are_waited_out_also_over_a_reload() {
    let system = System::welcome().await;
    create(&system, "other", "10", &[]).await;
    let tab = Tab::start("en").await;
    tab.prepare(SAID).await;
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.until_stage("open").await;
    tab.next("PUT", "/welcome/", Fault::Lost).await;
    tab.next("PUT", "/welcome/", Fault::Busy(503, "2")).await;
    // Two clicks, the second of them before the page is drawn again.
    let twice = "(() => { const button = document.querySelector('.button--main'); button.click(); button.click(); })()";
    tab.evaluate(twice).await;
    let said = |words| format!("said.some(line => line.includes('{words}'))");
    tab.until(&said("No answer yet. Sending again in")).await;
    tab.screenshot("lost").await;
    tab.until(&said("Many people are here. Sending again in"))
        .await;
    tab.until_stage("granted").await;
    assert_eq!(tab.sent("PUT", "/welcome/"), 3);
    has_granted(&system, 1).await;

    tab.open(&format!("{}/?campaign=other", system.url())).await;
    tab.until_stage("open").await;
    tab.next("PUT", "/other/", Fault::Busy(503, "600")).await;
    tab.click("Get a coupon", 1).await;
    tab.until_text("Many people are here. Sending again in")
        .await;
    tab.reload().await;
    tab.until_stage("granted").await;
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_moves_up_without_a_reload_and_the_code_is_shown_on_request_and_given_back() {
    let (shop, system) = shop_with_codes(Size::ONE_OF_EACH).await;
    create(
        &system,
        "gift",
        "1",
        &["--waitlist", "5", "--self-cancel", "--codes", "signed"],
    )
    .await;
    apply(&system, "gift", "ann").await;

    let tab = Tab::start("en").await;
    tab.open(&framed(
        &shop,
        &system,
        "gift",
        &json!([{"user_id": "ben"}]),
    ))
    .await;
    tab.look_at(system.url());
    tab.until_stage("soldOut").await;
    tab.click("Join the waitlist", 1).await;
    tab.until_text("Your place in line\n1").await;
    tab.screenshot("waitlisted").await;
    tab.click("Leave the waitlist", 1).await;
    tab.click("Stay in line", 1).await;
    tab.until("!document.querySelector('dialog').open").await;
    assert_eq!(
        get(&system, "gift/applications/ben").await["decision"],
        "waitlisted"
    );
    // The question is answered, and asked again at the same moment.
    tab.click("Leave the waitlist", 1).await;
    let again = "for (const label of ['Stay in line', 'Leave the waitlist']) \
        [...document.querySelectorAll('button')].find((button) => button.textContent === label).click()";
    tab.evaluate(again).await;
    tab.click("Leave", 1).await;
    tab.until_stage("soldOut").await;
    assert_eq!(
        get(&system, "gift/applications/ben").await["code"],
        "application_not_found"
    );
    // The negative cache may refuse the applicant for up to 0.9 s.
    tab.until("(document.querySelector('.button--main')?.click(), document.querySelector('[data-stage=waitlisted]') !== null)")
        .await;

    // The applicant is promoted while the dialog asks about the waitlist: the answer does not give the coupon back.
    tab.click("Leave the waitlist", 1).await;
    system
        .operator
        .run(&["revoke", "gift", "ann"])
        .await
        .expect("revoked");
    tab.until_stage("issued").await;
    tab.click("Leave", 1).await;
    tab.until("!document.querySelector('dialog').open").await;
    let code = get(&system, "gift/applications/ben").await["code"].clone();
    let is_shown = format!("document.body.innerText.includes({code})");
    assert_eq!(tab.evaluate(&is_shown).await, false);
    tab.click("Show", 1).await;
    tab.until(&is_shown).await;
    tab.screenshot("code").await;
    tab.click("Hide", 1).await;
    tab.until(&format!("!{is_shown}")).await;
    tab.click("Give back", 1).await;
    tab.click("Give it back", 1).await;
    tab.until_stage("revoked").await;
    assert_eq!(
        get(&system, "gift/applications/ben").await["decision"],
        "revoked"
    );
    // One for the waitlist, and one for the coupon.
    assert_eq!(tab.sent("DELETE", "/applications/ben"), 2);
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_redis_is_away_says_so_and_goes_on_by_itself() {
    let mut system = System::welcome().await;
    let tab = Tab::start("en").await;
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.until_stage("open").await;
    system.crash_redis();
    tab.until_text("The server does not answer at the moment.")
        .await;
    tab.click("Get a coupon", 1).await;
    tab.until_text("No answer yet. Sending again in").await;
    tab.reload().await;
    tab.until_stage("unanswered").await;
    system.start_redis();
    tab.until_stage("granted").await;
    has_granted(&system, 1).await;
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_korean_browser_shows_korean_and_a_keyboard_is_enough() {
    let system = System::welcome().await;
    let tab = Tab::start("ko").await;
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.until("document.documentElement.lang === 'ko'").await;
    tab.until_stage("open").await;
    tab.until_text("선착순").await;
    tab.screenshot("korean").await;
    until("the button has the focus", async || {
        tab.press("Tab").await;
        tab.evaluate("document.activeElement.textContent === '쿠폰 받기'")
            .await
            == true
    })
    .await;
    tab.press("Enter").await;
    tab.until_stage("granted").await;
    // The button is gone. The focus is on the heading, and a screen reader is told.
    tab.until("document.activeElement.tagName === 'H1'").await;
    tab.until("document.getElementById('announcer').textContent.includes('1번 쿠폰을 받았습니다')")
        .await;
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_works_under_a_path_and_on_another_origin() {
    let settings = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", "*")];
    let system = System::start_with(Size::ONLY_A_HANDLER, &settings).await;
    create(&system, "welcome", "10", &[]).await;
    let tab = Tab::start("en").await;
    let under_a_path = Front::start(system.url(), "/coupons", &[], |_| {}).await;
    tab.open(&format!("{}/coupons/", under_a_path.origin)).await;
    tab.until_text("10 of 10 left").await;
    tab.evaluate("document.querySelector('a[data-stage]').click()")
        .await;
    tab.until_stage("open").await;
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;

    // As a CDN has it: the two places in index.html name the API.
    let api = system.url().to_owned();
    let cdn = Front::start(system.url(), "", &[], move |answer| {
        if answer.path.starts_with("/v1/") {
            answer.status = 500;
        }
        answer
            .headers
            .retain(|(name, _)| name != "content-security-policy");
        if answer.path.starts_with("/?") {
            let page = String::from_utf8_lossy(&answer.body)
                .replace("connect-src 'self'", &format!("connect-src 'self' {api}"))
                .replace(
                    "rushgate-api\" content=\"",
                    &format!("rushgate-api\" content=\"{api}/"),
                );
            answer.body = page.into_bytes();
        }
    })
    .await;
    tab.open(&format!("{}/?campaign=welcome", cdn.origin)).await;
    tab.until_stage("open").await;
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;
    has_granted(&system, 2).await;
    tab.is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_hands_over_a_token_and_another_one_when_it_is_refused() {
    let (shop, other) = (Front::of_page(SHOP).await, Front::of_page(SHOP).await);
    let keys = key_set();
    let settings = [
        ("SPIN_VARIABLE_AUTH_MODE", "jwt"),
        ("SPIN_VARIABLE_JWT_KEYS", keys.as_str()),
        ("SPIN_VARIABLE_JWT_AUDIENCE", "rushgate"),
        ("SPIN_VARIABLE_FRAME_ANCESTORS", &shop.origin),
    ];
    let system = System::start_with(Size::ONLY_A_HANDLER, &settings).await;
    create(&system, "welcome", "10", &[]).await;
    let tab = Tab::start("en").await;
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.until_text("Please sign in at the shop").await;

    let hands = json!([{"token": token("alice", -600)}, {"token": token("alice", 600)}]);
    tab.open(&framed(&shop, &system, "welcome", &hands)).await;
    tab.until(
        "heard.some(({ type, code }) => type === 'rushgate:refused' && code === 'token_expired')",
    )
    .await;
    tab.look_at(system.url());
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;
    tab.is_content();

    // Another origin than the shop's cannot show the page.
    tab.open(&framed(&other, &system, "welcome", &hands)).await;
    tab.complains("frame-ancestors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_accessible_in_light_and_dark() {
    const AXE: &str = include_str!("../axe/axe.min.js");
    /// Of the whole page, with a sentence for each violation.
    const RUN: &str = "axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => \
        nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`)))";
    let system = System::welcome().await;
    let (soon, past) = ("2126-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    create(&system, "upcoming", "10", &["--opens-at", soon]).await;
    create(
        &system,
        "over",
        "10",
        &["--opens-at", past, "--closes-at", "2026-01-02T00:00:00Z"],
    )
    .await;
    create(&system, "paused", "10", &[]).await;
    system
        .operator
        .run(&["campaign", "pause", "paused"])
        .await
        .expect("paused");
    create(
        &system,
        "sold-out",
        "1",
        &["--waitlist", "5", "--show-remaining", "rough"],
    )
    .await;
    create(&system, "hidden", "1", &["--show-remaining", "hidden"]).await;
    apply(&system, "sold-out", "ann").await;
    let tab = Tab::start("en").await;
    for scheme in ["light", "dark"] {
        tab.colours(scheme).await;
        for (query, stage) in [
            ("", "soldOut"),
            ("?campaign=upcoming", "upcoming"),
            ("?campaign=welcome", "open"),
            ("?campaign=hidden", "open"),
            ("?campaign=sold-out", "soldOut"),
            ("?campaign=over", "over"),
            ("?campaign=paused", "paused"),
            ("?campaign=nothing", "unknown"),
        ] {
            tab.open(&format!("{}/{query}", system.url())).await;
            tab.until(&format!(
                "document.querySelector('[data-stage={stage}]') !== null"
            ))
            .await;
            is_accessible(&tab, AXE, RUN, &format!("{stage} {scheme}")).await;
        }
    }
    tab.open(&format!("{}/?campaign=welcome", system.url()))
        .await;
    tab.click("Get a coupon", 1).await;
    tab.until_stage("granted").await;
    for scheme in ["light", "dark"] {
        tab.colours(scheme).await;
        is_accessible(&tab, AXE, RUN, &format!("granted {scheme}")).await;
    }
    tab.size(320, 568).await;
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    tab.until(fits).await;
    tab.is_content();
}

async fn is_accessible(tab: &Tab, axe: &str, run: &str, what: &str) {
    tab.evaluate(axe).await;
    assert_eq!(tab.evaluate(run).await, json!([]), "{what}");
}
