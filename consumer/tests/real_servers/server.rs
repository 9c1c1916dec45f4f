//! Starts a separate database server, for tests that would disturb the other tests on a shared one.

use rushgate_testbed::port::Port;
use rushgate_testbed::process::Process;
use rushgate_testbed::servers::database::{Database, DatabaseServer, init_file};
use rushgate_testbed::wait::until;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use tempfile::TempDir;

/// A server. It is killed, and its data removed, when this is dropped.
pub(crate) struct Server {
    database: Database,
    process: Option<Process>,
    port: Port,
    directory: TempDir,
}

impl Server {
    /// Starts a fresh server, with a user to whom `read_only` applies.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let port = Port::free().expect("a free port");
        let database = Database {
            server: DatabaseServer::find().expect("MariaDB or MySQL"),
            port: port.number(),
            data: directory.path().join("data"),
            tmp: directory.path().to_owned(),
            certificates: None,
        };
        database.initialise().expect("a data directory");
        let mut this = Self {
            database,
            process: None,
            port,
            directory,
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
        let log = self.directory.path().join("log");
        // MySQL has only root@localhost, which is not root at an address.
        let accounts = self.directory.path().join("accounts.sql");
        let sql = "CREATE USER IF NOT EXISTS root@'127.0.0.1';\n\
                   GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n";
        std::fs::write(&accounts, sql).expect("written");
        let mut command = self.database.command();
        let process = Process::start(command.arg(init_file(&accounts)), log);
        self.process = Some(process.expect("the server starts"));
        until("the private server answers", async || {
            MySqlConnection::connect(&self.url("root")).await.is_ok()
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
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
        until("a statement waits", async || {
            !waiting(&mut root, statement).await.is_empty()
        })
        .await;
    }

    /// Waits until the server has closed the consumer's connections of now. One stays: the consumer uses it every
    /// few seconds to check for parked records.
    pub(crate) async fn until_it_has_closed_idle_sessions(&self) {
        let mut root = self.root().await;
        let before = until("a writer and that one are open", async || {
            let sessions = sessions(&mut root).await;
            (sessions.len() > 1).then_some(sessions)
        })
        .await;
        until("the server has closed idle sessions", async || {
            let now = sessions(&mut root).await;
            before.iter().filter(|id| now.contains(id)).count() <= 1
        })
        .await;
    }

    fn url(&self, user: &str) -> String {
        format!("mysql://{user}@{}", self.port.address())
    }
}

/// The connections of the consumer.
async fn sessions(root: &mut MySqlConnection) -> Vec<i64> {
    let rows = sqlx::raw_sql("SHOW PROCESSLIST").fetch_all(root).await;
    let rows = rows.expect("lists");
    let of_app = rows
        .iter()
        .filter(|row| row.get::<String, _>("User") == "app");
    of_app.map(|row| row.get("Id")).collect()
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
