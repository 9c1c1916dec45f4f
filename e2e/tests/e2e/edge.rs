//! Tests the edge in front of the handlers: what it answers itself, its limits, handlers that die or hang, and reloads.

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use rushgate_e2e::check::Expected;
use rushgate_e2e::edge::{Edge, addresses};
use rushgate_e2e::flood::{self, Flood, FloodResult, ORIGIN};
use rushgate_e2e::overload::come_again;
use rushgate_e2e::system::{Size, System};
use rushgate_testbed::certificates::{AUTHORITY, Certificates, FOREIGN, SERVER};
use rushgate_testbed::load::{Answer, Ended, Load, Pace, Requests, Until, silent};
use rushgate_testbed::port::Port;
use rushgate_testbed::process::Signal;
use rushgate_testbed::servers::haproxy::workers;
use rushgate_testbed::wait::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;

/// For tests in which all applicants come from one address.
const UNLIMITED: [(&str, &str); 2] = [
    ("EDGE_APPLICATIONS_PER_ADDRESS", "1000000"),
    ("EDGE_REQUESTS_PER_ADDRESS", "1000000"),
];

const SETTINGS: &str = include_str!("../../../deploy/edge/haproxy.cfg");

const COMPOSE_FILE: &str = include_str!("../../../docker-compose.yml");

/// Requests in 10 s, as shipped.
const APPLICATIONS_PER_ADDRESS: u64 = 300;

