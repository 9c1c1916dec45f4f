//! Tests CORS with a real browser: a page of another origin may apply only if the handler allows that origin.

use rushgate_e2e::system::{Size, System};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Applies twice, each with a preflight, reads the status, is refused; then posts what it saw to its own server.
const PAGE: &str = r#"<!doctype html><script type="module">
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
await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
</script>"#;

/// A request of a browser.
pub(crate) struct Request {
    /// Request line and headers.
    pub(crate) head: String,
    /// The body, by Content-Length.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads one request; `None` on a connection that is not used.
    pub(crate) async fn read(connection: &mut TcpStream) -> Option<Self> {
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if connection.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        let mut body = read.split_off(end + 4);
        let head = String::from_utf8_lossy(&read).into_owned();
        let length = header(&head, "content-length");
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while body.len() < length {
            if connection.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some(Self { head, body })
    }
}

/// The value of a header.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let header = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
    header.map(|(_, value)| value)
}

/// The page's own server: its address is the origin.
struct Site {
    listener: TcpListener,
    origin: String,
}

impl Site {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self {
            listener,
            origin: format!("http://{address}"),
        }
    }

    /// Serves the page until it has posted what it saw.
    async fn until_told(&self, api: &str) -> Value {
        let page = PAGE.replace("API +", &format!("\"{api}\" +"));
        loop {
            let (mut connection, _) = self.listener.accept().await.expect("a connection");
            let request = Request::read(&mut connection).await;
            if let Some(Request { head, body }) = request
                && head.starts_with("POST /seen")
            {
                return serde_json::from_slice(&body).expect("JSON");
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            );
            // Browsers open connections that they then do not use.
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    }
}

/// A browser that ends with this value.
pub(crate) struct Browser(
    Child,
    #[expect(dead_code, reason = "removed with the browser")] tempfile::TempDir,
);

impl Browser {
    pub(crate) fn open(url: &str) -> Self {
        let program = std::env::var_os("RUSHGATE_BROWSER")
            .expect("RUSHGATE_BROWSER is not set: run `cargo xtask test`");
        let profile = tempfile::tempdir().expect("a temporary directory");
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        Self(child, profile)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn seen_from(site: &Site, allowed: &str) -> (System, Value) {
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
    let _browser = Browser::open(&site.origin);
    let told = site.until_told(system.url());
    let limit = std::time::Duration::from_secs(60);
    let seen = tokio::time::timeout(limit, told)
        .await
        .expect("the page tells what it saw");
    (system, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_applies_and_reads_the_answers() {
    let site = Site::open().await;
    let (_system, seen) = seen_from(&site, &format!("https://shop.example,{}", site.origin)).await;
    let retry_after = seen[3][5].clone();
    assert!(
        retry_after
            .as_str()
            .is_some_and(|wait| wait.parse::<u64>().is_ok()),
        "{seen}"
    );
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
                null
            ],
            ["again", 200, null, "1", null, null],
            ["ask", 200, "granted", "1", null, null],
            ["refused", 409, "not_open", null, null, retry_after],
            ["count", 200, null, null, null, null],
            ["time", time, "0"],
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_stopped_by_the_browser() {
    let site = Site::open().await;
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
