//! Tests CORS with a real browser: a page of another origin may apply only if the handler allows that origin.

use crate::front::Front;
use crate::tab::Tab;
use rushgate_e2e::system::{Size, System};
use serde_json::{Value, json};

/// Applies twice, each with a preflight, reads the status, is refused; then shows what it saw.
const PAGE: &str = r#"<!doctype html><script type="module">
const API = new URLSearchParams(location.search).get("api");
const headers = {"content-type": "application/json"};
const seen = [];
const attempt = async (what, path, init) => {
  try {
    const answer = await fetch(API + path, init);
    seen.push([what, answer.status, (await answer.json().catch(() => ({}))).decision ?? null,
      answer.headers.get("rushgate-serial"), answer.headers.get("location"), answer.headers.get("retry-after")]);
  } catch { seen.push([what, "blocked"]); }
};
const apply = (user_id) => ({method: "POST", headers, body: JSON.stringify({user_id})});
await attempt("apply", "/v1/campaigns/open/applications", apply("7"));
await attempt("again", "/v1/campaigns/open/applications", {...apply("7"), headers: {...headers, prefer: "return=minimal"}});
await attempt("ask", "/v1/campaigns/open/applications/7");
await attempt("refused", "/v1/campaigns/later/applications", apply("7"));
await attempt("count", "/v1/campaigns/open", {headers: {"if-none-match": "W/\"0\""}});
const counts = await fetch(API + "/v1/campaigns/open").catch(() => null);
seen.push(["time", counts && counts.headers.get("rushgate-time"), counts && counts.headers.get("age")]);
window.seen = JSON.stringify(seen);
</script>"#;

/// What the page saw, of a handler that allows these origins.
async fn seen_from(site: &Front, allowed: &str) -> (System, Value) {
    let settings = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", allowed)];
    let system = System::start_with(Size::ONLY_A_HANDLER, &settings).await;
    system.operator.create("open", 10).await.expect("created");
    let later = [
        "campaign",
        "create",
        "--id",
        "later",
        "--quota",
        "1",
        "--opens-at",
        "2126-01-01T00:00:00Z",
    ];
    system.operator.run(&later).await.expect("created");
    let tab = Tab::start("en").await;
    tab.open(&format!("{}/?api={}", site.origin, system.url()))
        .await;
    tab.until("window.seen !== undefined").await;
    let seen = tab.evaluate("window.seen").await;
    let seen = serde_json::from_str(seen.as_str().expect("a text")).expect("JSON");
    (system, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_applies_and_reads_the_answers() {
    let site = Front::of_page(PAGE).await;
    let (_system, seen) = seen_from(&site, &format!("https://shop.example,{}", site.origin)).await;
    let retry_after = seen[3][5].clone();
    assert!(
        retry_after
            .as_str()
            .is_some_and(|wait| wait.parse::<u64>().is_ok()),
        "{seen}"
    );
    // A 201 says when to ask; so does a status that may still change.
    let (apply, ask) = (seen[0][5].clone(), seen[2][5].clone());
    assert!(apply.is_string() && ask.is_string(), "{seen}");
    let time = seen[5][1].clone();
    assert!(time.as_str().is_some_and(|time| time.len() == 13), "{seen}");
    assert_eq!(
        seen,
        json!([
            [
                "apply",
                201,
                "granted",
                "1",
                "/v1/campaigns/open/applications/7",
                apply
            ],
            ["again", 200, null, "1", null, null],
            ["ask", 200, "granted", "1", null, ask],
            ["refused", 409, "not_open", null, null, retry_after],
            ["count", 200, null, null, null, null],
            ["time", time, "0"],
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_stopped_by_the_browser() {
    let site = Front::of_page(PAGE).await;
    let (system, seen) = seen_from(&site, "https://shop.example").await;
    let mut blocked: Vec<_> = ["apply", "again", "ask", "refused", "count"]
        .map(|what| json!([what, "blocked"]))
        .into();
    blocked.push(json!(["time", null, null]));
    assert_eq!(seen, json!(blocked));
    // The preflight was answered without permission, so the browser sent no application.
    let counts = reqwest::get(format!("{}/v1/campaigns/open", system.url()))
        .await
        .expect("an answer");
    let counts: Value = counts.json().await.expect("JSON");
    assert_eq!(counts["round"]["granted"], 0);
}
