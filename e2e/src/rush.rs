//! A rush: many applicants apply at once, and some of them click several times.

use crate::application;
use crate::history::{Call, History, Reply};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rand::seq::SliceRandom;
use rushgate_testbed::load::{Ended, Load, Requests, Until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use url::Url;

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

/// A request, and how often it was sent.
#[derive(Clone, Copy, Debug)]
struct Click {
    request: Request,
    began: Option<Instant>,
    tries: usize,
}

/// The clicks of a rush, and what they saw so far.
struct Clicks<P> {
    campaign: String,
    clicks: Vec<Click>,
    /// Attempts of each.
    tries: usize,
    history: History,
    latency: Histogram<u64>,
    progress: P,
}

/// Runs the rush. `progress` is called at every answer.
///
/// # Errors
/// When an address cannot be resolved. Failures of the system are in the result.
pub async fn run(rush: &Rush, progress: impl Fn() + Send + Sync + 'static) -> Result<RushResult> {
    let addresses: Result<Vec<_>> = rush.urls.iter().map(|url| address(url)).collect();
    let clicks = Clicks {
        campaign: rush.campaign.clone(),
        clicks: clicks(rush),
        tries: if rush.outlasts_a_loss {
            TRIES_OUTLASTING
        } else {
            TRIES
        },
        history: History::default(),
        latency: Histogram::new_with_bounds(1, 60_000_000, 3).context("a histogram")?,
        progress,
    };
    let until = Until::Requests(clicks.clicks.len() as u64);
    let start = Instant::now();
    let (_, clicks) = application::run(Load {
        connections: rush.concurrency,
        until,
        ..Load::over(addresses?, clicks)
    })
    .await?;
    Ok(RushResult {
        history: clicks.history,
        elapsed: start.elapsed(),
        latency: clicks.latency,
    })
}

/// The address of a handler.
fn address(url: &str) -> Result<SocketAddr> {
    let parsed = Url::parse(url).with_context(|| format!("{url} is not a URL"))?;
    let addresses = parsed
        .socket_addrs(|| None)
        .with_context(|| format!("cannot resolve {url}"))?;
    addresses
        .first()
        .copied()
        .with_context(|| format!("{url} has no address"))
}

/// All clicks, and one invalid request for every hundred, shuffled.
fn clicks(rush: &Rush) -> Vec<Click> {
    let mut requests: Vec<_> = (0..rush.applicants)
        .flat_map(|person| {
            let clicks = if person % 10 == 0 { rush.repeats } else { 1 };
            std::iter::repeat_n(Request::Application(person), clicks)
        })
        .chain((0..rush.applicants.div_ceil(100)).map(Request::Bad))
        .collect();
    requests.shuffle(&mut rand::rng());
    let clicks = requests.into_iter().map(|request| Click {
        request,
        began: None,
        tries: 0,
    });
    clicks.collect()
}

impl<P: Fn()> Requests for Clicks<P> {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        match self.clicks[number as usize].request {
            Request::Application(person) => {
                application::write_application(out, &self.campaign, &format!("user-{person}"));
            }
            Request::Bad(kind) => {
                let (method, media_type, body, _) = bad(kind);
                application::write(out, method, &self.campaign, media_type, body);
            }
        }
    }

    fn ended(&mut self, ended: Ended<'_>) -> Result<Option<Duration>> {
        let click = &mut self.clicks[ended.number as usize];
        let began = *click.began.get_or_insert(ended.sent);
        click.tries += 1;
        let (user_id, expected) = match click.request {
            Request::Application(person) => (format!("user-{person}"), None),
            Request::Bad(kind) => (String::new(), Some(bad(kind).3)),
        };
        let reply = match ended.answer {
            Err(_) => Reply::Unavailable,
            Ok(answer) if Some(answer.status) == expected => Reply::Rejected,
            Ok(answer) => {
                if let Some((place, code)) = application::told_code(answer.text(), &user_id) {
                    self.history.note_code(&user_id, place, code);
                }
                application::reply(answer.status, answer.text(), &user_id)
            }
        };
        if reply == Reply::Unavailable {
            // The applicant sees a spinner and clicks again: an application counts once, however often it is sent.
            self.history.retried += 1;
            if click.tries < self.tries {
                return Ok(Some(PAUSE));
            }
        } else {
            let micros = (ended.at - ended.sent).as_micros();
            self.latency
                .saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        self.history.note(Call {
            user_id,
            began,
            ended: ended.at,
            reply,
        });
        (self.progress)();
        Ok(None)
    }
}

/// An invalid request: its method, media type and body, and the documented answer.
fn bad(kind: usize) -> (&'static str, &'static str, &'static str, u16) {
    const JSON: &str = "application/json";
    match kind % 5 {
        0 => ("POST", JSON, "{", 400),
        1 => ("POST", JSON, "{}", 422),
        2 => ("POST", JSON, r#"{"user_id":"no such id"}"#, 422),
        3 => ("POST", "text/plain", "user_id=1", 415),
        _ => ("GET", JSON, "", 405),
    }
}
