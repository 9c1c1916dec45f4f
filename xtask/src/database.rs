//! The database as a service of a stack, with its accounts.

use std::time::Duration;

use anyhow::{Context, Result};
use rushgate_testbed::certificates::Certificates;
use rushgate_testbed::secret;
use rushgate_testbed::servers::database::{Database, DatabaseServer, init_file};

use crate::say;
use crate::service::{Ready, Service, local};
use crate::stack::Stack;
use crate::state::State;

/// The database server, with an initialised data directory.
pub(crate) fn service(
    server: &DatabaseServer,
    stack: &Stack,
    certificates: Option<Certificates>,
    state: &State,
) -> Result<Service> {
    let database = Database {
        server: server.clone(),
        port: stack.database,
        data: state.path("database"),
        tmp: state.path("tmp"),
        certificates,
    };
    if !database.is_initialised() {
        let step = say::step("Initialising the database");
        database
            .initialise()
            .context("cannot initialise the database")?;
        step.done();
    }
    let accounts = state.path("accounts.sql");
    secret::write(&accounts, &accounts_sql(&stack.password))
        .with_context(|| format!("cannot write {}", accounts.display()))?;
    let mut command = database.command();
    command.arg(init_file(&accounts));
    Ok(Service {
        name: "database".into(),
        command,
        listens: vec![local(stack.database)],
        ready: Ready::Accepts(local(stack.database)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_one_statement_a_line() {
        assert!(
            accounts_sql("pw")
                .lines()
                .all(|line| line.ends_with(';') && line.matches(';').count() == 1)
        );
    }
}
