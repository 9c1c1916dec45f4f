//! Simulates applicants who come all the time, and who retry until they have an answer. Some of them change their mind:
//! they give their coupon back, or leave the waitlist.

use crate::people::People;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, Method};
use rushgate_e2e::application::{apply_by, cancel};
use rushgate_e2e::history::{Call, Cancel, CancelReply, History, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long an applicant waits for an answer before clicking again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(60);

/// After all faults are healed, every applicant must have an answer within this time.
const GRACE: Duration = Duration::from_secs(60);

/// Who comes, and how fast.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    /// Concurrent applicants.
    pub(crate) clients: u64,
    /// Average pause between two applicants of a client.
    pub(crate) pace: Duration,
    /// The most that come.
    pub(crate) applicants: u32,
    /// Whether applicants cancel: one request in 25.
    pub(crate) may_cancel: bool,
}

impl Crowd {
    pub(crate) const USUAL: Self = Self {
        clients: 12,
        pace: Duration::from_millis(60),
        applicants: u32::MAX,
        may_cancel: false,
    };

    /// Many at once, until this many have come.
    pub(crate) fn rush(applicants: u32) -> Self {
        Self {
            clients: 24,
            pace: Duration::from_millis(10),
            applicants,
            ..Self::USUAL
        }
    }
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<History>>,
}

struct Shared {
    urls: Vec<String>,
    campaign: String,
    crowd: Crowd,
    people: Arc<People>,
    is_over: AtomicBool,
}

impl Load {
    pub(crate) fn begin(urls: Vec<String>, campaign: &str, seed: u64, crowd: Crowd) -> Self {
        let shared = Arc::new(Shared {
            urls,
            campaign: campaign.to_owned(),
            crowd,
            people: Arc::default(),
            is_over: AtomicBool::new(false),
        });
        let clients = (0..crowd.clients).map(|client| {
            let seed = seed.wrapping_mul(crowd.clients).wrapping_add(client);
            tokio::spawn(Arc::clone(&shared).come_and_go(StdRng::seed_from_u64(seed)))
        });
        Self {
            clients: clients.collect(),
            shared,
        }
    }

    pub(crate) fn people(&self) -> Arc<People> {
        self.shared.people.clone()
    }

    /// Stops new applicants, and waits until all have their answers; returns these.
    pub(crate) async fn end(self) -> History {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for client in self.clients {
            history.add(client.await.expect("no panic"));
        }
        history
    }
}

impl Shared {
    async fn come_and_go(self: Arc<Self>, mut random: StdRng) -> History {
        let client = Client::builder()
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        let mut history = History::default();
        while !self.is_over() {
            sleep(self.crowd.pace.mul_f64(random.random_range(0.0..2.0))).await;
            let url = &self.urls[random.random_range(0..self.urls.len())];
            let url = format!("{url}/v1/campaigns/{}/applications", self.campaign);
            let cancels = self.crowd.may_cancel && random.random_range(0..25) == 0;
            match cancels.then(|| self.people.next_to_cancel(&mut random)) {
                Some(Some(person)) => self.cancel(&client, &url, person, &mut history).await,
                _ if self.people.count() < self.crowd.applicants => {
                    let person = self.people.next(&mut random);
                    self.apply(&client, &url, person, &mut history).await;
                }
                _ => {}
            }
        }
        history
    }

    async fn apply(&self, client: &Client, url: &str, person: u32, history: &mut History) {
        let (user_id, began) = (format!("user-{person}"), Instant::now());
        let methods = [Method::POST, Method::PUT];
        let method = &methods[person as usize % 2];
        let (answer, tries) = self
            .until_answered(|| async {
                let answer = apply_by(method.clone(), client, url, &user_id).await;
                answer
                    .ok()
                    .filter(|(reply, _)| *reply != Reply::Unavailable)
            })
            .await;
        let (reply, code) = answer.unwrap_or((Reply::Unavailable, None));
        self.people.answered(person, tries, &reply, code.as_deref());
        history.retried += u64::from(tries - 1);
        if let (Reply::Granted(place) | Reply::AlreadyGranted(place), Some(code)) = (&reply, code) {
            history.note_code(&user_id, place.clone(), code);
        }
        history.note(Call {
            user_id,
            began,
            ended: Instant::now(),
            reply,
        });
    }

    async fn cancel(&self, client: &Client, url: &str, person: u32, history: &mut History) {
        let (user_id, began) = (format!("user-{person}"), Instant::now());
        let (reply, tries) = self
            .until_answered(|| async {
                let reply = cancel(client, url, &user_id).await;
                reply
                    .ok()
                    .filter(|reply| *reply != CancelReply::Unavailable)
            })
            .await;
        let reply = reply.unwrap_or(CancelReply::Unavailable);
        self.people.has_cancelled(person, &reply);
        history.retried += u64::from(tries - 1);
        history.note_cancel(Cancel {
            user_id,
            began,
            ended: Instant::now(),
            is_certain: tries == 1,
            reply,
        });
    }

    /// Sends a request until there is an answer, and counts how often.
    async fn until_answered<T, F>(&self, send: impl Fn() -> F) -> (Option<T>, u32)
    where
        F: Future<Output = Option<T>>,
    {
        let (mut tries, mut over_since) = (0, None);
        loop {
            tries += 1;
            let answer = send().await;
            let is_late =
                self.is_over() && over_since.get_or_insert_with(Instant::now).elapsed() > GRACE;
            if answer.is_some() || is_late {
                return (answer, tries);
            }
            sleep(PAUSE).await;
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
