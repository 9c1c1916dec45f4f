//! Tests `deploy/healthcheck`: which responses it accepts, and that it leaves no process behind when it is killed.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// A health check that has sent its request to this process, and waits.
fn asked(arguments: &[&str]) -> (Child, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/healthcheck");
    let check = Command::new(program)
        .arg(port)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (mut connection, _) = server.accept().unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    let wanted = format!("GET {} HTTP/1.1\r\n", arguments[0]);
    assert!(request.starts_with(wanted.as_bytes()), "{request:?}");
    (check, connection)
}

/// Whether the health check accepts an answer.
fn passes(arguments: &[&str], answer: &str) -> bool {
    let (mut check, mut connection) = asked(arguments);
    connection.write_all(answer.as_bytes()).unwrap();
    drop(connection);
    check.wait().unwrap().success()
}

#[test]
fn an_answer_is_200_with_the_text() {
    let ready = "HTTP/1.1 200 OK\r\n\r\n# HELP\nrushgate_bridge_ready 1\n";
    assert!(passes(&["/metrics", "rushgate_bridge_ready 1"], ready));
    assert!(passes(&["/readyz"], "HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!passes(&["/metrics", "rushgate_bridge_ready 0"], ready));
    assert!(!passes(
        &["/readyz"],
        "HTTP/1.1 503 Service Unavailable\r\n\r\n"
    ));
    assert!(!passes(&["/readyz"], ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_check_that_is_killed_leaves_no_process() {
    let (mut check, mut connection) = asked(&["/metrics"]);
    // Half an answer, and no more. The health check and its child processes wait for the rest.
    connection.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
    let deadline = Instant::now() + DEADLINE;
    while unread(&connection) > 0 {
        assert!(Instant::now() < deadline, "the check does not read");
        std::thread::yield_now();
    }
    check.kill().unwrap();
    check.wait().unwrap();
    // The connection ends with the last process that has it open.
    match connection.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("a process of the killed check is still connected: {other:?}"),
    }
}

/// Bytes that the other end of a connection has received and not read.
#[cfg(target_os = "linux")]
fn unread(connection: &TcpStream) -> usize {
    let port = connection.peer_addr().unwrap().port();
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let other_end = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[1].ends_with(&format!(":{port:04X}")))
        .unwrap();
    let (_, received) = other_end[4].split_once(':').unwrap();
    usize::from_str_radix(received, 16).unwrap()
}