async fn sent(request: RequestBuilder) -> (u16, HeaderMap, String) {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_answers_in_the_words_of_the_handler() {
    let origins = "https://shop.example:443, http://localhost:8080";
    let headers = "traceparent, x-shop";
    let of_handler = [
        ("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", origins),
        ("SPIN_VARIABLE_CORS_ALLOWED_HEADERS", headers),
    ];
    let of_edge = [
        ("EDGE_CORS_ALLOWED_ORIGINS", origins),
        ("EDGE_CORS_ALLOWED_HEADERS", headers),
    ];
    let system = System::start_with(Size::ONLY_A_HANDLER, &of_handler).await;
    let edge = Edge::start(&system, &of_edge).expect("the edge");
    let client = Client::new();
    let same = async |ask: &dyn Fn(String) -> RequestBuilder| {
        let (own, handlers) = (ask(edge.url()), ask(system.url().to_owned()));
        let ((status, headers, text), (expected, of_handler, expected_text)) =
            (sent(own).await, sent(handlers).await);
        assert_eq!((status, text), (expected, expected_text));
        for name in [
            "allow",
            "content-type",
            "cache-control",
            "vary",
            "timing-allow-origin",
            "access-control-allow-origin",
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-expose-headers",
            "access-control-max-age",
        ] {
            assert_eq!(headers.get(name), of_handler.get(name), "{name}");
        }
    };
    for origin in [
        None,
        Some("https://shop.example"),
        Some("http://localhost:8080"),
        Some("https://shop.example.evil"),
    ] {
        for path in [
            "",
            "/welcome",
            "/welcome/applications",
            "/welcome/applications/42",
        ] {
            same(&|url| {
                let url = format!("{url}/v1/campaigns{path}");
                let request = client.request(Method::OPTIONS, url);
                let request = request.header("access-control-request-method", "POST");
                origin
                    .into_iter()
                    .fold(request, |request, origin| request.header("origin", origin))
            })
            .await;
        }
        same(&|url| {
            let url = format!("{url}/v1/campaigns/welcome/applications");
            let request = client.post(url).header("content-type", "application/json");
            let request = request.body("x".repeat(4_097));
            origin
                .into_iter()
                .fold(request, |request, origin| request.header("origin", origin))
        })
        .await;
    }
    // These are answered without a handler, and a handler's absence is not hidden.
    system.handler(0).signal(Signal::SIGKILL).expect("a signal");
    let preflight = client
        .request(Method::OPTIONS, format!("{}/v1/campaigns", edge.url()))
        .header("access-control-request-method", "GET");
    assert_eq!(sent(preflight).await.0, 204);
    let get = |path: &str| client.get(format!("{}{path}", edge.url()));
    until("the edge has no handler", async || {
        sent(get("/edge/readyz")).await.0 == 503
    })
    .await;
    assert_eq!(sent(get("/edge/healthz")).await.0, 200);
    let (status, headers, text) = sent(
        get("/v1/campaigns/welcome/applications/a-person")
            .header("origin", "http://localhost:8080"),
    )
    .await;
    assert_eq!(status, 503, "{text}");
    let problem: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(problem["code"], "overloaded");
    assert_eq!(
        headers["access-control-allow-origin"],
        "http://localhost:8080"
    );
    assert!(headers.contains_key("retry-after"), "{headers:?}");
    // No user id in a log line.
    let log = edge.process.log();
    assert!(!log.contains("a-person"), "{log}");
}

/// The value that Compose gives a variable without a `.env`: of `${NAME:-default}` the default, of `${NAME:+other}` nothing.
fn without_env(value: &str) -> &str {
    match value.strip_prefix("${") {
        Some(variable) => variable
            .trim_end_matches('}')
            .split_once(":-")
            .map_or("", |(_, default)| default),
        None => value,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_starts_with_the_settings_of_the_compose_file() {
    let settings: Vec<_> = COMPOSE_FILE
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'))
        .filter(|(name, _)| name.starts_with("EDGE_"))
        .filter(|(name, _)| !["EDGE_LISTEN", "EDGE_TLS_LISTEN"].contains(name))
        .map(|(name, value)| (name, without_env(value.trim())))
        .collect();
    assert!(settings.len() > 10, "{settings:?}");
    let system = System::start_with(Size::ONLY_A_HANDLER, &[]).await;
    let edge = Edge::start(&system, &settings).expect("the edge");
    let preflight = Client::new()
        .request(Method::OPTIONS, format!("{}/v1/campaigns", edge.url()))
        .header("access-control-request-method", "GET");
    let (status, headers, _) = sent(preflight).await;
    assert_eq!(status, 204);
    let allowed = headers["access-control-allow-headers"].to_str();
    assert!(allowed.expect("a text").ends_with("baggage, sentry-trace"));
}

/// curl's exit status when the server's certificate is not signed by an authority that it trusts.
const UNTRUSTED: i32 = 60;
/// curl's exit status when there is no common version of TLS.
const NO_HANDSHAKE: i32 = 35;

/// What curl ends with: its exit status, and the HTTP version and the status of the response.
fn curl(authority: &Path, options: &[&str], url: &str) -> (Option<i32>, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null"])
        .args(["--write-out", "%{http_version} %{http_code}", "--cacert"])
        .arg(authority)
        .args(options)
        .arg(url);
    let output = curl.output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn https_has_http_2_and_a_renewed_certificate_needs_a_reload_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::make(directory.path()).expect("certificates");
    let authority = certificates.certificate(AUTHORITY);
    // As HAProxy reads it: the certificate and its key in one file.
    let pem = directory.path().join("edge.pem");
    let install = |name| {
        let parts = [certificates.certificate(name), certificates.key(name)];
        let parts = parts.map(|part| std::fs::read_to_string(part).expect("a part"));
        std::fs::write(&pem, parts.concat()).expect("written");
    };
    install(SERVER);
    let [tls, metrics] = [(); 2].map(|()| Port::free().expect("a free port"));
    let (tls, metrics) = (tls.address().to_string(), metrics.address().to_string());
    let system = System::start_with(Size::ONLY_A_HANDLER, &[]).await;
    let settings = [
        ("EDGE_TLS_CERTIFICATE", pem.to_str().expect("a text")),
        ("EDGE_TLS_LISTEN", &tls),
        ("EDGE_METRICS_LISTEN", &metrics),
    ];
    let edge = Edge::start(&system, &settings).expect("the edge");
    let url = format!("https://{tls}/healthz");
    let ask = |options: &[&str]| curl(&authority, options, &url);
    assert_eq!(ask(&["--http2"]), (Some(0), "2 200".to_owned()));
    assert_eq!(ask(&["--http1.1"]), (Some(0), "1.1 200".to_owned()));
    let old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    assert_eq!(ask(&old).0, Some(NO_HANDSHAKE));

    let client = Client::new();
    let get = async |url: String| sent(client.get(url)).await;
    let (status, _, text) = get(format!("http://{metrics}/metrics")).await;
    assert_eq!(status, 200, "{text}");
    let requests = r#"haproxy_frontend_http_requests_total{proxy="edge"} "#;
    assert!(text.contains(requests), "{text}");
    assert_eq!(get(format!("http://{metrics}/")).await.0, 404);
    assert_eq!(get(format!("{}/metrics", edge.url())).await.0, 404);

    install(FOREIGN);
    edge.process.signal(Signal::SIGUSR2).expect("a signal");
    until("the edge shows its new certificate", async || {
        ask(&[]).0 == Some(UNTRUSTED)
    })
    .await;
}

/// A bot: it applies on and on, and counts what it gets.
struct Bot {
    /// As one person; without a name, as another person each time.
    person: Option<&'static str>,
    answers: BTreeMap<u16, u64>,
    serials: BTreeSet<String>,
    unexplained: Vec<String>,
}

impl Requests for Bot {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        let person = self
            .person
            .map_or_else(|| format!("forged-{number}"), str::to_owned);
        let body = format!(r#"{{"user_id":"{person}"}}"#);
        let length = body.len();
        let request = format!(
            "POST /v1/campaigns/sale/applications HTTP/1.1\r\nhost: rushgate\r\norigin: {ORIGIN}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        out.extend_from_slice(request.as_bytes());
    }

    fn ended(&mut self, ended: Ended<'_>) -> anyhow::Result<Option<Duration>> {
        let answer = ended.answer?;
        *self.answers.entry(answer.status).or_default() += 1;
        let is_explained = match answer.status {
            201 | 200 => {
                self.serials
                    .extend(answer.header("rushgate-serial").map(str::to_owned));
                true
            }
            429 => is_problem(answer, "rate_limited"),
            // A busy machine may keep an application in the queue for too long.
            503 => is_problem(answer, "overloaded"),
            _ => false,
        };
        if !is_explained {
            let head = String::from_utf8_lossy(answer.head);
            self.unexplained.push(format!("{head}{}", answer.text()));
        }
        Ok(None)
    }
}

/// Whether a page of another origin can read the problem, and when to come again.
fn is_problem(answer: Answer<'_>, code: &str) -> bool {
    answer.header("retry-after").is_some()
        && answer.header("access-control-allow-origin") == Some(ORIGIN)
        && answer.header("content-type") == Some("application/problem+json")
        && answer.text().contains(&format!(r#""code":"{code}""#))
}

impl Bot {
    /// Clicks a thousand times a second, four thousand times in all.
    fn click(person: Option<&'static str>, from: IpAddr, edge: SocketAddr) -> JoinHandle<Self> {
        tokio::task::spawn_blocking(move || {
            let bot = Self {
                person,
                answers: BTreeMap::new(),
                serials: BTreeSet::new(),
                unexplained: vec![],
            };
            let mut load = Load {
                sources: vec![from],
                connections: 100,
                pace: Pace::Open(1_000.0),
                until: Until::Requests(4_000),
                ..Load::new(edge, bot)
            };
            load.run().expect("a load");
            load.requests
        })
    }

    fn refused(&self) -> u64 {
        self.answers.get(&429).copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_clicks_a_thousand_times_a_second_gets_no_more_than_one_that_clicks_once() {
    const PEOPLE: u32 = 200;
    let origins = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", ORIGIN)];
    let system = System::start_with(Size::ONLY_A_HANDLER, &origins).await;
    system
        .operator
        .create("sale", 5_000)
        .await
        .expect("created");
    // A variable that is blank has its default.
    let variables: BTreeSet<_> = SETTINGS
        .split("${EDGE_")
        .skip(1)
        .filter_map(|rest| rest.split(['-', '[']).next())
        .collect();
    let blank: Vec<_> = variables
        .iter()
        .filter(|name| !["LISTEN", "CORS_ALLOWED_ORIGINS"].contains(name))
        .map(|name| format!("EDGE_{name}"))
        .collect();
    assert!(blank.len() > 10, "{blank:?}");
    let blank: Vec<_> = blank.iter().map(|name| (name.as_str(), "")).collect();
    let edge = Edge::start(&system, &blank).expect("the edge");

    let bots = addresses(4, 2);
    let person = Bot::click(Some("bot"), bots[0], edge.address());
    let forger = Bot::click(None, bots[1], edge.address());
    let people = flood::run(Flood {
        address: edge.address().to_string(),
        campaign: "sale".to_owned(),
        applicants: PEOPLE as usize,
        per_second: 50.0,
        most_under_way: 200,
        sources: addresses(5, PEOPLE as u16),
    });
    let people = people.await.expect("a flood");
    // None of them is taken for a bot. A machine that is busy with other tests may keep some in the queue for too long.
    let (granted, overloaded) = (people.of("granted"), people.of("overloaded"));
    assert_eq!(
        granted + overloaded,
        u64::from(PEOPLE),
        "{:?}",
        people.answers
    );
    assert!(granted >= u64::from(PEOPLE) / 2, "{:?}", people.answers);

    for (bot, most_places) in [(person, 1), (forger, APPLICATIONS_PER_ADDRESS)] {
        let bot = bot.await.expect("no panic");
        eprintln!(
            "{:?}: {:?}, {} places",
            bot.person,
            bot.answers,
            bot.serials.len()
        );
        assert_eq!(bot.unexplained, Vec::<String>::new());
        assert!(
            bot.serials.len() as u64 <= most_places,
            "{}",
            bot.serials.len()
        );
        assert!(
            bot.refused() >= 4_000 - APPLICATIONS_PER_ADDRESS,
            "{:?}",
            bot.answers
        );
    }
}

/// What the server has sent on this connection; `None` while it is open.
fn closed_with(mut connection: &TcpStream, received: &mut Vec<u8>) -> Option<bool> {
    connection.set_nonblocking(true).expect("a socket");
    match connection.read_to_end(received) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        _ => Some(!received.is_empty()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_are_bounded_and_do_not_last() {
    const OPENED: usize = 2_500;
    const PER_ADDRESS: usize = 600;
    let system = System::welcome().await;
    let edge = Edge::start(&system, &[]).expect("the edge");
    let connections = silent(edge.address(), &addresses(6, 1), OPENED).expect("they connect");
    // Others are served meanwhile.
    let url = format!("{}/v1/campaigns/welcome", edge.url());
    assert_eq!(sent(Client::new().get(url)).await.0, 200);
    let mut received = vec![vec![]; connections.len()];
    let told = until("all are closed", async || {
        let each = connections.iter().zip(&mut received);
        let each: Option<Vec<bool>> = each
            .map(|(one, received)| closed_with(one, received))
            .collect();
        Some(each?.into_iter().filter(|told| *told).count())
    })
    .await;
    // These had a place until the deadline, and were told 408. The surplus was closed at once.
    assert!(told <= PER_ADDRESS, "{told} had a place");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_proxies_tell_the_address_of_a_client() {
    let system = System::welcome().await;
    let proxies = addresses(7, 3);
    let (trusted, untrusted, speaker) = (proxies[0], proxies[1], proxies[2]);
    let edge = Edge::start(
        &system,
        &[
            ("EDGE_APPLICATIONS_PER_ADDRESS", "3"),
            ("EDGE_TRUSTED_PROXIES", &format!("10.0.0.0/8 {trusted}")),
            ("EDGE_PROXY_PROTOCOL_FROM", &speaker.to_string()),
        ],
    )
    .expect("the edge");
    let url = format!("{}/v1/campaigns/welcome/applications", edge.url());
    let apply = async |from: IpAddr, forwarded_for: &str| {
        let client = Client::builder()
            .local_address(from)
            .build()
            .expect("a client");
        let request = client.post(&url).header("content-type", "application/json");
        let request = request.header("x-forwarded-for", forwarded_for);
        sent(request.body(r#"{"user_id":"1"}"#)).await.0
    };
    for _ in 0..3 {
        assert_ne!(apply(trusted, "192.0.2.6").await, 429);
        assert_ne!(
            apply(trusted, "192.0.2.7, 10.0.0.1").await,
            429,
            "10.0.0.1 is a proxy, too"
        );
        assert_ne!(apply(untrusted, "192.0.2.8").await, 429);
    }
    assert_eq!(apply(trusted, "192.0.2.6").await, 429);
    assert_eq!(
        apply(trusted, "192.0.2.9, 192.0.2.6").await,
        429,
        "the first entry is forged"
    );
    assert_eq!(apply(trusted, "192.0.2.7, 10.0.0.1").await, 429);
    assert_ne!(
        apply(trusted, "192.0.2.8").await,
        429,
        "the header of another address was not believed"
    );
    assert_eq!(
        apply(untrusted, "192.0.2.9").await,
        429,
        "it has applied three times"
    );

    let through_proxy_protocol = |client: &str| {
        let mut connection = silent(edge.address(), &[speaker], 1).expect("a connection");
        let mut connection = connection.pop().expect("one");
        let body = r#"{"user_id":"1"}"#;
        let request = format!(
            "PROXY TCP4 {client} 192.0.2.1 1000 8080\r\nPOST /v1/campaigns/welcome/applications HTTP/1.1\r\n\
             host: rushgate\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer[9..12].to_owned()
    };
    assert_eq!(through_proxy_protocol("192.0.2.6"), "429");
    assert_eq!(through_proxy_protocol("192.0.2.66"), "200");
}

/// Four seconds of applications: less than a handler may take.
const APPLICANTS: usize = 800;
/// Ten seconds of applications: long enough for two reloads on a busy machine.
const MORE_APPLICANTS: usize = 2_000;

/// Two handlers behind an edge, and a flood of 200 applications a second, of which some were granted.
async fn under_way(applicants: usize) -> (System, Edge, JoinHandle<FloodResult>) {
    const TWO_HANDLERS: Size = Size {
        handlers: 2,
        ..Size::ONE_OF_EACH
    };
    let origins = [("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", ORIGIN)];
    let system = System::start_with(TWO_HANDLERS, &origins).await;
    let created = system.operator.create("sale", applicants as u32).await;
    created.expect("created");
    let edge = Edge::start(&system, &UNLIMITED).expect("the edge");
    let flood = Flood {
        address: edge.address().to_string(),
        campaign: "sale".to_owned(),
        applicants,
        per_second: 200.0,
        most_under_way: applicants,
        sources: vec![],
    };
    let flood = tokio::spawn(async move { flood::run(flood).await.expect("a flood") });
    some_more_are_granted(&edge).await;
    (system, edge, flood)
}

async fn granted(edge: &Edge) -> u64 {
    let url = format!("{}/v1/campaigns/sale", edge.url());
    let (_, _, text) = sent(Client::new().get(url)).await;
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    state["round"]["granted"].as_u64().unwrap_or_default()
}

async fn some_more_are_granted(edge: &Edge) {
    let before = granted(edge).await;
    until("some are granted", async || {
        granted(edge).await > before + 50
    })
    .await;
}

/// Those who got no decision come again; then every applicant has a coupon.
async fn assert_exact(system: &System, mut outcome: FloodResult, applicants: usize) {
    assert_eq!(outcome.undocumented(true), Vec::<String>::new());
    let outcome = come_again(system, "sale", &mut outcome, applicants).await;
    let expected = Expected::once(applicants as u32, applicants as u32);
    assert_eq!(system.check(&expected, "sale", &outcome).await, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_of_a_handler_that_dies_are_decided_by_another() {
    let (mut system, edge, flood) = under_way(APPLICANTS).await;
    system.crash_handler(0);
    let outcome = flood.await.expect("no panic");
    eprintln!("{:?}\n{}", outcome.answers, edge.process.log());
    // One whose first answer was lost is told that it has its coupon already.
    let decided = outcome.of("granted") + outcome.of("already_granted");
    assert_eq!(decided, APPLICANTS as u64, "{:?}", outcome.answers);
    assert_exact(&system, outcome, APPLICANTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_keeps_only_what_it_has() {
    let (system, edge, flood) = under_way(APPLICANTS).await;
    system.handler(0).signal(Signal::SIGSTOP).expect("a signal");
    let outcome = flood.await.expect("no panic");
    eprintln!("{:?}\n{}", outcome.answers, edge.process.log());
    until("the edge leaves it alone", async || {
        edge.process.log().contains("handlers/handler1 is DOWN")
    })
    .await;
    // What it may have decided is unknown, not refused.
    let unknown = outcome.of("gate_unavailable");
    assert!((1..=128).contains(&unknown), "{:?}", outcome.answers);
    assert_eq!(
        outcome.of("granted") + unknown,
        APPLICANTS as u64,
        "{:?}",
        outcome.answers
    );
    system.handler(0).signal(Signal::SIGCONT).expect("a signal");
    assert_exact(&system, outcome, APPLICANTS).await;
}

/// Whether the edge answers on this connection.
fn is_healthy(connection: &mut TcpStream) -> bool {
    let request = b"GET /edge/healthz HTTP/1.1\r\nhost: rushgate\r\n\r\n";
    let sent = connection.write_all(request);
    let mut answer = vec![];
    let mut piece = [0; 1_000];
    while sent.is_ok()
        && !answer.ends_with(b"ok")
        && let Ok(read @ 1..) = connection.read(&mut piece)
    {
        answer.extend_from_slice(&piece[..read]);
    }
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_request() {
    let (system, edge, flood) = under_way(MORE_APPLICANTS).await;
    for _ in 0..2 {
        let mut idle = silent(edge.address(), &addresses(8, 1), 1).expect("a connection");
        assert!(is_healthy(&mut idle[0]));
        let old = workers(&edge.process).expect("it runs");
        edge.process.signal(Signal::SIGUSR2).expect("a signal");
        until("a new worker runs", async || {
            let workers = workers(&edge.process).expect("it runs");
            workers.iter().any(|worker| !old.contains(worker))
        })
        .await;
        some_more_are_granted(&edge).await;
        // A client may have sent this before it learnt of the reload.
        assert!(is_healthy(&mut idle[0]), "the old worker has closed it");
    }
    assert!(!flood.is_finished(), "the rush was over before");
    let outcome = flood.await.expect("no panic");
    assert_eq!(
        outcome.of("granted"),
        MORE_APPLICANTS as u64,
        "{:?}",
        outcome.answers
    );
    assert_exact(&system, outcome, MORE_APPLICANTS).await;
}
