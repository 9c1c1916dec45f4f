//! Ten times the load that can be served, at an edge with the limits as shipped, beside clients that block connections:
//! 2,500 that send nothing, and 200 requests a second without their body.
//!
//! The gate is slow: on one machine, nothing could send ten times what a fast one can decide. A handler with
//! `EDGE_HANDLER_MAXCONN` requests at a time decides about 500 a second then, and the processors are not busy. So the
//! time of an answer is the edge's, and not that of a load generator which shares the processors with everything else.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests and benchmarks: what cannot be set up ends them, and says why"
)]

use crate::check::{Breach, Expected};
use crate::edge::{Edge, addresses};
use crate::flood::{self, Flood, FloodResult, ORIGIN};
use crate::rush::{self, RushResult};
use crate::system::{Size, System};
use rushgate_testbed::load::{Ended, Load, Pace, Requests, Template, Until, silent};
use rushgate_testbed::proxy::{Proxy, Trouble};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use url::Url;

/// How long a request or an answer is on its way between handler and gate.
const WAY_TO_THE_GATE: Duration = Duration::from_millis(100);

/// The limits of calls to the gate, as shipped. Other tests have none, or longer ones, because their machines are busy.
pub const AS_SHIPPED: [(&str, &str); 2] = [
    ("SPIN_VARIABLE_GATE_BUDGET_MS", "500"),
    ("SPIN_VARIABLE_REDIS_TIMEOUT_MS", "1000"),
];

/// Most memory of a program, in MiB.
///
/// The edge: 8,000 connections and their requests, of at most 16 KB each. The handler: `EDGE_HANDLER_MAXCONN` requests,
/// as many instances (about 1.5 MB each), and about 70 MB for the compiled component and the host. The bridge: a window
/// of 10,000 entries of 1 KB. The consumer: 8 MB prefetched, one batch that is gathered, one that is written, 16 that
/// wait for the confirmation. Redis: a few thousand grants. Each plus its memory without load.
pub const MOST_MEMORY: [(&str, u64); 5] = [
    ("edge", 160),
    ("handler", 320),
    ("Redis", 64),
    ("bridge", 64),
    ("consumer", 64),
];

/// What came of it.
#[derive(Debug)]
pub struct Overload {
    /// Applications per second that are decided when no others come.
    pub capacity: f64,
    pub flood: FloodResult,
    /// Answers to requests without their body, other than 408.
    pub unexplained: Vec<String>,
    /// What the stores contradict, after all applicants came again.
    pub breaches: Vec<Breach>,
    /// The peak memory of each program, in bytes.
    pub peak_memory: Vec<(&'static str, u64)>,
}

/// Starts a system, and overloads it with this many applicants for this many coupons.
pub async fn overload(applicants: usize, quota: u32) -> Overload {
    // So that refusals of the handler may be read by the same pages as refusals of the edge.
    let origins = ("SPIN_VARIABLE_CORS_ALLOWED_ORIGINS", ORIGIN);
    let without_a_handler = Size {
        handlers: 0,
        ..Size::ONE_OF_EACH
    };
    let mut system =
        System::start_with(without_a_handler, &[&AS_SHIPPED[..], &[origins]].concat()).await;
    let gate = Url::parse(&system.stores().redis_url).expect("the URL of Redis");
    let gate = Proxy::open(0, gate.port().expect("a port")).await;
    let slow = format!("redis://127.0.0.1:{}", gate.port);
    system.set("SPIN_VARIABLE_REDIS_URL", &slow);
    system.start_handler().await;
    gate.set(Trouble::Delay(WAY_TO_THE_GATE));
    for (campaign, quota) in [("calm", applicants as u32), ("flood", quota)] {
        let created = system.operator.create(campaign, quota).await;
        created.expect("created");
    }
    let edge = Edge::start(&system, &[]).expect("the edge");

    let capacity = capacity(edge.address(), applicants as u64 / 10).await;
    system.drained("calm").await;
    let silent = silent(edge.address(), &addresses(1, 25), 2_500).expect("they connect");
    let per_second = capacity * 10.0;
    let long = Duration::from_secs_f64(applicants as f64 / per_second);
    let without_bodies = without_bodies(edge.address(), long);
    let flood = Flood {
        address: edge.address().to_string(),
        campaign: "flood".to_owned(),
        applicants,
        per_second,
        most_under_way: 4_000,
        sources: addresses(3, 1_000),
    };
    let mut flood = flood::run(flood).await.expect("a flood");
    drop(silent);
    let unexplained = without_bodies.await.expect("no panic");

    gate.set(Trouble::None);
    // Past the edge, for which they would all be one address.
    let outcome = come_again(&system, "flood", &mut flood, applicants).await;
    let expected = Expected::once(quota, applicants as u32);
    let breaches = system.check(&expected, "flood", &outcome).await;
    let of_edge = ("edge", edge.peak_memory().expect("it runs"));
    Overload {
        capacity,
        flood,
        unexplained,
        breaches,
        peak_memory: system.peak_memory().into_iter().chain([of_edge]).collect(),
    }
}

/// All applicants come again, as a rush that can be served; returns both replies together.
pub async fn come_again(
    system: &System,
    campaign: &str,
    before: &mut FloodResult,
    applicants: usize,
) -> RushResult {
    let mut outcome = rush::run(&system.rush(campaign, applicants), || ())
        .await
        .expect("a rush");
    outcome.history.add(std::mem::take(&mut before.history));
    outcome
}

/// Decided applications per second, when the edge gives the handler all that it may have, and few wait.
async fn capacity(address: SocketAddr, applications: u64) -> f64 {
    let mut load = Load {
        sources: addresses(4, 192),
        connections: 192,
        until: Until::Requests(applications),
        ..Load::new(address, vec![Template::application("calm", false)])
    };
    let outcome = spawn_blocking(move || load.run()).await.expect("no panic");
    let outcome = outcome.expect("a load");
    // A machine that is busy with other tests may refuse some.
    outcome.answers[&201] as f64 / outcome.elapsed.as_secs_f64()
}

/// Requests with a length and no body.
struct Bodiless {
    unexplained: Vec<String>,
}

impl Requests for Bodiless {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        let head = format!(
            "POST /v1/campaigns/flood/applications HTTP/1.1\r\nhost: rushgate\r\nx-number: {number}\r\n\
             content-type: application/json\r\ncontent-length: 16\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
    }

    fn ended(&mut self, ended: Ended<'_>) -> anyhow::Result<Option<Duration>> {
        match ended.answer {
            // No handler had the request: its answers tell the time.
            Ok(answer)
                if answer.status == 408
                    && answer.header("rushgate-time").is_none()
                    && answer.header("content-type") == Some("application/problem+json") => {}
            other => self.unexplained.push(format!("{other:?}")),
        }
        Ok(None)
    }
}

/// 200 requests a second, for a while, from twenty addresses, each without its body; returns the answers that are not
/// 408.
fn without_bodies(address: SocketAddr, long: Duration) -> JoinHandle<Vec<String>> {
    spawn_blocking(move || {
        let requests = Bodiless {
            unexplained: vec![],
        };
        let mut load = Load {
            sources: addresses(2, 20),
            connections: 2_500,
            pace: Pace::Open(200.0),
            until: Until::Elapsed(long),
            ..Load::new(address, requests)
        };
        load.run().expect("a load");
        load.requests.unexplained
    })
}
