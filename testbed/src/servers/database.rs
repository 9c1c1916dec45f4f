//! MariaDB or MySQL, whichever is installed, with a data directory of its own. [`PROGRAM`] can name another version.

use crate::certificates::{AUTHORITY, Certificates, DATABASE};
use crate::program::{find, printed_version, run, version_after};
use anyhow::{Context, Result};
use semver::Version;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest path of a Unix socket on Linux in bytes, without the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// The variable with the path of a server of another version, in a directory tree of its own: `…/usr/sbin/mysqld`.
pub const PROGRAM: &str = "RUSHGATE_DATABASE_SERVER";

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct DatabaseServer {
    program: PathBuf,
    version: Version,
    kind: Kind,
    /// Its directory tree, if the program cannot find that by itself.
    home: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// With the program that initialises a data directory.
    MariaDb(PathBuf),
    MySql,
}

/// A server with its data, which may run or not.
#[derive(Clone, Debug)]
pub struct Database {
    pub server: DatabaseServer,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its data; the parent directory exists.
    pub data: PathBuf,
    /// For temporary files. A starting server removes those of others in the same directory.
    pub tmp: PathBuf,
    /// With these it accepts TLS, and its certificate is [`DATABASE`].
    pub certificates: Option<Certificates>,
}

impl DatabaseServer {
    /// The server in [`PROGRAM`], else that of this machine. `mysqld` may be either of them.
    pub fn find() -> Option<Self> {
        if let Some(program) = std::env::var_os(PROGRAM) {
            return Self::in_its_tree(program.into());
        }
        ["mariadbd", "mysqld"]
            .into_iter()
            .filter_map(find)
            .find_map(|program| {
                let install = find("mariadb-install-db").or_else(|| find("mysql_install_db"));
                // The installer is a script that needs it, and Debian has it in another package.
                let install = install.filter(|_| find("my_print_defaults").is_some());
                Self::from_program(program, install, None)
            })
    }

    /// A server in a directory tree of its own.
    pub fn in_its_tree(program: PathBuf) -> Option<Self> {
        let home = program.parent()?.parent()?.to_owned();
        let install = home.join("bin/mariadb-install-db");
        Self::from_program(program, Some(install), Some(home))
    }

    fn from_program(
        program: PathBuf,
        install: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Option<Self> {
        let printed = printed_version(&program, "--version")?;
        let version = version_after("  Ver ", &printed)?;
        let (kind, oldest) = if printed.contains("MariaDB") {
            (Kind::MariaDb(install?), Version::new(10, 11, 0))
        } else {
            (Kind::MySql, Version::new(8, 0, 0))
        };
        (version >= oldest).then_some(Self {
            program,
            version,
            kind,
            home,
        })
    }

    /// Its name and version.
    pub fn title(&self) -> String {
        let name = match self.kind {
            Kind::MariaDb(_) => "MariaDB",
            Kind::MySql => "MySQL",
        };
        format!("{name} {}", self.version)
    }

    /// The variable with which another process finds it, too, if it is not the installed server.
    pub fn env(&self) -> Option<(&'static str, &Path)> {
        self.home.as_ref().map(|_| (PROGRAM, &*self.program))
    }

    /// Begins a command line of the server or its installer.
    fn begin(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--no-defaults");
        command.args(self.home.as_deref().map(|home| option("basedir", home)));
        command
    }
}

impl Database {
    pub fn is_initialised(&self) -> bool {
        self.data.is_dir()
    }

    /// Creates the data directory, with a user `root` without a password.
    ///
    /// # Errors
    /// When the server's installer fails.
    pub fn initialise(&self) -> Result<()> {
        let unfinished = self.data.with_extension("part");
        // Left over from an interrupted attempt.
        let _ = fs::remove_dir_all(&unfinished);
        let server = &self.server;
        let mut command = match &server.kind {
            Kind::MariaDb(install) => {
                let mut command = server.begin(install);
                command.args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]);
                command
            }
            Kind::MySql => {
                let mut command = server.begin(&server.program);
                command.arg("--initialize-insecure");
                command
            }
        };
        command
            .arg(option("datadir", &unfinished))
            .arg(option("tmpdir", &self.tmp))
            .args(as_root());
        let done = run(&mut command).map(drop);
        match server.kind {
            Kind::MariaDb(_) => done?,
            Kind::MySql => done.context(
                "where AppArmor confines mysqld to its own directories, as on Ubuntu, install mariadb-server-core and \
                 mariadb-client-core instead, which it does not confine",
            )?,
        }
        fs::rename(&unfinished, &self.data)
            .with_context(|| format!("cannot rename {}", unfinished.display()))
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = self.server.begin(&self.server.program);
        command
            .arg(option("datadir", &self.data))
            .arg(option("tmpdir", &self.tmp))
            .arg(option("socket", &socket(&self.data)))
            .arg(option("pid-file", &self.data.join("server.pid")))
            .arg(format!("--port={}", self.port))
            .args([
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--character-set-server=utf8mb4",
                "--max-connections=500",
            ])
            .args(as_root());
        if let Some(certificates) = &self.certificates {
            command
                .arg(option("ssl-ca", &certificates.certificate(AUTHORITY)))
                .arg(option("ssl-cert", &certificates.certificate(DATABASE)))
                .arg(option("ssl-key", &certificates.key(DATABASE)));
        }
        if let Kind::MySql = self.server.kind {
            // Debian's MySQL does not start without its directory for files.
            command.args(["--mysqlx=OFF", "--skip-log-bin", "--secure-file-priv=NULL"]);
        }
        command
    }
}

/// The server runs these statements at every start: one on each line, each idempotent.
pub fn init_file(path: &Path) -> String {
    option("init-file", path)
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
}
