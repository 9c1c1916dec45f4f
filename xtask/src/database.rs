//! Runs a MariaDB or MySQL server, whichever is installed, with its own data directory.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::packages;
use crate::run;
use crate::say;
use crate::secret_file;
use crate::service::{Ready, Service};
use crate::stack::Stack;
use crate::state::State;
use crate::version::{self, Version};

/// Longest path of a Unix socket on Linux in bytes, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// The server's program, and the program that initialises its data directory.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseServer {
    MariaDb { program: PathBuf, install: PathBuf },
    MySql { program: PathBuf },
}

impl DatabaseServer {
    /// The server of this machine. `mysqld` may be either of them.
    pub(crate) fn find() -> Option<Self> {
        ["mariadbd", "mysqld"]
            .into_iter()
            .filter_map(packages::find)
            .find_map(Self::from_program)
    }

    fn from_program(program: PathBuf) -> Option<Self> {
        let printed = packages::printed_version(&program, "--version")?;
        let version = version::after("Ver", &printed)?;
        if printed.contains("MariaDB") {
            let install = packages::find("mariadb-install-db")
                .or_else(|| packages::find("mysql_install_db"))?;
            // The installer is a script that needs it, and Debian has it in another package.
            packages::find("my_print_defaults")?;
            (version >= Version(10, 11, 0)).then_some(Self::MariaDb { program, install })
        } else {
            (version >= Version(8, 0, 0)).then_some(Self::MySql { program })
        }
    }

    fn program(&self) -> &Path {
        match self {
            Self::MariaDb { program, .. } | Self::MySql { program } => program,
        }
    }

    fn initialise(&self, data: &Path, tmp: &Path) -> Result<()> {
        let directory = option("datadir", data);
        let mut command = match self {
            Self::MariaDb { install, .. } => {
                let mut command = Command::new(install);
                command.arg("--no-defaults").arg(directory).args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]);
                command
            }
            Self::MySql { program } => {
                let mut command = Command::new(program);
                command
                    .arg("--no-defaults")
                    .arg("--initialize-insecure")
                    .arg(directory);
                command
            }
        };
        command.arg(option("tmpdir", tmp)).args(as_root());
        let done = run::quietly(&mut command).map(drop);
        match self {
            Self::MariaDb { .. } => done,
            Self::MySql { .. } => done.context(
                "where AppArmor confines mysqld to its own directories, as on Ubuntu, install mariadb-server-core and \
                 mariadb-client-core instead, which it does not confine",
            ),
        }
    }
}

/// The database server, with an initialised data directory.
pub(crate) fn service(server: &DatabaseServer, stack: &Stack, state: &State) -> Result<Service> {
    let data = state.path("database");
    let tmp = state.path("tmp");
    if !data.is_dir() {
        let step = say::step("Initialising the database");
        let unfinished = state.path("database.part");
        // Left over from an interrupted attempt.
        let _ = fs::remove_dir_all(&unfinished);
        server
            .initialise(&unfinished, &tmp)
            .context("cannot initialise the database")?;
        fs::rename(&unfinished, &data)
            .with_context(|| format!("cannot rename {}", unfinished.display()))?;
        step.done();
    }
    let accounts = state.path("accounts.sql");
    secret_file::write(&accounts, &accounts_sql(&stack.password))
        .with_context(|| format!("cannot write {}", accounts.display()))?;

    let address = SocketAddr::from(([127, 0, 0, 1], stack.database));
    let mut command = Command::new(server.program());
    command
        .arg("--no-defaults")
        .arg(option("datadir", &data))
        .arg(option("tmpdir", &tmp))
        .arg(option("socket", &socket(&data)))
        .arg(option("pid-file", &data.join("server.pid")))
        .arg(option("init-file", &accounts))
        .args([
            "--bind-address=127.0.0.1",
            &format!("--port={}", stack.database),
        ])
        .args([
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--max-connections=500",
        ])
        .args(as_root());
    if let DatabaseServer::MySql { .. } = server {
        command.args(["--mysqlx=OFF", "--skip-log-bin"]);
    }
    Ok(Service {
        name: "database".into(),
        command,
        listens: vec![address],
        ready: Ready::Accepts(address),
        patience: Duration::from_secs(90),
    })
}

/// Runs at every start: one statement on each line, each idempotent.
fn accounts_sql(password: &str) -> String {
    format!(
        "CREATE DATABASE IF NOT EXISTS rushgate CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS 'rushgate'@'%' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON *.* TO 'rushgate'@'%' WITH GRANT OPTION;\n\
         ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n"
    )
}

/// In the data directory, which is the server's working directory; by name only if the path is too long.
fn socket(data: &Path) -> PathBuf {
    let socket = data.join("server.sock");
    if socket.as_os_str().as_bytes().len() <= LONGEST_SOCKET_PATH {
        socket
    } else {
        "server.sock".into()
    }
}

/// Both servers refuse to run as root without this flag.
fn as_root() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=root")
}

fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_does_not_break_the_socket() {
        assert_eq!(
            socket(Path::new("/a/.rushgate/database")),
            Path::new("/a/.rushgate/database/server.sock")
        );
        let deep = PathBuf::from(format!("/{}/.rushgate/database", "d".repeat(90)));
        assert_eq!(socket(&deep), Path::new("server.sock"));
    }

    #[test]
    fn accounts_are_one_statement_a_line() {
        assert!(
            accounts_sql("pw")
                .lines()
                .all(|line| line.ends_with(';') && line.matches(';').count() == 1)
        );
    }
}
