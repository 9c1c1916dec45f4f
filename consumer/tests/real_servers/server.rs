//! Starts a separate MariaDB server, for tests that would disturb the other tests on a shared one.

use crate::consumer::free_address;
use crate::wait;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server. It is killed, and its data removed, when this is dropped.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a fresh server, with a user to whom `read_only` applies.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let installed = Command::new(program("mariadb-install-db"))
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .args(user())
            .arg(format!(
                "--datadir={}",
                directory.path().join("data").display()
            ))
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .status();
        assert!(installed.expect("mariadb-install-db runs").success());
        let mut this = Self {
            directory,
            port: free_address().port(),
            child: None,
        };
        this.restart().await;
        let mut root = this.root().await;
        for sql in [
            "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'app'",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES ON *.* TO app@'127.0.0.1'",
        ] {
            sqlx::query(sql).execute(&mut root).await.expect(sql);
        }
        this
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port with the same data.
    pub(crate) async fn restart(&mut self) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let log = std::fs::File::create(path("log")).expect("a log");
        let child = Command::new(program("mariadbd"))
            .args([
                "--no-defaults",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
            ])
            .args(user())
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--socket={}", path("socket")))
            .arg(format!("--pid-file={}", path("pid")))
            // A starting server removes the temporary files of others in the same directory.
            .env("TMPDIR", self.directory.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("mariadbd starts"));
        wait::until("the private server answers", async || {
            MySqlConnection::connect(&self.url("root")).await.is_ok()
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("is killed");
            child.wait().expect("is reaped");
        }
    }

    /// The URL for the application user, without a database name.
    pub(crate) fn app(&self) -> String {
        self.url("app:app")
    }

    pub(crate) async fn root(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.url("root"))
            .await
            .expect("connects")
    }

    /// Kills the connections that run such a statement. Returns their number.
    ///
    /// `SHOW PROCESSLIST` in the text protocol, because a prepared SELECT from
    /// `information_schema.processlist` can crash MariaDB 10.11.19.
    pub(crate) async fn kill_waiting(&self, statement: &str) -> usize {
        let mut root = self.root().await;
        let waiting = waiting(&mut root, statement).await;
        let mut killed = 0;
        for id in waiting {
            // The connection may have ended meanwhile.
            let kill = sqlx::raw_sql(AssertSqlSafe(format!("KILL CONNECTION {id}")));
            killed += usize::from(kill.execute(&mut root).await.is_ok());
        }
        killed
    }

    /// Waits until a connection runs such a statement.
    pub(crate) async fn until_waiting(&self, statement: &str) {
        let mut root = self.root().await;
        wait::until("a statement waits", async || {
            !waiting(&mut root, statement).await.is_empty()
        })
        .await;
    }

    /// Waits until the server has closed the idle connections. One stays: the consumer uses it every few
    /// seconds to check for parked records.
    pub(crate) async fn until_it_has_closed_idle_sessions(&self) {
        let mut root = self.root().await;
        wait::until("the server has closed idle sessions", async || {
            let rows = sqlx::raw_sql("SHOW PROCESSLIST").fetch_all(&mut root).await;
            let rows = rows.expect("lists");
            let users = rows.iter().map(|row| row.get::<String, _>("User"));
            users.filter(|user| user == "app").count() <= 1
        })
        .await;
    }

    fn url(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The connections that run such a statement now.
async fn waiting(root: &mut MySqlConnection, statement: &str) -> Vec<i64> {
    let rows = sqlx::raw_sql("SHOW FULL PROCESSLIST").fetch_all(root).await;
    let rows = rows.expect("lists");
    let in_it = rows.iter().filter(|row| {
        let info: Option<String> = row.try_get("Info").expect("a text");
        info.is_some_and(|info| info.starts_with(statement))
    });
    in_it
        .map(|row| row.try_get("Id").expect("a number"))
        .collect()
}

/// mariadbd runs as root only with `--user=root`.
fn user() -> Option<&'static str> {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("id runs")
        .stdout;
    (id == b"0\n").then_some("--user=root")
}

fn program(name: &str) -> String {
    let candidates = [
        "/usr/sbin",
        "/usr/bin",
        "/usr/local/bin",
        "/opt/homebrew/bin",
    ];
    let found = candidates
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| name.to_owned())
}
