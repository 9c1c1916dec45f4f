//! Reads and checks the address of the MySQL or MariaDB database.

use crate::BadSetting;
use crate::parse::is_blank;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;

const VARIABLE: &str = "DATABASE_URL";

#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// Address of MySQL or MariaDB: mysql://user:password@host:port/name
    #[arg(id = "database_url", long = "database-url", env = VARIABLE, value_name = "URL")]
    #[arg(hide_env_values = true, global = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub url: SecretString,
}

impl DatabaseSettings {
    /// The options to connect with. Do not print them: they contain the password.
    ///
    /// # Errors
    /// When the address is missing or cannot be used. The error does not quote it.
    pub fn options(&self) -> Result<MySqlConnectOptions, BadSetting> {
        let url = self.url.expose_secret();
        let bad = |problem: &str| {
            BadSetting::new(
                VARIABLE,
                format!(
                    "{problem}: write mysql://user:password@host:port/name, and in user and password write % @ : / as \
                     %25 %40 %3A %2F"
                ),
            )
        };
        if is_blank(url) {
            return Err(bad("is not set"));
        }
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(bad("does not begin with mysql:// (or mariadb://)"));
        }
        let options: MySqlConnectOptions = url.parse().map_err(|_| bad("is not an address"))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(bad("names no database"));
        }
        Ok(options
            .timezone(Some("+00:00".to_owned()))
            .charset("utf8mb4")
            .disable_statement_logging())
    }

    /// The address without user, password and parameters, for error messages.
    pub fn shown(options: &MySqlConnectOptions) -> String {
        let (host, port) = (options.get_host(), options.get_port());
        format!(
            "{host}:{port}/{}",
            options.get_database().unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Result<MySqlConnectOptions, String> {
        let settings = DatabaseSettings { url: url.into() };
        settings.options().map_err(|error| error.to_string())
    }

    #[test]
    fn a_bad_address_is_explained_and_not_quoted() {
        for (url, problem) in [
            ("", "is not set"),
            ("hush", "does not begin with mysql://"),
            (
                "postgres://user:hush@host/name",
                "does not begin with mysql://",
            ),
            ("mysql://user:hush@host", "names no database"),
            ("mysql://user:hush@host/", "names no database"),
            ("mysql://user:hu sh@ho st:port/x", "is not an address"),
        ] {
            let error = options(url).expect_err(url);
            assert!(
                error.starts_with(&format!("DATABASE_URL: {problem}")),
                "{problem}: {error}"
            );
            assert!(
                error.contains("mysql://user:password@host:port/name"),
                "{problem}: {error}"
            );
            assert!(!error.contains("hush"), "{problem}: {error}");
        }
    }

    #[test]
    fn user_password_and_parameters_are_not_shown() {
        let url = "mysql://rushgate:hush@db.example:3307/rushgate?ssl-mode=REQUIRED";
        let options = options(url).expect("an address");
        assert_eq!(
            DatabaseSettings::shown(&options),
            "db.example:3307/rushgate"
        );
    }
}
