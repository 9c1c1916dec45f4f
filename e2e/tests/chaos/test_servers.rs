//! Manages the Kafka and database servers that `cargo xtask` has prepared for faults. Each set is used by one test at
//! a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Addresses and start commands.
pub(crate) struct TestServers {
    dir: PathBuf,
    pub(crate) kafka: u16,
    /// The port where Kafka requires a login.
    pub(crate) kafka_login: u16,
    /// The port that Kafka advertises for it.
    pub(crate) kafka_door: u16,
    pub(crate) database: u16,
    pub(crate) password: String,
    _turn: OwnedMutexGuard<()>,
}

/// The directories in `RUSHGATE_CHAOS`, a list like `PATH`, each with a lock for its exclusive use.
static ALL: LazyLock<Vec<(PathBuf, Arc<Mutex<()>>)>> = LazyLock::new(|| {
    let dirs = std::env::var_os("RUSHGATE_CHAOS");
    let dirs =
        dirs.expect("RUSHGATE_CHAOS is not set: run `cargo xtask test` or `cargo xtask chaos`");
    std::env::split_paths(&dirs)
        .map(|dir| (dir, Arc::default()))
        .collect()
});

impl TestServers {
    /// A free set of test servers; if there is none, waits for the first.
    pub(crate) async fn take() -> Self {
        let free = ALL.iter().find_map(|(dir, turn)| {
            let turn = turn.clone().try_lock_owned().ok()?;
            Some((dir, turn))
        });
        let (dir, turn) = match free {
            Some(free) => free,
            None => {
                let (dir, turn) = ALL.first().expect("a set of test servers");
                (dir, turn.clone().lock_owned().await)
            }
        };
        let ports = std::fs::read_to_string(dir.join("ports")).expect("the ports");
        let mut words = ports.split_whitespace();
        let mut word = || words.next().expect("a word more");
        let mut port = || word().parse().expect("a port");
        let (kafka, kafka_login, kafka_door, database) = (port(), port(), port(), port());
        let password = word().to_owned();
        Self {
            dir: dir.clone(),
            kafka,
            kafka_login,
            kafka_door,
            database,
            password,
            _turn: turn,
        }
    }

    /// The command that starts `kafka` or `database`.
    pub(crate) fn command(&self, server: &str) -> Command {
        let path = self.dir.join(server).with_extension("command");
        let text = std::fs::read_to_string(path).expect("a command");
        let mut lines = text.lines();
        let dir = lines.next().map(Path::new).expect("a directory");
        let mut command = Command::new(lines.next().expect("a program"));
        command.current_dir(dir).args(lines);
        command
    }

    /// The address of `schema`, for an administrator.
    pub(crate) fn database_url(&self, schema: &str) -> String {
        let (password, port) = (&self.password, self.database);
        format!("mysql://rushgate:{password}@127.0.0.1:{port}/{schema}")
    }
}
