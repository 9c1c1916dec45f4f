//! Simulates applicants who come all the time, and who retry until they have an answer.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Client;
use rushgate_e2e::application::apply;
use rushgate_e2e::history::{Call, History, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Concurrent applicants.
const CLIENTS: u64 = 12;

/// Average pause between two applicants of a client.
const PACE: Duration = Duration::from_millis(60);

/// How long an applicant waits for an answer before clicking again.
const PATIENCE: Duration = Duration::from_secs(5);

/// After all faults are healed, every applicant must have an answer within this time.
const GRACE: Duration = Duration::from_secs(60);

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<History>>,
}

struct Shared {
    urls: Vec<String>,
    campaign: String,
    people: Arc<AtomicU32>,
    is_over: AtomicBool,
}

impl Load {
    pub(crate) fn begin(urls: Vec<String>, campaign: &str, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            urls,
            campaign: campaign.to_owned(),
            people: Arc::default(),
            is_over: AtomicBool::new(false),
        });
        let clients = (0..CLIENTS).map(|client| {
            let random = StdRng::seed_from_u64(seed.wrapping_mul(CLIENTS).wrapping_add(client));
            tokio::spawn(Arc::clone(&shared).come_and_go(random))
        });
        Self {
            clients: clients.collect(),
            shared,
        }
    }

    /// How many applicants have come.
    pub(crate) fn people(&self) -> Arc<AtomicU32> {
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
        while !self.is_over.load(Ordering::Relaxed) {
            sleep(PACE.mul_f64(random.random_range(0.0..2.0))).await;
            let people = self.people.load(Ordering::Relaxed);
            // One applicant in ten has applied before.
            let person = match random.random_range(0..10) {
                0 if people > 0 => random.random_range(0..people),
                _ => self.people.fetch_add(1, Ordering::Relaxed),
            };
            let url = &self.urls[random.random_range(0..self.urls.len())];
            let url = format!("{url}/v1/campaigns/{}/applications", self.campaign);
            self.ask(&client, &url, format!("user-{person}"), &mut history)
                .await;
        }
        history
    }

    /// Applies until there is an answer.
    async fn ask(&self, client: &Client, url: &str, user_id: String, history: &mut History) {
        let began = Instant::now();
        let mut over_since = None;
        let reply = loop {
            match apply(client, url, &user_id).await {
                Err(_) | Ok(Reply::Unavailable) => {}
                Ok(reply) => break reply,
            }
            history.retried += 1;
            if self.is_over.load(Ordering::Relaxed)
                && over_since.get_or_insert_with(Instant::now).elapsed() > GRACE
            {
                break Reply::Unavailable;
            }
            sleep(PACE).await;
        };
        history.note(Call {
            user_id,
            began,
            ended: Instant::now(),
            reply,
        });
    }
}
