//! Tests the responses of the HTTP API with the compiled component, and that a valid request works after each error.

use crate::refusals::now;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

struct Response {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Response {
    async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        if ![204, 304].contains(&status.as_u16()) {
            assert!(
                headers.contains_key("content-length"),
                "{status} without a length: {text}"
            );
        }
        Self {
            status,
            headers,
            text,
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }
}

fn json_body(request: RequestBuilder, body: impl Into<reqwest::Body>) -> RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_created_once_and_found_again() {
    let system = System::welcome().await;
    let client = Client::new();
    let applications = format!("{}/v1/campaigns/welcome/applications", system.url());

    let first = Response::to(json_body(
        client.post(&applications),
        r#"{"user_id":"a@b:c"}"#,
    ))
    .await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("rushgate-decision"), Some("granted"));
    assert_eq!(first.header("rushgate-serial"), Some("1"));
    let mut body = first.json();
    let at = body["granted_at"].as_str().expect("a time").to_owned();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    assert_eq!(
        body,
        json!({"decision": "granted", "campaign": "welcome", "round": "once", "serial": 1, "user_id": "a@b:c", "granted_at": at})
    );

    let again = Response::to(json_body(
        client.post(&applications),
        r#"{"user_id":"a@b:c"}"#,
    ))
    .await;
    assert_eq!(again.status, 200);
    body["decision"] = json!("already_granted");
    assert_eq!(again.json(), body);

    body["decision"] = json!("granted");
    let location = first.header("location").expect("where it is");
    let found = Response::to(client.get(format!("{}{location}", system.url()))).await;
    assert_eq!((found.status, found.json()), (StatusCode::OK, body));

