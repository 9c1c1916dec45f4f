//! A rush: many applicants apply at once, and some of them click several times.

use crate::history::{Call, History, Place, Reply};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::seq::SliceRandom;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Rush {
    /// The handlers, such as `http://127.0.0.1:3000`; requests are spread over them.
    pub urls: Vec<String>,
    pub campaign: String,
    pub applicants: usize,
    /// Concurrent requests.
    pub concurrency: usize,
    /// Clicks of one applicant in ten; the others click once.
    pub repeats: usize,
    /// Whether clients retry for longer, because the gate will be lost during the rush and restored.
    pub outlasts_a_loss: bool,
}

/// The result as the clients saw it.
#[derive(Debug)]
pub struct RushResult {
    pub history: History,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Latency in microseconds.
    pub latency: Histogram<u64>,
}

/// Attempts after 503 or a broken connection.
const TRIES: usize = 100;

/// Attempts if the gate is lost and restored meanwhile.
const TRIES_OUTLASTING: usize = 900;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// One click of one applicant.
#[derive(Clone, Copy, Debug)]
enum Request {
    Application(usize),
    Bad(usize),
}

#[derive(Deserialize)]
struct WaitlistedBody {
    position: u32,
    user_id: String,
}

#[derive(Deserialize)]
struct GrantBody {
    #[serde(flatten)]
    place: Place,
    user_id: String,
}

/// Runs the rush. `progress` is called at every answer.
///
/// # Errors
/// When a client cannot be created. Failures of the system are in the result.
pub async fn run(rush: &Rush, progress: impl Fn() + Send + Sync + 'static) -> Result<RushResult> {
    let requests = Arc::new(requests(rush));
    let next = Arc::new(AtomicUsize::new(0));
    let progress = Arc::new(progress);
    let client = Client::builder()
        .pool_max_idle_per_host(rush.concurrency)
        .timeout(Duration::from_secs(30))
        .build()
        .context("cannot make an HTTP client")?;

    let start = Instant::now();
    let people: Vec<_> = (0..rush.concurrency)
        .map(|_| {
            let (requests, next, progress) = (requests.clone(), next.clone(), progress.clone());
            let (client, rush) = (client.clone(), rush.clone());
            tokio::spawn(async move {
                let mut history = History::default();
                let mut latency = histogram()?;
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(index) else {
                        return Ok::<_, anyhow::Error>((history, latency));
                    };
                    let url = &rush.urls[index % rush.urls.len()];
                    let url = format!("{url}/v1/campaigns/{}/applications", rush.campaign);
                    send(&client, &url, *request, &rush, &mut history, &mut latency).await;
                    progress();
                }
            })
        })
        .collect();

    let mut history = History::default();
    let mut latency = histogram()?;
    for person in people {
        let (theirs, times) = person.await??;
        history.add(theirs);
        latency.add(times)?;
    }
    Ok(RushResult {
        history,
        elapsed: start.elapsed(),
        latency,
    })
}

/// All clicks, and one invalid request for every hundred, shuffled.
fn requests(rush: &Rush) -> Vec<Request> {
    let mut requests: Vec<_> = (0..rush.applicants)
        .flat_map(|person| {
            let clicks = if person % 10 == 0 { rush.repeats } else { 1 };
            std::iter::repeat_n(Request::Application(person), clicks)
        })
        .chain((0..rush.applicants.div_ceil(100)).map(Request::Bad))
        .collect();
    requests.shuffle(&mut rand::rng());
    requests
}

async fn send(
    client: &Client,
    url: &str,
    request: Request,
    rush: &Rush,
    history: &mut History,
    latency: &mut Histogram<u64>,
) {
    let user_id = match request {
        Request::Application(person) => format!("user-{person}"),
        Request::Bad(_) => String::new(),
    };
    let began = Instant::now();
    let call = |reply| Call {
        user_id: user_id.clone(),
        began,
        ended: Instant::now(),
        reply,
    };
    let tries = if rush.outlasts_a_loss {
        TRIES_OUTLASTING
    } else {
        TRIES
    };
    for _ in 0..tries {
        let start = Instant::now();
        let answer = match request {
            Request::Application(_) => apply(client, url, &user_id).await,
            Request::Bad(kind) => misapply(client, url, kind).await,
        };
        match answer {
            // The applicant sees a spinner and clicks again: an application counts once, however often it is sent.
            Err(_) | Ok(Reply::Unavailable) => {
                history.retried += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(reply) => {
                let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                latency.saturating_record(micros);
                return history.note(call(reply));
            }
        }
    }
    history.note(call(Reply::Unavailable));
}

/// Sends one application of `user_id` to `url`.
///
/// # Errors
/// When there is no answer.
pub async fn apply(client: &Client, url: &str, user_id: &str) -> reqwest::Result<Reply> {
    let body = format!(r#"{{"user_id":"{user_id}"}}"#);
    let request = client.post(url).header("content-type", "application/json");
    let response = request.body(body).send().await?;
    let status = response.status();
    let text = response.text().await?;
    let grant = serde_json::from_str::<GrantBody>(&text)
        .ok()
        .filter(|grant| grant.user_id == user_id);
    Ok(match (status, grant) {
        (StatusCode::CREATED, Some(grant)) => Reply::Granted(grant.place),
        (StatusCode::OK, Some(grant)) => Reply::AlreadyGranted(grant.place),
        (StatusCode::ACCEPTED, _) => match serde_json::from_str::<WaitlistedBody>(&text) {
            Ok(waiting) if waiting.user_id == user_id => Reply::Waitlisted(waiting.position),
            _ => Reply::Unexplained(format!("{status} {text}")),
        },
        (StatusCode::GONE, _) if text.contains(r#""decision":"sold_out""#) => Reply::SoldOut,
        (StatusCode::GONE, _) if text.contains(r#""decision":"revoked""#) => Reply::Revoked,
        (StatusCode::SERVICE_UNAVAILABLE, _) => Reply::Unavailable,
        _ => Reply::Unexplained(format!("{status} {text}")),
    })
}

/// Sends an invalid request; the reply is `Rejected` if the answer is the documented one.
async fn misapply(client: &Client, url: &str, kind: usize) -> reqwest::Result<Reply> {
    let json = |body: &'static str| {
        client
            .post(url)
            .header("content-type", "application/json")
            .body(body)
    };
    let (request, expected) = match kind % 5 {
        0 => (json("{"), StatusCode::BAD_REQUEST),
        1 => (json("{}"), StatusCode::UNPROCESSABLE_ENTITY),
        2 => (
            json(r#"{"user_id":"no such id"}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        3 => (
            client
                .post(url)
                .body("user_id=1")
                .header("content-type", "text/plain"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        _ => (client.get(url), StatusCode::METHOD_NOT_ALLOWED),
    };
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    Ok(if status == expected {
        Reply::Rejected
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        Reply::Unavailable
    } else {
        Reply::Unexplained(format!("{status} {text}"))
    })
}

/// From one microsecond to one minute, with an error of at most 0.1 %.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("cannot make a histogram")
}
