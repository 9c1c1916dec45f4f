//! Tests the web page in a real browser whose cache has an old response. The page counts down by the clock of the
//! fresh response, opens and closes in time, and then stops polling.

use crate::browser::{Browser, Request, header};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, Response};
use rushgate_e2e::system::{Size, System};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// The age of the cached answer.
const STORED_FOR: SignedDuration = SignedDuration::from_secs(90);

/// From the start of the test.
const OPENS_IN: SignedDuration = SignedDuration::from_secs(30);
const CLOSES_IN: SignedDuration = SignedDuration::from_secs(45);

/// The delay of a busy machine, in ms.
const BUSY: i64 = 8_000;

/// Added to the page: loads it a second time, and reports with timestamps what it shows.
const WATCH: &str = r#"<script type="module">
const state = document.getElementById("state");
const seen = [];
const tell = () => fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
setTimeout(tell, 95000);
const note = () => {
  if (sessionStorage.getItem("loaded") === null) {
    sessionStorage.setItem("loaded", "once");
    location.reload();
  } else if (seen.at(-1)?.[1] !== state.textContent) {
    seen.push([Date.now(), state.textContent]);
    // Longer than its pauses have grown by then.
    if (state.textContent.includes("over")) setTimeout(tell, 20000);
  }
};
new MutationObserver(note).observe(state, {childList: true});
</script></html>"#;

/// Events between the browser and the handler.
enum News {
    Arrived,
    /// When it asked for which path of the API, and the status of the answer.
    Asked(i64, String, u16),
    /// What the page showed, and when.
    Seen(Value),
}

/// A proxy between the browser and a handler. It forwards everything; the first answer is made to look old.
#[derive(Clone)]
struct Front {
    client: Client,
    handler: String,
    news: mpsc::UnboundedSender<News>,
    is_primed: Arc<AtomicBool>,
    /// The page is held back until there is a campaign.
    open: watch::Receiver<bool>,
}

impl Front {
    async fn serve(self, listener: TcpListener) {
        loop {
            let (connection, _) = listener.accept().await.expect("a connection");
            tokio::spawn(self.clone().answer(connection));
        }
    }

    async fn answer(mut self, mut connection: TcpStream) {
        let Some(request) = Request::read(&mut connection).await else {
            return;
        };
        let answer = self.answer_to(request).await;
        // The browser may be gone.
        let _ = connection.write_all(&answer).await;
    }

    async fn answer_to(&mut self, Request { head, body }: Request) -> Vec<u8> {
        let at = Timestamp::now().as_millisecond();
        let mut words = head.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next());
        let path = path.expect("a path");
        if path == "/seen" {
            let seen = serde_json::from_slice(&body).expect("JSON");
            let _ = self.news.send(News::Seen(seen));
            return b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec();
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.handler));
        for name in ["if-none-match", "cache-control", "content-type"] {
            if let Some(value) = header(&head, name) {
                request = request.header(name, value);
            }
        }
        let is_page = path.starts_with("/?");
        if is_page {
            let _ = self.news.send(News::Arrived);
            self.open.wait_for(|open| *open).await.expect("it opens");
        }
        let answer = request.body(body).send().await.expect("an answer");
        if is_page {
            let page = answer.text().await.expect("a page");
            let page = page.replace("</html>", WATCH);
            return written(
                200,
                "content-type: text/html\r\ncache-control: no-store\r\n",
                &page,
            );
        }
        if path.starts_with("/v1/") {
            let status = answer.status().as_u16();
            let _ = self.news.send(News::Asked(at, path.to_owned(), status));
        }
        let is_stored = path.starts_with("/v1/") && !self.is_primed.swap(true, Ordering::Relaxed);
        handed_on(answer, is_stored).await
    }
}

