//! Gives each program a user of its own on each server, with the rights of `deploy/rights/`. The files are used as they
//! are, with the names and passwords of a test, as an administrator would use them.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "for tests: what cannot be set up ends the test, and says why"
)]

pub mod kafka;

use crate::rows::Database;
use crate::secured::Secured;
use std::path::{Path, PathBuf};
use url::Url;

const REDIS: &str = include_str!("../../deploy/rights/redis.acl");
const BEFORE_SETUP: &str = include_str!("../../deploy/rights/mysql-before-setup.sql");
const AFTER_SETUP: &str = include_str!("../../deploy/rights/mysql-after-setup.sql");

/// The password of all users in Redis and in the database, except administrators.
const PASSWORD: &str = "least-rights";
const PASSWORD_SHA256: &str = "1ab65d1027d72fc76aa5dab442506daa6aad6fdb96863a615d99e6dffebdfc69";

/// What a program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Handler,
    Bridge,
    Consumer,
    Operator,
    /// `rushgate setup` with missing tables or a missing topic.
    Setup,
}

/// The servers where the programs log in. All are on this machine.
#[derive(Clone, Debug)]
pub struct Logins {
    pub redis: u16,
    pub database: u16,
    pub schema: String,
    /// The listener that requires a login, and the password of all its users.
    pub kafka: u16,
    pub kafka_password: String,
    /// With these, all connections use TLS.
    pub secured: Option<Secured>,
}

impl Role {
    pub fn user(self) -> &'static str {
        match self {
            Self::Handler => "rushgate-handler",
            Self::Bridge => "rushgate-bridge",
            Self::Consumer => "rushgate-consumer",
            Self::Operator => "rushgate-operator",
            Self::Setup => "rushgate-setup",
        }
    }
}

impl Logins {
    /// The environment variables with which a program logs in everywhere.
    pub fn of(&self, role: Role) -> Vec<(String, String)> {
        let user = role.user();
        let mut variables = match role {
            Role::Handler => vec![
                (
                    "SPIN_VARIABLE_REDIS_URL",
                    format!("redis://127.0.0.1:{}", self.redis),
                ),
                ("SPIN_VARIABLE_REDIS_USERNAME", user.to_owned()),
                ("SPIN_VARIABLE_REDIS_PASSWORD", PASSWORD.to_owned()),
            ],
            _ => vec![
                ("REDIS_URL", self.redis_url(role)),
                ("KAFKA_BROKERS", format!("127.0.0.1:{}", self.kafka)),
                ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT".to_owned()),
                ("KAFKA_SASL_MECHANISM", "PLAIN".to_owned()),
                ("KAFKA_SASL_USERNAME", user.to_owned()),
                ("KAFKA_SASL_PASSWORD", self.kafka_password.clone()),
            ],
        };
        if !matches!(role, Role::Handler | Role::Bridge) {
            variables.push(("DATABASE_URL", self.database_url(role)));
        }
        if let Some(secured) = &self.secured {
            secured.secure(&mut variables);
        }
        variables
            .into_iter()
            .map(|(variable, value)| (variable.to_owned(), value))
            .collect()
    }

    pub fn redis_url(&self, role: Role) -> String {
        let user = match role {
            // In Redis, `rushgate setup` does nothing that other commands do not do.
            Role::Setup => Role::Operator.user(),
            role => role.user(),
        };
        format!("redis://{user}:{PASSWORD}@127.0.0.1:{}", self.redis)
    }

    pub fn database_url(&self, role: Role) -> String {
        let (user, port, schema) = (role.user(), self.database, &self.schema);
        // Otherwise a client would use TLS if the server offers it.
        format!("mysql://{user}:{PASSWORD}@127.0.0.1:{port}/{schema}?ssl-mode=DISABLED")
    }
}

/// Writes the ACL file of Redis into `directory`. The administrator needs no password.
pub fn redis_acl(directory: &Path) -> PathBuf {
    let file = directory.join("redis.acl");
    std::fs::write(&file, redis_users()).expect("the ACL file of Redis");
    file
}

fn redis_users() -> String {
    let mut users = REDIS.replace("#ADMIN_SHA256", "nopass");
    for program in ["HANDLER", "BRIDGE", "CONSUMER", "OPERATOR"] {
        users = users.replace(&format!("{program}_SHA256"), PASSWORD_SHA256);
    }
    users
}

/// The rules of a user in the ACL file of Redis, password included; the parentheses of selectors are rules of their own.
pub fn redis_rules(role: Role) -> Vec<String> {
    let users = redis_users().replace('(', "( ").replace(')', " )");
    let mut users = users.lines().map(|user| user.split(' ').skip(1));
    let rules = users.find_map(|mut rules| (rules.next() == Some(role.user())).then_some(rules));
    let rules = rules.expect("a user of the ACL file");
    rules.map(str::to_owned).collect()
}

/// The command that gives a user of Redis these rules, and no others.
pub fn set_redis_rules(role: Role, rules: &[String]) -> redis::Cmd {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(role.user()).arg("reset");
    command.arg(rules);
    command
}

/// What the administrator of a database does before the first `rushgate setup`.
pub async fn before_setup(database: &Database, schema: &str) {
    let mut sql = in_schema(BEFORE_SETUP, schema);
    for role in [Role::Setup, Role::Operator, Role::Consumer] {
        let user = role.user();
        sql += &format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}' ACCOUNT UNLOCK;\n");
    }
    database.run(&sql).await.expect("mysql-before-setup.sql");
}

/// What the administrator of a database does after it.
pub async fn after_setup(database: &Database, schema: &str) {
    let sql = in_schema(AFTER_SETUP, schema);
    database.run(&sql).await.expect("mysql-after-setup.sql");
}

fn in_schema(sql: &str, schema: &str) -> String {
    sql.replace("`rushgate`", &format!("`{schema}`"))
}

/// The port of a URL that has one.
pub fn port(url: &str) -> u16 {
    let url = Url::parse(url).expect("a URL");
    url.port().expect("a port")
}
