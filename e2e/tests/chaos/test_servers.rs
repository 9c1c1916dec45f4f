//! What `cargo xtask` has laid out: a Kafka and a database that may be broken.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Where they are and how they are started.
pub(crate) struct TestServers {
    dir: PathBuf,
    pub(crate) kafka: u16,
    /// Where Kafka says that it listens.
    pub(crate) kafka_door: u16,
    pub(crate) database: u16,
    password: String,
    _turn: OwnedMutexGuard<()>,
}

/// Those that `RUSHGATE_CHAOS` names, a list like that of `PATH`, each with the turn to be on it.
static ALL: LazyLock<Vec<(PathBuf, Arc<Mutex<()>>)>> = LazyLock::new(|| {
    let dirs = std::env::var_os("RUSHGATE_CHAOS");
    let dirs =
        dirs.expect("RUSHGATE_CHAOS is not set: run `cargo xtask test` or `cargo xtask chaos`");
    std::env::split_paths(&dirs)
        .map(|dir| (dir, Arc::default()))
        .collect()
});

impl TestServers {
    /// One that nobody else is on, or the first as soon as that is so.
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
        let (kafka, kafka_door, database) = (word().parse(), word().parse(), word().parse());
        let password = word().to_owned();
        Self {
            dir: dir.clone(),
            kafka: kafka.expect("a port"),
            kafka_door: kafka_door.expect("a port"),
            database: database.expect("a port"),
            password,
            _turn: turn,
        }
    }

    /// How `kafka` or `database` is started.
    pub(crate) fn command(&self, server: &str) -> Command {
        let path = self.dir.join(server).with_extension("command");
        let text = std::fs::read_to_string(path).expect("a command");
        let mut lines = text.lines();
        let dir = lines.next().map(Path::new).expect("a directory");
        let mut command = Command::new(lines.next().expect("a program"));
        command.current_dir(dir).args(lines);
        command
    }

    /// The address of `schema`, at this port, as somebody who may do everything.
    pub(crate) fn database_url(&self, port: u16, schema: &str) -> String {
        format!(
            "mysql://rushgate:{}@127.0.0.1:{port}/{schema}",
            self.password
        )
    }
}
