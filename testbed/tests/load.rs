//! Tests the load generator against small servers.

#![cfg(feature = "load")]
// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::expect_used)]

use anyhow::Result;
use rushgate_testbed::load::{Ended, Load, Pace, Requests, Template, Until, get};
use rushgate_testbed::port::Port;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// A server that handles each connection in a thread: `answer` gets the connection, and the number of the request on
/// it; the connection ends when it returns false.
fn server(answer: impl Fn(&mut TcpStream, usize) -> bool + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.expect("a connection"), answer.clone());
            thread::spawn(move || {
                let mut request = [0; 1024];
                let mut number = 0;
                while stream.read(&mut request).is_ok_and(|read| read > 0) {
                    if !answer(&mut stream, number) {
                        break;
                    }
                    number += 1;
                }
            });
        }
    });
    address
}

fn constant() -> SocketAddr {
    server(|stream, _| stream.write_all(OK).is_ok())
}

fn load(address: SocketAddr) -> Load {
    Load {
        connections: 8,
        until: Until::Requests(1_000),
        ..Load::new(address, vec![Template::get("/")])
    }
}

/// Requests that are sent again after 503 or without an answer, at most this often.
struct Patient {
    tries: u32,
    seen: Vec<String>,
}

impl Requests for Patient {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("GET /{number} HTTP/1.1\r\nhost: load\r\n\r\n").as_bytes());
    }

    fn ended(&mut self, ended: Ended<'_>) -> Result<Option<Duration>> {
        let (seen, again) = match &ended.answer {
            Ok(answer) => {
                let after = answer.header("retry-after").unwrap_or("never");
                let text = format!("{} {} {after}", answer.status, answer.text());
                (text, answer.status == 503)
            }
            Err(error) => (format!("{error:#}"), true),
        };
        self.seen.push(seen);
        self.tries -= u32::from(again);
        Ok((again && self.tries > 0).then_some(Duration::from_millis(5)))
    }
}

fn patient(address: SocketAddr, tries: u32) -> Load<Patient> {
    Load::new(
        address,
        Patient {
            tries,
            seen: vec![],
        },
    )
}

#[test]
fn as_many_are_sent_as_were_asked_for_and_all_are_answered() {
    let load = load(constant());
    for pace in [Pace::Closed, Pace::Open(20_000.0)] {
        let mut load = Load {
            pace,
            ..load.clone()
        };
        let result = load.run().expect("answers").all(200).expect("only 200");
        assert_eq!((result.sent, result.answered()), (1_000, 1_000), "{pace:?}");
        assert_eq!(result.latency.len(), 1_000, "{pace:?}");
        assert!(result.sample.starts_with("HTTP/1.1 200"), "{pace:?}");
    }
}

#[test]
fn latency_counts_from_when_a_request_was_due() {
    // One connection whose first answer takes a while: the requests behind it were due long before they were sent.
    let address = server(|stream, number| {
        if number == 0 {
            thread::sleep(Duration::from_millis(200));
        }
        stream.write_all(OK).is_ok()
    });
    let mut load = Load {
        connections: 1,
        pace: Pace::Open(1_000.0),
        until: Until::Requests(100),
        ..load(address)
    };
    let result = load.run().expect("answers").all(200).expect("only 200");
    // The hundredth was due 100 ms after the first, and is answered after it.
    assert!(result.quantile(0.01) >= 90_000.0, "{result:?}");
}

#[test]
fn answers_of_another_kind_are_an_error() {
    let result = load(constant()).run().expect("answers");
    let error = result.all(201).expect_err("200").to_string();
    assert!(
        error.contains("expected only 201") && error.contains("200"),
        "{error}"
    );
}

#[test]
fn a_request_is_sent_again_after_its_pause() {
    let address = server(|stream, number| {
        let answer = if number < 2 { BUSY } else { OK };
        stream.write_all(answer).is_ok()
    });
    let begun = Instant::now();
    let mut load = patient(address, 9);
    let result = load.run().expect("answers");
    assert_eq!(load.requests.seen, ["503  1", "503  1", "200 ok never"]);
    assert_eq!(result.sent, 1, "the same request");
    assert!(begun.elapsed() >= Duration::from_millis(10));
}

#[test]
fn a_connection_that_breaks_leaves_its_request_unknown_and_is_opened_again() {
    let address = server(|stream, number| number == 0 && stream.write_all(OK).is_ok());
    let mut load = Load {
        until: Until::Requests(2),
        ..patient(address, 9)
    };
    load.run().expect("answers");
    let seen = &load.requests.seen;
    assert_eq!((seen.len(), &*seen[2]), (3, "200 ok never"), "{seen:?}");
    assert!(seen[1].contains("reading"), "{seen:?}");
}

#[test]
fn a_server_that_is_not_there_is_an_unknown_answer() {
    let port = Port::free().expect("a port");
    let address = port.address();
    let mut load = patient(address, 2);
    let begun = Instant::now();
    let result = load.run().expect("an end");
    assert!(begun.elapsed() < load.patience, "it is refused at once");
    assert_eq!((load.requests.seen.len(), result.answered()), (2, 0));
    let error = Load::new(address, vec![Template::get("/")]).run();
    assert!(error.is_err(), "a template is content with answers only");
}

#[test]
fn an_answer_that_takes_too_long_is_unknown() {
    let address = server(|_, _| true);
    let mut load = Load {
        patience: Duration::from_millis(50),
        ..patient(address, 1)
    };
    load.run().expect("an end");
    assert_eq!(load.requests.seen, ["no answer within 50ms"]);
}

#[test]
fn a_page_is_its_body_however_long_it_is() {
    let body = "x".repeat(300_000);
    let page = body.clone();
    let address = server(move |stream, _| {
        let length = page.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{page}");
        stream.write_all(answer.as_bytes()).is_ok()
    });
    assert_eq!(get(address, "/").expect("a page"), body);
}