    let minimal = json_body(client.post(&applications), r#"{"user_id":2}"#)
        .header("prefer", "wait=5, Return=Minimal");
    let minimal = Response::to(minimal).await;
    assert_eq!(
        (minimal.status, minimal.text.as_str()),
        (StatusCode::CREATED, "")
    );
    assert_eq!(minimal.header("rushgate-serial"), Some("2"));
    assert_eq!(minimal.header("preference-applied"), Some("return=minimal"));

    let campaign = Response::to(client.get(format!("{}/v1/campaigns/welcome", system.url()))).await;
    let body = campaign.json();
    assert_eq!(body["state"], "running");
    assert_eq!(
        body["round"],
        json!({"round": "once", "opens_at": null, "closes_at": null, "quota": 10, "granted": 2, "issued": 0, "remaining": 8, "waitlisted": 0, "availability": "many"})
    );
    let list = Response::to(client.get(format!("{}/v1/campaigns", system.url())))
        .await
        .json();
    assert_eq!(list["campaigns"][0]["round"], body["round"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_told_what_is_wrong_and_the_next_good_one_works() {
    let system = System::welcome().await;
    let client = Client::new();
    let base = system.url();
    let post = |path: &str| client.post(format!("{base}{path}"));
    let good = "/v1/campaigns/welcome/applications";
    let of = |body: &'static str| json_body(post(good), body);
    let deep = format!(
        r#"{{"user_id":{}1{}}}"#,
        "[".repeat(2_000),
        "]".repeat(2_000)
    );
    let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
    let too_large = || vec![b' '; 1_000_000];
    let stream = || reqwest::Body::wrap(http_body());
    let cases: Vec<(RequestBuilder, u16, &str)> = vec![
        (post(good), 400, "empty_body"),
        (of(""), 400, "empty_body"),
        (of("{"), 400, "invalid_json"),
        (of("user_id=1"), 400, "invalid_json"),
        (json_body(post(good), vec![0xff, 0xfe]), 400, "invalid_json"),
        (of("[]"), 422, "not_an_object"),
        (of("null"), 422, "not_an_object"),
        (of("{}"), 422, "invalid_user_id"),
        (of(r#"{"user_id":null}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":""}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":-1}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":42.0}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":4.2e1}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":"."}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":".."}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":1.5}"#), 422, "invalid_user_id"),
        (
            of(r#"{"user_id":9223372036854775808}"#),
            422,
            "invalid_user_id",
        ),
        (of(r#"{"user_id":"a b"}"#), 422, "invalid_user_id"),
        (of(r#"{"user_id":"선착순"}"#), 422, "invalid_user_id"),
        (json_body(post(good), deep), 422, "invalid_user_id"),
        (json_body(post(good), long), 422, "invalid_user_id"),
        (json_body(post(good), too_large()), 413, "body_too_large"),
        (json_body(post(good), stream()), 413, "body_too_large"),
        (
            post(good).body(r#"{"user_id":1}"#),
            415,
            "unsupported_media_type",
        ),
        (
            post(good).header("content-type", "text/plain").body("1"),
            415,
            "unsupported_media_type",
        ),
        (
            client.get(format!("{base}{good}")),
            405,
            "method_not_allowed",
        ),
        (
            client.delete(format!("{base}/v1/campaigns/welcome")),
            405,
            "method_not_allowed",
        ),
        (
            client.request(
                Method::from_bytes(b"BREW").expect("a token"),
                format!("{base}{good}"),
            ),
            405,
            "method_not_allowed",
        ),
        (
            json_body(post("/v1/campaigns/nope/applications"), r#"{"user_id":1}"#),
            404,
            "campaign_not_found",
        ),
        (
            json_body(post("/v1/campaigns/%00/applications"), r#"{"user_id":1}"#),
            404,
            "campaign_not_found",
        ),
        (
            client.put(format!("{base}/v1/campaigns/nope/applications/1")),
            404,
            "campaign_not_found",
        ),
        (
            client.put(format!("{base}{good}/a%20b")),
            422,
            "invalid_user_id",
        ),
        (
            client.put(format!("{base}{good}/1")).body(too_large()),
            413,
            "body_too_large",
        ),
        (post(&format!("{good}/1")), 405, "method_not_allowed"),
        (
            client.get(format!("{base}/v1/campaigns/nope")),
            404,
            "campaign_not_found",
        ),
        (
            client.get(format!("{base}/v1/campaigns/nope/applications/1")),
            404,
            "campaign_not_found",
        ),
        (
            client.get(format!("{base}{good}/nobody")),
            404,
            "application_not_found",
        ),
        (
            client.get(format!("{base}{good}/a%20b")),
            404,
            "application_not_found",
        ),
        (
            client.get(format!("{base}{good}/nobody?round=once")),
            404,
            "application_not_found",
        ),
        (
            client.get(format!("{base}{good}/nobody?round=nope")),
            404,
            "round_not_found",
        ),
        (
            client.get(format!("{base}{good}/nobody?round=no%20such")),
            404,
            "round_not_found",
        ),
        (client.get(format!("{base}/v2")), 404, "no_such_resource"),
    ];
    for (serial, (request, status, code)) in (1..).zip(cases) {
        let answer = Response::to(request).await;
        assert_eq!(answer.status.as_u16(), status, "{code}: {}", answer.text);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let problem = answer.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["type"], format!("urn:rushgate:problem:{code}"));
        assert_eq!(problem["status"], status);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        assert_eq!(answer.header("allow").is_some(), status == 405);
        if code == "invalid_user_id" {
            assert_eq!(problem["field"], "user_id");
        }

        let campaign = format!("after-{serial}");
        system.operator.create(&campaign, 1).await.expect("created");
        let next = json_body(
            post(&format!("/v1/campaigns/{campaign}/applications")),
            r#"{"user_id":1}"#,
        );
        assert_eq!(Response::to(next).await.status, 201, "after {code}");
    }
}

/// More bytes than allowed, in chunks, so without a Content-Length.
fn http_body() -> http_body_util::StreamBody<
    impl futures::Stream<Item = Result<http_body::Frame<bytes::Bytes>, std::io::Error>>,
> {
    let chunk = || {
        Ok(http_body::Frame::data(bytes::Bytes::from_static(
            &[b' '; 1024],
        )))
    };
    http_body_util::StreamBody::new(futures::stream::iter((0..100).map(move |_| chunk())))
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_when_to_come_again() {
    let system = System::welcome().await;
    let client = Client::new();
    let apply = |campaign: &str, user_id: &str| {
        let url = format!("{}/v1/campaigns/{campaign}/applications", system.url());
        json_body(client.post(url), format!(r#"{{"user_id":"{user_id}"}}"#))
    };
    let create = async |id: &str, window: &[&str]| {
        let arguments = [&["campaign", "create", "--id", id, "--quota", "1"], window].concat();
        system.operator.run(&arguments).await.expect("created");
    };

    create("full", &[]).await;
    assert_eq!(Response::to(apply("full", "a")).await.status, 201);
    let sold_out = Response::to(apply("full", "b")).await;
    assert_eq!(sold_out.status, 410);
    assert_eq!(sold_out.header("rushgate-decision"), Some("sold_out"));
    let body = sold_out.json();
    assert_eq!(
        (&body["code"], &body["decision"], &body["round"]),
        (&json!("sold_out"), &json!("sold_out"), &json!("once"))
    );

    create("later", &["--opens-at", "2100-01-01T00:00:00Z"]).await;
    let not_open = Response::to(apply("later", "a")).await;
    assert_eq!(not_open.status, 409);
    assert_eq!(not_open.json()["code"], "not_open");
    let wait: u64 = not_open
        .header("retry-after")
        .and_then(|seconds| seconds.parse().ok())
        .expect("seconds");
    assert!(wait > 365 * 86_400, "{wait}");
    let next = Response::to(client.get(format!("{}/v1/campaigns/later", system.url())))
        .await
        .json();
    assert_eq!(
        next["next_round"],
        json!({"round": "once", "opens_at": "2100-01-01T00:00:00.000Z"})
    );

    create("over", &["--closes-at", "2020-01-01T00:00:00Z"]).await;
    let closed = Response::to(apply("over", "a")).await;
    assert_eq!(
        (closed.status.as_u16(), &closed.json()["code"]),
        (410, &json!("closed"))
    );

    // States that an operator sets by command.
    let mut redis = system.redis_connection().await.expect("Redis");
    for state in ["paused", "halted"] {
        redis::cmd("HSET")
            .arg(&["rushgate:{welcome}:campaign", "state", state])
            .exec_async(&mut redis)
            .await
            .expect("HSET");
        // Requests that were refused together do not come back together.
        let mut waits = BTreeSet::new();
        for _ in 0..12 {
            let answer = Response::to(apply("welcome", "a")).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["code"]),
                (503, &json!(state)),
                "{state}"
            );
            waits.insert(answer.header("retry-after").expect("a wait").to_owned());
        }
        assert!(waits.len() > 1, "{state}: all of them after {waits:?} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_apply() {
    let list = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", "https://shop.example")];
    let system = System::start_with(Size::ONLY_A_HANDLER, &list).await;
    let client = Client::new();
    let url = format!("{}/v1/campaigns/welcome/applications", system.url());
    let preflight = |origin: &str| {
        client
            .request(Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let of_the_same_origin = Response::to(preflight("https://shop.example:443")).await;
    assert_eq!(
        of_the_same_origin.header("access-control-allow-origin"),
        Some("https://shop.example:443")
    );
    let allowed = Response::to(preflight("https://shop.example")).await;
    assert_eq!(allowed.status, 204);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
    assert!(
        allowed
            .header("access-control-allow-methods")
            .is_some_and(|methods| methods.contains("POST"))
    );
    let headers = allowed
        .header("access-control-allow-headers")
        .expect("some");
    for header in [
        "content-type",
        "traceparent",
        "tracestate",
        "baggage",
        "sentry-trace",
    ] {
        assert!(
            headers.split(", ").any(|name| name == header),
            "{header}: {headers}"
        );
    }
    let refused = Response::to(preflight("https://evil.example")).await;
    assert_eq!(
        (
            refused.status.as_u16(),
            refused.header("access-control-allow-origin")
        ),
        (204, None)
    );

    // The page that caused an error can read it, too.
    let answer = Response::to(client.post(&url).header("origin", "https://shop.example")).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("access-control-allow-origin")
        ),
        (400, Some("https://shop.example"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_are_blank_have_their_defaults() {
    let blank = [
        "REDIS_DATABASE",
        "REDIS_TIMEOUT_MS",
        "GATE_BUDGET_MS",
        "BODY_TIMEOUT_MS",
        "CORS_ALLOWED_ORIGINS",
        "CORS_ALLOWED_HEADERS",
        "AUTH_MODE",
        "IDENTITIES",
        "JWT_SUBJECT_CLAIM",
        "JWT_LEEWAY_SECONDS",
        "FRAME_ANCESTORS",
    ]
    .map(|name| format!("SPIN_VARIABLE_{name}"));
    let settings: Vec<_> = blank.iter().map(|name| (name.as_str(), " ")).collect();
    let system = System::start_with(Size::ONLY_A_HANDLER, &settings).await;
    let ready = Client::new().get(format!("{}/readyz", system.url()));
    assert_eq!(Response::to(ready).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_new_instances_traps_none_of_them() {
    let system = System::welcome().await;
    let client = Client::new();
    let url = format!("{}/v1/campaigns/welcome", system.url());
    // All at once: several requests of an instance wait while one of them opens the connection.
    let answers = futures::future::join_all((0..200).map(|_| Response::to(client.get(&url)))).await;
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [200; 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_and_head_is_get_without_its_body() {
    let system = System::welcome().await;
    let client = Client::new();
    let page = Response::to(client.get(system.url())).await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.ends_with("; frame-ancestors 'none'"), "{policy}");
    let known = client
        .get(system.url())
        .header("if-none-match", page.header("etag").expect("a tag"));
    assert_eq!(Response::to(known).await.status, 304);

    let (_, path) = page
        .text
        .split_once("<script type=\"module\" src=\"")
        .expect("a script");
    let path = path.split('"').next().expect("its path");
    let script = Response::to(client.get(format!("{}/{path}", system.url()))).await;
    assert_eq!(script.status, 200);
    for (name, value) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(script.header(name), Some(value), "{name}");
    }
    let (directory, _) = path.split_once('/').expect("a directory");
    let missing = Response::to(client.get(format!("{}/{directory}/no.js", system.url()))).await;
    assert_eq!(missing.status, 404);

    let head = Response::to(client.head(system.url())).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_told_so() {
    let system = System::welcome().await;
    let address = system.url().trim_start_matches("http://");
    for broken in [
        "content-length: 20\r\n\r\n{\"user_id\"",
        "transfer-encoding: chunked\r\n\r\n5\r\n{\"use\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "POST /v1/campaigns/welcome/applications HTTP/1.1\r\nhost: {address}\r\n\
             content-type: application/json\r\n{broken}"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("closed on this side");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{broken:?}: {answer}");
        assert!(
            answer.contains(r#""code":"incomplete_body""#),
            "{broken:?}: {answer}"
        );
    }
}

/// Checks the answer to a client that sends this and then nothing.
async fn silent(system: &System, sent: &str, expected: &str) {
    /// Longer than it takes on a busy machine, and shorter than [`NEVER`].
    const PATIENCE: Duration = Duration::from_secs(45);
    let address = system.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(sent.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 64];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    let read = read.unwrap_or_else(|_| panic!("{sent:?}: no answer in {PATIENCE:?}"));
    let answer = String::from_utf8_lossy(&answer[..read.expect("an answer")]);
    assert!(answer.starts_with(expected), "{sent:?}: {answer:?}");
}

/// The longest time limit for a body, in ms.
const NEVER: &str = "60000";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_announces_a_body_and_sends_none_is_answered_in_time() {
    let limit = |milliseconds| [("SPIN_VARIABLE_BODY_TIMEOUT_MS", milliseconds)];
    let patient = System::start_with(Size::ONLY_A_HANDLER, &limit(NEVER)).await;
    let system = System::start_with(Size::ONLY_A_HANDLER, &limit("1000")).await;
    for system in [&system, &patient] {
        let created = system.operator.create("welcome", 10);
        created.await.expect("created");
    }
    let head = |request: &str, length: usize| {
        format!(
            "{request} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let apply = "POST /v1/campaigns/welcome/applications";
    let put = "PUT /v1/campaigns/welcome/applications/a";
    for (system, sent, expected) in [
        (&system, head(apply, 16), "HTTP/1.1 408 "),
        (&system, head(apply, 16) + "{\"user_id\":", "HTTP/1.1 408 "),
        // A request that is refused because of its head does not wait for the body.
        (&patient, head(apply, 100_000), "HTTP/1.1 413 "),
        (&patient, head("POST /nowhere", 16), "HTTP/1.1 404 "),
        (&patient, head("PATCH /v1/campaigns", 16), "HTTP/1.1 405 "),
        // The body of a PUT is neither read nor awaited.
        (&patient, head(put, 16), "HTTP/1.1 201 "),
        (&patient, head(put, 16) + "{\"user_id\":", "HTTP/1.1 200 "),
        (&patient, head(put, 4_097), "HTTP/1.1 413 "),
    ] {
        silent(system, &sent, expected).await;
    }
    let client = Client::new();
    let url = format!("{}/v1/campaigns/welcome/applications", system.url());
    let answer = Response::to(json_body(client.post(url), r#"{"user_id":"a"}"#)).await;
    assert_eq!(answer.header("rushgate-serial"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_the_time_anew_and_counts_say_how_long_they_are_good_for() {
    const ORIGIN: &str = "https://shop.example";
    let list = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", ORIGIN)];
    let system = System::start_with(Size::ONLY_A_HANDLER, &list).await;
    for (campaign, quota) in [("open", 10), ("full", 1)] {
        let created = system.operator.create(campaign, quota);
        created.await.expect("created");
    }
    let client = Client::new();
    let get = |path: &str| client.get(format!("{}/v1/campaigns{path}", system.url()));
    let apply = |campaign: &str, user_id: &str| {
        let url = format!("{}/v1/campaigns/{campaign}/applications", system.url());
        json_body(client.post(url), format!(r#"{{"user_id":"{user_id}"}}"#))
    };
    let tagged = async |path: &str| {
        let answer = Response::to(get(path)).await;
        for (name, value) in [("cache-control", "public, max-age=1"), ("age", "0")] {
            assert_eq!(answer.header(name), Some(value), "{name}: {path}");
        }
        let tag = answer.header("etag").expect("a tag").to_owned();
        get(path).header("if-none-match", tag)
    };
    let cases = [
        (apply("open", "7"), 201),
        (apply("open", "7"), 200),
        (apply("full", "7"), 201),
        (apply("full", "8"), 410),
        // Answered from the instance's cache.
        (apply("full", "9"), 410),
        (get("/open/applications/7"), 200),
        (get("/open/applications/8"), 404),
        (get("/open"), 200),
        (get(""), 200),
        (get("/nope"), 404),
        (apply("nope", "7"), 404),
        (apply("open", "a b"), 422),
    ];
    let mut redis = system.redis_connection().await.expect("Redis");
    let mut told = async |request: RequestBuilder| {
        let before = now(&mut redis).await;
        let answer = Response::to(request.header("origin", ORIGIN)).await;
        let after = now(&mut redis).await;
        let status = answer.status.as_u16();
        let time = answer.header("rushgate-time").expect("the time");
        let time: i64 = time.parse().expect("milliseconds");
        // The clock may be behind by the latency of a reply, on a busy machine; it is never ahead.
        assert!(
            (before - 2_000..=after).contains(&time),
            "{status}: {time} is not from {before} to {after}"
        );
        let exposed = answer.header("access-control-expose-headers");
        let exposed: Vec<_> = exposed.expect("a list").split(", ").collect();
        for name in ["age", "rushgate-time"] {
            assert!(exposed.contains(&name), "{name}: {exposed:?}");
        }
        status
    };
    for (number, (request, status)) in cases.into_iter().enumerate() {
        assert_eq!(told(request).await, status, "case {number}");
    }
    // The counts change no more. An instance may remember older ones for a moment.
    for path in ["/open", ""] {
        until(&format!("the client has {path:?}"), async || {
            told(tagged(path).await).await == 304
        })
        .await;
    }
}