/// The same answer; an old version of it, if the browser caches it.
async fn handed_on(answer: Response, is_stored: bool) -> Vec<u8> {
    let status = answer.status().as_u16();
    let then = Timestamp::now() - STORED_FOR;
    let mut headers = String::new();
    for (name, value) in answer.headers() {
        let value = match name.as_str() {
            "content-length" | "transfer-encoding" | "connection" => continue,
            "date" if is_stored => continue,
            "rushgate-time" if is_stored => then.as_millisecond().to_string(),
            _ => value.to_str().expect("ASCII").to_owned(),
        };
        headers.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut body = answer.text().await.expect("a body");
    if is_stored {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&then);
        headers.push_str(&format!("date: {}\r\n", date.expect("a date")));
        let mut counts: Value = serde_json::from_str(&body).expect("JSON");
        counts["server_time"] = format!("{then:.3}").into();
        body = counts.to_string();
    }
    written(status, &headers, &body)
}

fn written(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = match status {
        304 => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    format!("HTTP/1.1 {status} -\r\n{headers}{length}connection: close\r\n\r\n{body}").into_bytes()
}

/// The remaining seconds that the page shows.
fn left(text: &str) -> Option<i64> {
    let time = text.strip_prefix("Opens in ")?.strip_suffix('.')?;
    let parts = time.split(':').map(|part| part.parse::<i64>().expect(text));
    Some(parts.fold(0, |sum, part| sum * 60 + part))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_an_old_answer_counts_down_opens_and_closes_in_time_and_then_asks_no_more() {
    let system = System::start(Size::ONLY_A_HANDLER).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let (news, mut told) = mpsc::unbounded_channel();
    let (open, opened) = watch::channel(false);
    let front = Front {
        client: Client::new(),
        handler: system.url().to_owned(),
        news,
        is_primed: Arc::default(),
        open: opened,
    };
    let serving = tokio::spawn(front.serve(listener));
    let _browser = Browser::open(&format!("{origin}/?campaign=flash"));

    let (mut asked, mut opens_at, mut closes_at) = (vec![], 0, 0);
    let seen = loop {
        let news = tokio::time::timeout(Duration::from_secs(120), told.recv());
        match news.await.expect("the page tells").expect("news") {
            News::Asked(at, path, status) => asked.push((at, path, status)),
            News::Seen(seen) => break seen,
            News::Arrived if *open.borrow() => {}
            News::Arrived => {
                let (opens, closes) = (Timestamp::now() + OPENS_IN, Timestamp::now() + CLOSES_IN);
                (opens_at, closes_at) = (opens.as_millisecond(), closes.as_millisecond());
                let (opens, closes) = (format!("{opens:.3}"), format!("{closes:.3}"));
                #[rustfmt::skip]
                let arguments = [
                    "campaign", "create", "--id", "flash", "--quota", "5", "--opens-at", &opens, "--closes-at", &closes,
                ];
                system.operator.run(&arguments).await.expect("created");
                open.send(true).expect("a task waits");
            }
        }
    };
    serving.abort();

    let seen: Vec<(i64, String)> = serde_json::from_value(seen).expect("times and texts");
    let story = format!("opened {opens_at}, closed {closes_at}: {seen:?}, {asked:?}");
    assert!(
        asked.iter().any(|(_, _, status)| *status == 304),
        "nothing was stored: {story}"
    );
    let countdown: Vec<_> = seen
        .iter()
        .filter_map(|(at, text)| Some((opens_at - at, left(text)? * 1_000)))
        .collect();
    assert!(!countdown.is_empty(), "{story}");
    for (is_left, shown) in countdown {
        let late = shown - is_left;
        assert!(
            (-500..1_000 + BUSY).contains(&late),
            "{late} ms late: {story}"
        );
    }
    let said = |text: &str| {
        let said = seen.iter().find(|(_, said)| said.contains(text));
        said.unwrap_or_else(|| panic!("never {text:?}: {story}")).0
    };
    let late = said("5 of 5 coupons left.") - opens_at;
    assert!(
        (0..1_500 + BUSY).contains(&late),
        "opened {late} ms late: {story}"
    );
    let over = said("This campaign has ended.");
    let late = over - closes_at;
    assert!(
        (-500..500 + BUSY).contains(&late),
        "closed {late} ms late: {story}"
    );
    // Requests that were in flight then may still arrive.
    let after = asked.iter().filter(|(at, _, _)| *at > over + 2_000);
    assert_eq!(after.count(), 0, "it goes on asking: {story}");
}
