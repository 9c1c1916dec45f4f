//! Splits a migration into its statements, and finds the names of the objects that each statement creates.
//!
//! The parser knows only the SQL that the migrations use and rejects everything else. It must not miss an object,
//! because an interrupted migration is recognised by the objects that its statements create.

use anyhow::{Context, Result, bail};

/// One statement of a migration.
pub(super) struct Statement {
    pub(super) sql: String,
    /// What exists after the statement and did not before, such as `column campaigns.state`. Empty if the statement
    /// only replaces things: then running it twice is harmless.
    pub(super) makes: Vec<String>,
}

impl Statement {
    /// The statements of `migration`, in order.
    ///
    /// # Errors
    /// When a statement is not supported.
    pub(super) fn all_of(migration: &str) -> Result<Vec<Self>> {
        split(&without_comments(migration), ';')
            .into_iter()
            .map(|sql| {
                let makes = made_by(sql).with_context(|| format!("cannot read {sql}"))?;
                Ok(Self {
                    sql: sql.to_owned(),
                    makes,
                })
            })
            .collect()
    }
}

fn made_by(sql: &str) -> Result<Vec<String>> {
    match words(sql)[..] {
        ["CREATE", "TABLE", table, ..] => {
            let definitions = sql
                .split_once('(')
                .and_then(|(_, rest)| rest.rsplit_once(')'))
                .map(|(definitions, _)| definitions)
                .context("a table without columns")?;
            let mut makes = vec![format!("table {table}")];
            for definition in split(definitions, ',') {
                makes.push(made_by_definition(table, &words(definition))?);
            }
            Ok(makes)
        }
        ["ALTER", "TABLE", table, ..] => {
            let (_, changes) = sql.split_once(table).context("a table without changes")?;
            let mut makes = vec![];
            let mut drops = vec![];
            for change in split(changes, ',') {
                match words(change)[..] {
                    ["ADD", "COLUMN", ref definition @ ..] | ["ADD", ref definition @ ..] => {
                        makes.push(made_by_definition(table, definition)?);
                    }
                    ["DROP", "CONSTRAINT", name] => drops.push(constraint(table, name)),
                    ["MODIFY", "COLUMN", ..] => {}
                    _ => bail!("a change that is not known: {change}"),
                }
            }
            if let Some(lost) = drops.iter().find(|dropped| !makes.contains(dropped)) {
                bail!("{lost} is dropped and not added again");
            }
            makes.retain(|made| !drops.contains(made));
            Ok(makes)
        }
        _ => bail!("a statement of a kind that is not known"),
    }
}

/// What a definition of a column, key or constraint makes in a table that is created or altered.
fn made_by_definition(table: &str, definition: &[&str]) -> Result<String> {
    match *definition {
        ["PRIMARY", "KEY", ..] => Ok(index(table, "PRIMARY")),
        ["UNIQUE", "KEY", name, ..] | ["KEY", name, ..] => Ok(index(table, name)),
        ["CONSTRAINT", name, "CHECK" | "FOREIGN", ..] => Ok(constraint(table, name)),
        // Our migrations write keywords in capitals and names in lower case.
        [name, ..] if name.starts_with(|first: char| first.is_ascii_lowercase()) => {
            Ok(format!("column {table}.{name}"))
        }
        _ => bail!("a definition that is not known: {}", definition.join(" ")),
    }
}

fn index(table: &str, name: &str) -> String {
    format!("index {table}.{name}")
}

fn constraint(table: &str, name: &str) -> String {
    format!("constraint {table}.{name}")
}

fn words(sql: &str) -> Vec<&str> {
    sql.split_whitespace().collect()
}

/// `sql` without its comments, which begin with `--` and end with the line.
fn without_comments(sql: &str) -> String {
    let mut kept = String::with_capacity(sql.len());
    let mut is_quoted = false;
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        is_quoted ^= next == '\'';
        if !is_quoted && rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    kept
}

/// The pieces of `sql` between separators that are neither quoted nor in parentheses.
fn split(sql: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let mut depth = 0_usize;
    sql.split(|next| {
        is_quoted ^= next == '\'';
        match next {
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        next == separator && !is_quoted && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::embedded::MIGRATIONS;
    use super::*;

    fn made(sql: &str) -> Vec<String> {
        let statements = Statement::all_of(sql).unwrap();
        statements.into_iter().flat_map(|one| one.makes).collect()
    }

    #[test]
    fn every_migration_is_understood() {
        for migration in MIGRATIONS.iter() {
            let statements = Statement::all_of(migration.sql.as_str()).unwrap();
            assert!(!statements.is_empty(), "{}", migration.description);
        }
    }

    #[test]
    fn what_a_new_table_has_is_named() {
        let sql = "-- One; two.\n\
             CREATE TABLE a (\n\
                 id    INT NOT NULL, -- (\n\
                 state VARCHAR(16) NOT NULL DEFAULT 'it''s; --(',\n\
                 PRIMARY KEY (id),\n\
                 UNIQUE KEY a_one (id, state),\n\
                 KEY a_by_state (state),\n\
                 CONSTRAINT a_is_known CHECK (state IN ('b', 'c')),\n\
                 CONSTRAINT a_parent FOREIGN KEY (id) REFERENCES p (id)\n\
             ) ENGINE = InnoDB;\n";
        assert_eq!(
            made(sql),
            [
                "table a",
                "column a.id",
                "column a.state",
                "index a.PRIMARY",
                "index a.a_one",
                "index a.a_by_state",
                "constraint a.a_is_known",
                "constraint a.a_parent"
            ]
        );
    }

    #[test]
    fn what_a_change_adds_is_named_and_what_it_replaces_is_not() {
        let sql = "ALTER TABLE a ADD COLUMN b INT NULL, MODIFY COLUMN c INT NULL, ADD KEY a_by_b (b, c),\n\
             DROP CONSTRAINT a_is_known, ADD CONSTRAINT a_is_known CHECK (b IN (1, 2));\n\
             ALTER TABLE a MODIFY COLUMN c DATE NULL;";
        assert_eq!(made(sql), ["column a.b", "index a.a_by_b"]);
        assert_eq!(Statement::all_of(sql).unwrap()[1].makes.len(), 0);
    }

    #[test]
    fn what_could_not_be_recognised_is_refused() {
        for sql in [
            "INSERT INTO a VALUES (1)",
            "DROP TABLE a",
            "ALTER TABLE a DROP COLUMN b",
            "ALTER TABLE a DROP CONSTRAINT c",
            "ALTER TABLE a ADD INDEX b (c)",
            "CREATE TABLE a (b INT, CHECK (b > 1))",
            "CREATE TABLE a LIKE b",
        ] {
            assert!(Statement::all_of(sql).is_err(), "{sql}");
        }
    }
}
