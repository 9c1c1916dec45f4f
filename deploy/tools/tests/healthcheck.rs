//! Tests which responses the health check accepts.

// Clippy does not recognise helpers of tests as tests.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Output, Stdio};

/// The result of a health check whose request gets this answer.
fn checked(arguments: &[&str], answer: &str) -> Output {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let check = Command::new(env!("CARGO_BIN_EXE_healthcheck"))
        .arg(port)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut connection, _) = server.accept().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    let wanted = format!("GET {} HTTP/1.1\r\nHost: ", arguments[0]);
    assert!(request.starts_with(wanted.as_bytes()), "{request:?}");
    connection.write_all(answer.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Both).unwrap();
    check.wait_with_output().unwrap()
}

fn passes(arguments: &[&str], answer: &str) -> bool {
    checked(arguments, answer).status.success()
}

#[test]
fn an_answer_is_200_with_the_text() {
    let ready = "HTTP/1.1 200 OK\r\n\r\n# HELP\nrushgate_bridge_ready 1\n";
    assert!(passes(&["/metrics", "rushgate_bridge_ready 1"], ready));
    assert!(passes(&["/readyz"], "HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!passes(&["/metrics", "rushgate_bridge_ready 0"], ready));
    assert!(!passes(&["/readyz"], ""));
    assert!(!passes(&["/readyz"], "SSH-2.0- 200 \r\n"));
    let problem = "HTTP/1.1 503 Service Unavailable\r\n\r\n 200 ";
    let output = checked(&["/readyz"], problem);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("503 Service Unavailable"),
        "the health log should show the answer: {said}"
    );
}

#[test]
fn a_port_on_which_nothing_listens_fails() {
    let status = Command::new(env!("CARGO_BIN_EXE_healthcheck"))
        .args(["1", "/readyz"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
}
