//! What is sent, where, and for how long.

use super::response::Protocol;
use super::template::Template;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A load, which [`Load::run`] sends.
#[derive(Clone, Debug)]
pub struct Load<R = Vec<Template>> {
    /// The servers; the connections are spread over them.
    pub addresses: Vec<SocketAddr>,
    /// Where connections come from: each is opened from the next of these. Without any, the system chooses.
    pub sources: Vec<IpAddr>,
    pub protocol: Protocol,
    pub requests: R,
    /// The number of the first request; every request has its own number, and so its own user id.
    pub first: u64,
    /// The number of different applicants, if requests are to repeat.
    pub people: Option<u64>,
    /// Connections; with an open pace, the most of them. Each is opened when it is needed.
    pub connections: usize,
    /// Requests in flight on a connection; 1 for HTTP.
    pub depth: usize,
    pub pace: Pace,
    pub until: Until,
    /// How long an answer may take; the connection is closed then.
    pub patience: Duration,
}

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as the previous one is answered.
    Closed,
    /// Requests per second, by a clock.
    Open(f64),
}

#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time; requests in flight are awaited, and with a closed pace not counted.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
}

impl<R> Load<R> {
    /// One request over HTTP.
    pub fn new(address: SocketAddr, requests: R) -> Self {
        Self::over(vec![address], requests)
    }

    /// The same, with connections to all of these servers.
    pub fn over(addresses: Vec<SocketAddr>, requests: R) -> Self {
        Self {
            addresses,
            sources: vec![],
            protocol: Protocol::Http,
            requests,
            first: 0,
            people: None,
            connections: 1,
            depth: 1,
            pace: Pace::Closed,
            until: Until::Requests(1),
            patience: Duration::from_secs(30),
        }
    }
}
