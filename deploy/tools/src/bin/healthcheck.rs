//! Checks that a server in this container answers a GET with status 200 and, if TEXT is given, with that text in the
//! response:
//!
//! ```text
//! healthcheck PORT PATH [TEXT]
//! ```

use std::env;
use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long the server may be silent. The engine kills a check that takes longer than the `timeout` of docker-compose.yml;
/// this one ends earlier and says why.
const SILENCE: Duration = Duration::from_secs(8);

/// Longer responses are cut: the metrics of bridge and consumer are far shorter.
const LONGEST: u64 = 4 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match check(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &[&str]) -> Result<(), String> {
    let (port, path, text) = match arguments {
        [port, path] => (port, path, ""),
        [port, path, text] => (port, path, *text),
        _ => return Err("usage: healthcheck PORT PATH [TEXT]".to_owned()),
    };
    let port = port.parse().map_err(|_| format!("{port} is not a port"))?;
    let response =
        get(port, path).map_err(|error| format!("GET {path} on port {port}: {error}"))?;
    let status = response.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.") || status.split(' ').nth(1) != Some("200") {
        return Err(format!(
            "GET {path} on port {port} was answered with {status:?}"
        ));
    }
    if !response.contains(text) {
        return Err(format!(
            "GET {path} on port {port}: the response does not contain {text:?}"
        ));
    }
    Ok(())
}

fn get(port: u16, path: &str) -> Result<String, Error> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(SILENCE))?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    connection.take(LONGEST).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}
