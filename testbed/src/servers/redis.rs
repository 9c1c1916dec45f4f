//! Redis with the production settings of `deploy/redis.conf`: a write is on disk before it is acknowledged.

use crate::certificates::{AUTHORITY, Certificates, SERVER};
use crate::process::Process;
use crate::program::{find, printed_version, version_after};
use anyhow::{Context, Result};
use semver::Version;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The variable with the path of a server of another version, or of Valkey's.
pub const PROGRAM: &str = "RUSHGATE_REDIS_SERVER";

pub const OLDEST: Version = Version::new(7, 0, 0);

const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redis.conf");

/// How long it may take to load its data.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server in [`PROGRAM`], else the installed one, if it is new enough.
pub fn program() -> Option<PathBuf> {
    let chosen = std::env::var_os(PROGRAM).map(PathBuf::from);
    chosen.or_else(|| find("redis-server")).filter(|redis| {
        printed_version(redis, "--version")
            .and_then(|text| version_after("v=", &text))
            .is_some_and(|version| version >= OLDEST)
    })
}

/// Its name and version, such as `Valkey 9.1.2`.
pub fn title(program: &Path) -> Option<String> {
    let printed = printed_version(program, "--version")?;
    let (name, _) = printed.split_once(' ')?;
    Some(format!("{name} {}", version_after("v=", &printed)?))
}

/// A server, which may run or not.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its port on 127.0.0.1; without one, it has a socket in its data directory.
    pub port: Option<u16>,
    /// Its data.
    pub directory: PathBuf,
    pub tls: Option<Tls>,
}

/// A second port, with TLS. A client may present a certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    pub port: u16,
    pub certificates: Certificates,
}

impl Redis {
    pub fn on_port(port: u16, directory: impl Into<PathBuf>) -> Self {
        Self {
            port: Some(port),
            directory: directory.into(),
            tls: None,
        }
    }

    pub fn on_socket(directory: impl Into<PathBuf>) -> Self {
        Self {
            port: None,
            directory: directory.into(),
            tls: None,
        }
    }

    pub fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => format!("redis+unix://{}", self.socket().display()),
        }
    }

    /// The command that starts it. Further arguments override settings.
    ///
    /// # Errors
    /// When the data directory cannot be created.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let directory = &self.directory;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut command = Command::new(program);
        command.arg(SETTINGS).args(["--bind", "127.0.0.1"]);
        match self.port {
            Some(port) => command.args(["--port", &port.to_string()]),
            None => command
                .args(["--port", "0", "--unixsocket"])
                .arg(self.socket()),
        };
        command.arg("--dir").arg(directory);
        if let Some(Tls { port, certificates }) = &self.tls {
            command.args(["--tls-port", &port.to_string()]);
            command.args(["--tls-auth-clients", "optional"]);
            for (setting, file) in [
                ("--tls-ca-cert-file", certificates.certificate(AUTHORITY)),
                ("--tls-cert-file", certificates.certificate(SERVER)),
                ("--tls-key-file", certificates.key(SERVER)),
            ] {
                command.arg(setting).arg(file);
            }
        }
        Ok(command)
    }

    /// Starts it for a test, with further arguments, and waits until it answers.
    ///
    /// # Errors
    /// When Redis is not installed or does not start; with the end of its log, `redis.log` in its directory.
    pub fn start(&self, settings: &[&str]) -> Result<Process> {
        let program = program();
        let program = program.with_context(|| {
            format!("redis-server {OLDEST} or newer is not installed, or is not in {PROGRAM}: run `cargo xtask test`")
        })?;
        let mut command = self.command(&program)?;
        let log = self.directory.join("redis.log");
        let mut process = Process::start(command.args(settings), log)?;
        process.until_ready(PATIENCE, || self.answers())?;
        Ok(process)
    }

    /// Whether it answers a PING. While it loads its data, it refuses.
    pub fn answers(&self) -> bool {
        match self.port {
            Some(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                TcpStream::connect(address).is_ok_and(|stream| {
                    stream
                        .set_read_timeout(Some(Duration::from_secs(1)))
                        .is_ok()
                        && pong(stream)
                })
            }
            None => UnixStream::connect(self.socket()).is_ok_and(pong),
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }
}

fn pong(mut stream: impl Read + Write) -> bool {
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"+PONG"
}
